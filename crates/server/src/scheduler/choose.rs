//! The choice of the relay that runs the next call: a pure function, without clock, lock or I/O.

use std::cmp::Reverse;

/// One relay, as far as the choice depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// It takes no new calls.
    pub(crate) is_draining: bool,
    /// Its provider did not take the last connection.
    pub(crate) is_unreachable: bool,
    /// The number of calls that its tunnel carries now.
    pub(crate) in_flight: usize,
    /// The number of calls that its tunnel can carry.
    pub(crate) room: usize,
    /// The rank of the relay for this caller, always the same for both: the highest wins.
    pub(crate) rank: u64,
}

impl Candidate {
    /// Returns the relay without room.
    pub(crate) fn as_full(self) -> Self {
        Self { room: 0, ..self }
    }
}

/// A relay is clearly busier when it has this many calls more than twice those of the least busy
/// relay: below that, the gain of going elsewhere is less than what the caller may lose with the
/// process that holds its state.
const CLEARLY_MORE: usize = 8;

/// The relay that a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Any: the least busy one.
    Any,
    /// Any, but the same one again: the one with the highest rank, as long as it is not clearly
    /// busier than others.
    Steady,
    /// The one with the highest rank, as long as it takes calls at all.
    Same,
    /// The one with this index alone.
    Only(usize),
}

/// The decision about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The relay with this index runs it.
    Run(usize),
    /// There is no relay.
    Offline,
    /// All relays are draining.
    Draining,
    /// Those that are not draining are full.
    Full,
}

/// Chooses a relay: among those that are wished for, take calls and have room, one whose provider
/// is reachable if there is any.
///
/// A provider that was unreachable a moment ago is still tried when there is no other: it may be
/// back, and the relay reports at once if it is not.
pub(crate) fn choose(candidates: &[Candidate], wish: Wish) -> Choice {
    let is_wished = |index: usize| !matches!(wish, Wish::Only(wished) if wished != index);
    let taking = || {
        candidates
            .iter()
            .enumerate()
            .filter(|&(index, relay)| is_wished(index) && !relay.is_draining)
    };
    let with_room = || taking().filter(|(_, relay)| relay.in_flight < relay.room);

    let by_load = |(_, relay): &(usize, &Candidate)| (relay.is_unreachable, relay.in_flight);
    let by_rank = |(_, relay): &(usize, &Candidate)| (relay.is_unreachable, Reverse(relay.rank));

    let chosen = match wish {
        Wish::Any | Wish::Only(_) => with_room().min_by_key(by_load),
        Wish::Same => with_room().min_by_key(by_rank),
        Wish::Steady => {
            let least_calls = with_room()
                .min_by_key(by_load)
                .map_or(0, |(_, relay)| relay.in_flight);
            let fair_calls = 2 * least_calls + CLEARLY_MORE;
            with_room()
                .filter(|(_, relay)| relay.in_flight <= fair_calls)
                .min_by_key(by_rank)
        }
    };

    match chosen {
        Some((index, _)) => Choice::Run(index),
        None if candidates.is_empty() => Choice::Offline,
        None if taking().next().is_none() => Choice::Draining,
        None => Choice::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Candidate = Candidate {
        is_draining: false,
        is_unreachable: false,
        in_flight: 0,
        room: 10,
        rank: 0,
    };
    const BUSY: Candidate = Candidate {
        in_flight: 3,
        ..IDLE
    };
    const DOWN: Candidate = Candidate {
        is_unreachable: true,
        ..IDLE
    };
    const DRAINING: Candidate = Candidate {
        is_draining: true,
        ..IDLE
    };
    const FULL: Candidate = Candidate {
        in_flight: 10,
        ..IDLE
    };

    #[test]
    fn the_least_busy_reachable_relay_runs_a_call_for_any() {
        assert_eq!(choose(&[BUSY, IDLE, DOWN], Wish::Any), Choice::Run(1));
        assert_eq!(choose(&[DOWN, BUSY], Wish::Any), Choice::Run(1));
        assert_eq!(choose(&[DRAINING, BUSY], Wish::Any), Choice::Run(1));
        assert_eq!(choose(&[DOWN], Wish::Any), Choice::Run(0));
    }

    #[test]
    fn a_steady_caller_keeps_its_relay_until_that_takes_nothing() {
        let ranked = Candidate { rank: 7, ..BUSY };
        for wish in [Wish::Steady, Wish::Same] {
            assert_eq!(choose(&[IDLE, ranked], wish), Choice::Run(1));
            for lost in [DRAINING, DOWN, FULL].map(|lost| Candidate { rank: 7, ..lost }) {
                assert_eq!(choose(&[IDLE, lost], wish), Choice::Run(0), "{lost:?}");
            }
        }
    }

    #[test]
    fn a_steady_caller_leaves_a_relay_that_is_clearly_busier() {
        let with = |in_flight, rank| Candidate {
            in_flight,
            rank,
            room: 1000,
            ..IDLE
        };
        for (own, least, index) in [(8, 0, 0), (9, 0, 1), (208, 100, 0), (209, 100, 1)] {
            let relays = [with(own, 7), with(least, 0)];

            assert_eq!(
                choose(&relays, Wish::Steady),
                Choice::Run(index),
                "{own} and {least}"
            );
            assert_eq!(
                choose(&relays, Wish::Same),
                Choice::Run(0),
                "{own} and {least}"
            );
        }

        // The next by rank, not the least busy of all.
        assert_eq!(
            choose(&[with(9, 7), with(5, 6), with(0, 0)], Wish::Steady),
            Choice::Run(1)
        );

        // One that cannot reach its provider is no measure of how busy the others may be.
        let down = Candidate {
            is_unreachable: true,
            ..with(0, 9)
        };
        assert_eq!(
            choose(&[down, with(50, 7), with(45, 0)], Wish::Steady),
            Choice::Run(1)
        );
    }

    #[test]
    fn a_bound_call_goes_to_its_relay_or_nowhere() {
        assert_eq!(choose(&[IDLE, BUSY], Wish::Only(1)), Choice::Run(1));
        assert_eq!(choose(&[IDLE, DOWN], Wish::Only(1)), Choice::Run(1));
        assert_eq!(choose(&[IDLE, DRAINING], Wish::Only(1)), Choice::Draining);
        assert_eq!(choose(&[IDLE, FULL], Wish::Only(1)), Choice::Full);
    }

    #[test]
    fn the_choice_names_why_no_relay_runs_the_call() {
        assert_eq!(choose(&[], Wish::Any), Choice::Offline);
        assert_eq!(
            choose(&[DRAINING, DRAINING], Wish::Steady),
            Choice::Draining
        );
        assert_eq!(choose(&[DRAINING, FULL], Wish::Any), Choice::Full);
    }
}
