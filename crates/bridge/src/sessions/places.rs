//! The places of sessions, of which callers get fair shares, and the choice of the session that
//! gives way to a new one while all places are taken.
//!
//! Many clients begin a session for each call and never end one. Their sessions must not lock
//! others out until `SESSION_IDLE_TIMEOUT`: a session that is ended too early costs its client one
//! 404 and a new session (MCP 2025-11-25, session management).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use llamapool_limits::{FairShare, Owner, Share, ShareError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::caller::BridgeCaller;

/// Of a session whose client made no request yet, this part of the idle time is enough: it begins
/// with one at once.
const UNUSED_PART: u32 = 15;

/// The places of sessions. A session keeps its place until its program is gone, so the number of
/// programs is bounded, too.
pub(super) struct SessionPlaces {
    places: FairShare,
    left: Arc<Notify>,
}

/// The place of a session, until it is dropped.
pub(super) struct SessionPlace {
    caller: BridgeCaller,
    /// Taken out when it is dropped.
    place: Option<Share<2>>,
    left: Arc<Notify>,
}

/// An open session, as far as the choice needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionUse {
    pub(super) caller: BridgeCaller,
    /// How long it has been idle; `None` while a call runs or its client listens.
    pub(super) idle: Option<Duration>,
    /// True if its client made a request after the first one.
    pub(super) is_used: bool,
}

impl SessionPlaces {
    pub(super) fn new(most: usize) -> Self {
        Self {
            places: FairShare::new(most),
            left: Arc::new(Notify::new()),
        }
    }

    /// Takes a place for a session of a caller.
    pub(super) fn take(&self, caller: BridgeCaller) -> Result<SessionPlace, ShareError> {
        let place = self.places.take(caller.claims(), 1)?;
        Ok(SessionPlace {
            caller,
            place: Some(place),
            left: self.left.clone(),
        })
    }

    /// Waits until a place is left. Places count that are left from the first poll on, or from
    /// `enable`.
    pub(super) fn left(&self) -> Notified<'_> {
        self.left.notified()
    }

    /// Returns the reason for a refusal, with the share that is used up.
    pub(super) fn explain(&self, error: ShareError, caller: BridgeCaller) -> String {
        let most = self.places.capacity();
        let rest = "and none is idle long enough to give way";
        match error {
            ShareError::Full => {
                format!("{most} sessions are open, as many as MAX_SESSIONS allows, {rest}")
            }
            ShareError::Owner(place) => {
                let held = self.places.held_by(caller.claims()[place].owner);
                format!(
                    "this caller has {held} of {most} sessions open, its share of MAX_SESSIONS, {rest}"
                )
            }
        }
    }
}

impl SessionPlace {
    /// Returns the caller that has it.
    pub(super) fn caller(&self) -> BridgeCaller {
        self.caller
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        drop(self.place.take());
        self.left.notify_waiters();
    }
}

/// Chooses the session that gives way to a new one of `caller`: of the network that holds most, of
/// its token that holds most, the one that is idle longest. No session gives way to a caller that
/// holds as much as its owner. A caller that has used up its own share gets one of its own places.
///
/// Returns its place in the list, or after how long there will be one at the earliest.
pub(super) fn choose(
    sessions: &[SessionUse],
    caller: BridgeCaller,
    error: ShareError,
    yield_after: Duration,
) -> Result<usize, Duration> {
    let networks = count(sessions, |session| session.caller.network);
    let tokens = count(sessions, |session| session.caller.token);
    let held = |counts: &HashMap<Owner, usize>, owner| counts.get(&owner).copied().unwrap_or(0);

    let own = held(&networks, caller.network);
    let may_give_way = |session: &SessionUse| match error {
        ShareError::Owner(0) => session.caller.token == caller.token,
        ShareError::Owner(_) => session.caller.network == caller.network,
        ShareError::Full => {
            let network = session.caller.network;
            network == caller.network || held(&networks, network) > own
        }
    };
    let candidates = || {
        let all = sessions.iter().enumerate();
        all.filter(|(_, session)| may_give_way(session))
            .filter_map(|(place, session)| {
                let enough = if session.is_used {
                    yield_after
                } else {
                    yield_after / UNUSED_PART
                };
                Some((place, session, session.idle?, enough))
            })
    };

    let chosen = candidates()
        .filter(|(_, _, idle, enough)| idle >= enough)
        .max_by_key(|(_, session, idle, _)| {
            let network = held(&networks, session.caller.network);
            let token = held(&tokens, session.caller.token);
            (network, token, *idle)
        });
    if let Some((place, ..)) = chosen {
        return Ok(place);
    }
    let waits = candidates().map(|(_, _, idle, enough)| enough.saturating_sub(idle));
    Err(waits.min().unwrap_or(yield_after))
}

fn count(sessions: &[SessionUse], owner: impl Fn(&SessionUse) -> Owner) -> HashMap<Owner, usize> {
    let mut counts = HashMap::new();
    for session in sessions {
        *counts.entry(owner(session)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use llamapool_wire::CallerTag;

    use super::*;

    const YIELD_AFTER: Duration = Duration::from_secs(30);

    fn caller(network: u64, credentials: u64) -> BridgeCaller {
        // Without credentials the two numbers are the same.
        let credentials = Some(1000 + credentials);
        BridgeCaller::of_tag(Some(CallerTag::new(network, credentials)))
    }

    /// A used session that has been idle for so many seconds.
    fn idle(caller: BridgeCaller, seconds: u64) -> SessionUse {
        SessionUse {
            caller,
            idle: Some(Duration::from_secs(seconds)),
            is_used: true,
        }
    }

    fn busy(caller: BridgeCaller) -> SessionUse {
        SessionUse {
            idle: None,
            ..idle(caller, 0)
        }
    }

    fn choose_when_full(sessions: &[SessionUse], of: BridgeCaller) -> Result<usize, Duration> {
        choose(sessions, of, ShareError::Full, YIELD_AFTER)
    }

    #[test]
    fn the_longest_idle_of_the_caller_with_most_gives_way() {
        let greedy = caller(1, 1);
        let modest = caller(2, 1);
        let sessions = [
            idle(modest, 1000),
            idle(greedy, 40),
            idle(greedy, 50),
            busy(greedy),
        ];

        assert_eq!(choose_when_full(&sessions, caller(3, 1)), Ok(2));
    }

    #[test]
    fn of_one_network_the_token_with_most_gives_way() {
        let sessions = [
            idle(caller(1, 1), 100),
            idle(caller(1, 2), 50),
            idle(caller(1, 2), 40),
        ];

        assert_eq!(choose_when_full(&sessions, caller(1, 3)), Ok(1));
    }

    #[test]
    fn no_session_gives_way_to_a_caller_that_holds_as_much() {
        let one = caller(1, 1);
        let other = caller(2, 1);
        let sessions = [idle(one, 100), busy(one), busy(other), busy(other)];

        assert_eq!(choose_when_full(&sessions, other), Err(YIELD_AFTER));
        assert_eq!(choose_when_full(&sessions, one), Ok(0), "its own does");
    }

    #[test]
    fn a_session_without_a_request_gives_way_sooner() {
        let mut unused = idle(caller(1, 1), 2);
        unused.is_used = false;

        assert_eq!(choose_when_full(&[unused], caller(2, 1)), Ok(0));
        let used = idle(caller(1, 1), 2);
        let wait = choose_when_full(&[used], caller(2, 1)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(28));
    }

    #[test]
    fn a_caller_beyond_its_share_gives_up_its_own() {
        let greedy = caller(1, 1);
        let sessions = [idle(caller(2, 1), 1000), idle(greedy, 40), idle(greedy, 10)];

        for place in [0, 1] {
            let error = ShareError::Owner(place);
            assert_eq!(choose(&sessions, greedy, error, YIELD_AFTER), Ok(1));
        }
        let fresh = [idle(caller(2, 1), 1000), idle(greedy, 10)];
        let refused = choose(&fresh, greedy, ShareError::Owner(0), YIELD_AFTER);
        assert_eq!(refused, Err(Duration::from_secs(20)));
    }

    #[test]
    fn one_caller_leaves_places_for_others() {
        let places = SessionPlaces::new(64);

        let taken: Vec<_> = (0..64).map(|_| places.take(caller(1, 1))).collect();

        assert_eq!(taken.iter().flatten().count(), 52);
        let Some(Err(error)) = taken.last() else {
            panic!("the last one is taken")
        };
        let text = places.explain(*error, caller(1, 1));
        assert!(text.contains("52 of 64 sessions open"), "{text}");
        assert!(places.take(caller(2, 1)).is_ok());
    }

    #[test]
    fn few_places_can_be_taken_by_one_caller() {
        let places = SessionPlaces::new(5);
        let anonymous = BridgeCaller::of_tag(Some(CallerTag::new(1, None)));

        let taken: Vec<_> = (0..5).map(|_| places.take(anonymous)).collect();

        assert!(taken.iter().all(Result::is_ok));
    }
}
