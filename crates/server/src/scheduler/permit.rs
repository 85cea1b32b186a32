//! The right to run one call on one relay.

use llamapool_limits::{Claim, FairShare, Owner, Share, ShareError};

use super::gate::Pass;

/// The factor of the share of an id, where the relay has others (see
/// [`llamapool_limits::FairShare`]): one greedy id leaves a ninth of the places.
const ID_FACTOR: usize = 8;
/// The factor of the share of all listeners together: they leave a fifth of the places for calls.
const LISTENER_FACTOR: usize = 4;

/// The admission of one call: its place at the relay, and its passage through the server's gate.
#[must_use]
pub(crate) struct Permit {
    /// Returned when the relay's part of the call is over.
    /// Boxed, as it is moved from stage to stage, and into the stream of the tunnel.
    pub(crate) place: Box<Place>,
    /// Left when the call is over for its caller, too.
    pub(crate) server: Pass,
}

/// The place of one call on one relay: a slot of its tunnel, behind the relay's own gate. `Drop`
/// alone gives it back, so it is neither forgotten nor given back twice.
#[must_use]
pub(crate) struct Place {
    _slot: Slot,
    _relay: Pass,
    /// One of the calls that the id may have, where those are bounded.
    _of_id: Option<Share<2>>,
}

/// One of the calls that a tunnel carries at once.
enum Slot {
    Call { _share: Share<3> },
    Listener { _share: Share<4> },
}

/// The kind of a call, as far as its place depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// A request that gets a response.
    Ordinary,
    /// A caller that listens, for as long as it likes. Listeners have shares of their own, so that
    /// they never use up the places of calls.
    Listener,
}

/// The parties that the place of a call counts for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceClaims {
    /// The caller and its address.
    pub(crate) caller: [Claim; 2],
    pub(crate) kind: CallKind,
}

/// The id that a place is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdClaim {
    pub(crate) owner: Owner,
    /// Set if its relay has no other id.
    pub(crate) is_only: bool,
}

/// The party whose share of the places is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShareOf {
    /// The caller.
    Caller,
    /// The address that the caller calls from.
    Address,
    /// The id, among those of one relay.
    Id,
    /// The listeners of one relay together.
    Listeners,
}

/// The reason why a relay gives no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaceError {
    /// Another call has taken the last one, or the relay has left meanwhile.
    Gone,
    /// A party has used up its share.
    Share(ShareOf),
}

impl ShareOf {
    /// Returns the party at a place in the claims of caller, address, id and listeners.
    pub(crate) fn at(index: usize) -> Self {
        match index {
            0 => Self::Caller,
            1 => Self::Address,
            2 => Self::Id,
            _ => Self::Listeners,
        }
    }
}

impl Place {
    /// Takes one of the places of a relay, behind whose gate the call is.
    pub(crate) fn take(
        places: &FairShare,
        relay: Pass,
        claims: PlaceClaims,
        id: IdClaim,
    ) -> Result<Self, PlaceError> {
        let slot = Slot::take(places, claims, id).map_err(|error| match error {
            ShareError::Full => PlaceError::Gone,
            ShareError::Owner(index) => PlaceError::Share(ShareOf::at(index)),
        })?;
        Ok(Self {
            _slot: slot,
            _relay: relay,
            _of_id: None,
        })
    }

    /// Takes along one of the calls that the id may have.
    pub(crate) fn set_within(&mut self, of_id: Share<2>) {
        self._of_id = Some(of_id);
    }
}

impl Slot {
    fn take(places: &FairShare, claims: PlaceClaims, id: IdClaim) -> Result<Self, ShareError> {
        let [caller, address] = claims.caller;
        // Without other ids there is nothing to leave places for.
        let factor = if id.is_only { usize::MAX } else { ID_FACTOR };
        let id = Claim {
            owner: id.owner,
            factor,
        };
        if claims.kind == CallKind::Ordinary {
            let share = places.take([caller, address, id], 1)?;
            return Ok(Self::Call { _share: share });
        }

        let [caller, address, id] = [caller, address, id].map(|claim| Claim {
            owner: Owner::of(&("listener", claim.owner)),
            ..claim
        });
        let listeners = Claim {
            owner: Owner::of(&"listeners"),
            factor: LISTENER_FACTOR,
        };
        let share = places.take([caller, address, id, listeners], 1)?;
        Ok(Self::Listener { _share: share })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::gate::DrainGate;
    use super::*;

    const ID: &str = "notes";

    fn claims(caller: &str, address: &str, kind: CallKind) -> PlaceClaims {
        let claim = |name: &str, value: &str, factor| Claim {
            owner: Owner::of(&(name, value)),
            factor,
        };
        PlaceClaims {
            caller: [claim("caller", caller, 4), claim("address", address, 8)],
            kind,
        }
    }

    fn id(name: &str) -> IdClaim {
        IdClaim {
            owner: Owner::of(&name),
            is_only: false,
        }
    }

    /// Takes places until one is refused. Returns them and the reason.
    fn take_all(
        places: &FairShare,
        claims: impl Fn(usize) -> PlaceClaims,
        id: IdClaim,
    ) -> (Vec<Place>, PlaceError) {
        let gate = Arc::new(DrainGate::default());
        let mut taken = Vec::new();
        loop {
            let pass = gate.enter().unwrap();
            match Place::take(places, pass, claims(taken.len()), id) {
                Ok(place) => taken.push(place),
                Err(error) => return (taken, error),
            }
        }
    }

    #[test]
    fn a_greedy_caller_leaves_a_fifth_and_other_callers_take_it() {
        let places = FairShare::new(1000);
        let greedy = |_| claims("a", "1", CallKind::Ordinary);
        let other = |_| claims("b", "2", CallKind::Ordinary);

        let (taken, error) = take_all(&places, greedy, id(ID));
        let (more, _) = take_all(&places, other, id("other"));

        assert_eq!(error, PlaceError::Share(ShareOf::Caller));
        assert_eq!(taken.len(), 800);
        assert!(more.len() >= 150, "{}", more.len());
    }

    #[test]
    fn made_up_tokens_and_addresses_do_not_gain_the_whole_relay() {
        let places = FairShare::new(1000);
        let tokens = |call: usize| claims(&call.to_string(), "1", CallKind::Ordinary);
        let addresses =
            |call: usize| claims(&call.to_string(), &call.to_string(), CallKind::Ordinary);

        let (taken, of_address) = take_all(&places, tokens, id(ID));
        drop(taken);
        let (_taken, of_id) = take_all(&places, addresses, id(ID));

        assert_eq!(of_address, PlaceError::Share(ShareOf::Address));
        assert_eq!(of_id, PlaceError::Share(ShareOf::Id));
        let other = |_| claims("b", "2", CallKind::Ordinary);
        let (more, _) = take_all(&places, other, id("other"));
        assert!(more.len() > 50, "{}", more.len());
    }

    #[test]
    fn listeners_leave_the_places_of_calls() {
        let places = FairShare::new(1000);
        let listeners =
            |call: usize| claims(&call.to_string(), &call.to_string(), CallKind::Listener);
        let same_caller = |_| claims("1", "1", CallKind::Ordinary);

        let (taken, error) = take_all(&places, listeners, id(ID));
        let (calls, _) = take_all(&places, same_caller, id(ID));

        assert_eq!(error, PlaceError::Share(ShareOf::Listeners));
        assert_eq!(taken.len(), 800);
        assert!(calls.len() >= 150, "{}", calls.len());
    }

    #[test]
    fn one_caller_can_use_a_small_relay_up() {
        let only = IdClaim {
            is_only: true,
            ..id(ID)
        };
        let greedy = |_| claims("a", "1", CallKind::Ordinary);

        for capacity in 1..=4 {
            let (taken, error) = take_all(&FairShare::new(capacity), greedy, only);

            assert_eq!(taken.len(), capacity);
            assert_eq!(error, PlaceError::Gone);
        }
    }
}
