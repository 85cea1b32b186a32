//! Which of an id's relays runs the next call: a pure function, without clock, lock or I/O.

/// What is known of one relay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// It takes nothing new.
    pub(crate) draining: bool,
    /// Its provider did not take the last connection.
    pub(crate) unreachable: bool,
    /// How many calls its tunnel carries now.
    pub(crate) in_flight: usize,
    /// How many it can carry.
    pub(crate) room: usize,
    /// How much it suits the caller: a number that stays the same for both.
    pub(crate) suits: u64,
}

/// Which relay a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Any: the least busy one.
    Anyone,
    /// Any, but the same one again as long as it takes calls: the one that suits the caller most.
    Steady,
    /// The one with this index alone.
    Only(usize),
}

/// What is to become of a call.
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

/// Chooses: among those that are wished for, take calls and have room, one whose provider is reachable if there is any.
/// A provider that was unreachable a moment ago is still tried when there is no other: it may be back, and the relay
/// says at once if it is not.
pub(crate) fn choose(candidates: &[Candidate], wish: Wish) -> Choice {
    let is_wished = |index: usize| !matches!(wish, Wish::Only(wished) if wished != index);
    let taking = || candidates.iter().enumerate().filter(|&(index, relay)| is_wished(index) && !relay.draining);
    let with_room = taking().filter(|(_, relay)| relay.in_flight < relay.room);
    let chosen = match wish {
        Wish::Steady => with_room.min_by_key(|(_, relay)| (relay.unreachable, std::cmp::Reverse(relay.suits))),
        Wish::Anyone | Wish::Only(_) => with_room.min_by_key(|(_, relay)| (relay.unreachable, relay.in_flight)),
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

    const IDLE: Candidate = Candidate { draining: false, unreachable: false, in_flight: 0, room: 10, suits: 0 };
    const BUSY: Candidate = Candidate { in_flight: 3, ..IDLE };
    const DOWN: Candidate = Candidate { unreachable: true, ..IDLE };
    const DRAINING: Candidate = Candidate { draining: true, ..IDLE };
    const FULL: Candidate = Candidate { in_flight: 10, ..IDLE };

    #[test]
    fn the_least_busy_reachable_relay_runs_a_call_for_anyone() {
        assert_eq!(choose(&[BUSY, IDLE, DOWN], Wish::Anyone), Choice::Run(1));
        assert_eq!(choose(&[DOWN, BUSY], Wish::Anyone), Choice::Run(1));
        assert_eq!(choose(&[DRAINING, BUSY], Wish::Anyone), Choice::Run(1));
        assert_eq!(choose(&[DOWN], Wish::Anyone), Choice::Run(0));
    }

    #[test]
    fn a_steady_caller_keeps_its_relay_until_that_takes_nothing() {
        let suited = Candidate { suits: 7, ..BUSY };
        assert_eq!(choose(&[IDLE, suited], Wish::Steady), Choice::Run(1));
        for lost in [Candidate { suits: 7, ..DRAINING }, Candidate { suits: 7, ..DOWN }, Candidate { suits: 7, ..FULL }]
        {
            assert_eq!(choose(&[IDLE, lost], Wish::Steady), Choice::Run(0), "{lost:?}");
        }
    }

    #[test]
    fn a_bound_call_goes_to_its_relay_or_nowhere() {
        assert_eq!(choose(&[IDLE, BUSY], Wish::Only(1)), Choice::Run(1));
        assert_eq!(choose(&[IDLE, DOWN], Wish::Only(1)), Choice::Run(1));
        assert_eq!(choose(&[IDLE, DRAINING], Wish::Only(1)), Choice::Draining);
        assert_eq!(choose(&[IDLE, FULL], Wish::Only(1)), Choice::Full);
    }

    #[test]
    fn it_says_why_no_relay_runs_the_call() {
        assert_eq!(choose(&[], Wish::Anyone), Choice::Offline);
        assert_eq!(choose(&[DRAINING, DRAINING], Wish::Steady), Choice::Draining);
        assert_eq!(choose(&[DRAINING, FULL], Wish::Anyone), Choice::Full);
    }
}
