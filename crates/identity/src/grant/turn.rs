//! The rotation of refresh tokens: which turn a presented one is of, and what follows.
//!
//! The successor of a token is computed, not stored, so the same token always has the same one. A
//! lost answer, and several processes of one client that refresh at once, get it again; a token that
//! is older shows that two parties have the grant.

use std::time::{Duration, SystemTime};

/// How long the token before the present one is answered with the present one, though that was used.
const REPEATED_FOR: Duration = Duration::from_secs(120);

/// The rotation of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// The turn of the present tokens.
    pub turn: u32,
    /// When it began.
    pub turned_at: SystemTime,
    /// Whether the access token of the turn was used, so that its answer has arrived.
    pub is_used: bool,
}

/// What is done when a refresh token is presented that was replaced long ago.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReusePolicy {
    /// The grant ends: a thief and the client look the same.
    #[default]
    End,
    /// The token is refused, and the grant goes on: for clients whose processes keep old tokens for
    /// hours.
    Refuse,
}

/// What follows from a presented refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turning {
    /// The next turn begins.
    Next(Turns),
    /// The tokens of the present turn are given again.
    Again,
    /// The token was replaced, and its successor was used.
    Reuse,
    /// The token is of a turn that was never reached: the store is older than the token.
    Ahead,
}

impl Turns {
    /// Returns the rotation of a new grant.
    pub fn new(now: SystemTime) -> Self {
        Self {
            turn: 0,
            turned_at: now,
            is_used: false,
        }
    }

    /// Returns what follows from a refresh token of a turn.
    pub(crate) fn present(&self, turn: u32, now: SystemTime) -> Turning {
        if turn > self.turn {
            return Turning::Ahead;
        }
        if turn == self.turn {
            return match turn.checked_add(1) {
                Some(turn) => Turning::Next(Self {
                    turn,
                    turned_at: now,
                    is_used: false,
                }),
                None => Turning::Reuse,
            };
        }

        // A clock that was set back makes no time pass.
        let since = now.duration_since(self.turned_at).unwrap_or_default();
        let is_recent = since <= REPEATED_FOR;
        if turn + 1 == self.turn && (is_recent || !self.is_used) {
            return Turning::Again;
        }
        Turning::Reuse
    }
}

impl ReusePolicy {
    /// All policies.
    pub const ALL: [Self; 2] = [Self::End, Self::Refuse];

    /// Returns the word for it in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Refuse => "refuse",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn turns(turn: u32, is_used: bool) -> Turns {
        Turns {
            turn,
            turned_at: at(1000),
            is_used,
        }
    }

    #[test]
    fn the_present_token_takes_the_next_turn() {
        let next = turns(3, true).present(3, at(2000));

        let expected = Turns {
            turn: 4,
            turned_at: at(2000),
            is_used: false,
        };
        assert_eq!(next, Turning::Next(expected));
    }

    #[test]
    fn the_token_before_is_answered_again_for_two_minutes() {
        for (now, is_used, expected) in [
            (1000, true, Turning::Again),
            (1120, true, Turning::Again),
            (1121, true, Turning::Reuse),
            (1121, false, Turning::Again),
            (9_999_999, false, Turning::Again),
            (10, true, Turning::Again),
        ] {
            let turning = turns(3, is_used).present(2, at(now));
            assert_eq!(turning, expected, "{now} {is_used}");
        }
    }

    #[test]
    fn an_older_token_is_reuse_and_a_later_one_of_no_turn() {
        for is_used in [true, false] {
            assert_eq!(turns(3, is_used).present(1, at(1000)), Turning::Reuse);
            assert_eq!(turns(3, is_used).present(4, at(1000)), Turning::Ahead);
        }
        assert_eq!(
            turns(u32::MAX, true).present(u32::MAX, at(1)),
            Turning::Reuse
        );
    }

    proptest! {
        /// Whatever is presented, at most one token leads on, and none leads back.
        #[test]
        fn turns_only_go_on(turn in 0_u32..6, presented in 0_u32..8, now in 0_u64..3000, is_used: bool) {
            let own = turns(turn, is_used);
            match own.present(presented, at(now)) {
                Turning::Next(next) => {
                    prop_assert_eq!(presented, turn);
                    prop_assert_eq!(next.turn, turn + 1);
                }
                Turning::Again => prop_assert_eq!(presented + 1, turn),
                Turning::Reuse => prop_assert!(presented < turn),
                Turning::Ahead => prop_assert!(presented > turn),
            }
        }
    }
}
