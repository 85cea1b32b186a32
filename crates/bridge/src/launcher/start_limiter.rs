//! The history of starts, which decides about the next: so many in a minute, of which callers get
//! fair shares, and after a growing wait while programs exit before their first message.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use llamapool_limits::{Claim, FairShare, Owner, Share, ShareError};
use llamapool_wire::{CallError, Cause};
use tokio::time::Instant;

use crate::caller::BridgeCaller;

/// So many exits without a message may be accidents; after one more the next start waits.
const ACCIDENTS: u32 = 2;
/// The first wait, and the longest. Each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// For how long failed starts of a caller are remembered: longer than it waits.
const MEMORY: Duration = Duration::from_secs(2 * 60);

/// The party for which a program is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    /// The bridge itself, which finds out whether and how the program runs.
    Bridge,
    /// A caller, whose session it becomes.
    Caller(BridgeCaller),
}

/// The history of starts.
pub(super) struct StartLimiter {
    /// Places for the starts of a minute.
    places: FairShare,
    /// The starts of the last minute, each with its place.
    recent: VecDeque<(Instant, Share<2>)>,
    /// Starts that failed. Each caller has its own, so that one whose requests end programs delays
    /// no other.
    failures: HashMap<Option<Owner>, Failures>,
    /// True if any program has ever written a message.
    has_answered: bool,
}

/// The starts of one starter that failed since one that did not.
struct Failures {
    count: u32,
    /// How the last of them ended, for callers.
    reason: String,
    at: Instant,
    /// Until when no program is started.
    pause: Option<Instant>,
}

impl Starter {
    /// Returns the caller, `None` for the bridge.
    pub(crate) fn caller(self) -> Option<BridgeCaller> {
        match self {
            Self::Bridge => None,
            Self::Caller(caller) => Some(caller),
        }
    }

    fn claims(self) -> [Claim; 2] {
        match self {
            // Without it nothing else would start.
            Self::Bridge => [0, 1].map(|it| Claim {
                owner: Owner::of(&("bridge", it)),
                factor: usize::MAX,
            }),
            Self::Caller(caller) => caller.claims(),
        }
    }

    /// Returns the owner of its failures.
    fn owner(self) -> Option<Owner> {
        self.caller().map(|caller| caller.network)
    }
}

impl StartLimiter {
    pub(super) fn new(max_per_minute: usize) -> Self {
        Self {
            places: FairShare::new(max_per_minute),
            recent: VecDeque::new(),
            failures: HashMap::new(),
            has_answered: false,
        }
    }

    /// Returns whether any program has ever written a message.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Returns whether a start failed since one that did not.
    pub(super) fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Returns how the bridge's own last start failed, `None` if it did not.
    pub(super) fn own_failure(&self) -> Option<&str> {
        let failures = self.failures.get(&None)?;
        Some(&failures.reason)
    }

    /// Returns until when the bridge itself starts no program.
    pub(super) fn own_pause(&self, now: Instant) -> Option<Instant> {
        self.pause_of(None, now).map(|(until, _)| until)
    }

    /// Refuses a start while one that failed is not long enough ago.
    pub(super) fn check(&self, starter: Starter, now: Instant) -> Result<(), CallError> {
        let pauses = [None, starter.owner()].map(|owner| self.pause_of(owner, now));
        let longest = pauses.into_iter().flatten().max_by_key(|(until, _)| *until);
        let Some((until, reason)) = longest else {
            return Ok(());
        };

        let wait = until - now;
        let seconds = wait.as_secs() + 1;
        let message =
            format!("the MCP server is not started again for another {seconds} s: {reason}");
        let error = CallError::new(Cause::ProviderNotStarted, message);
        Err(error.with_retry_after(wait))
    }

    /// Records a start, or refuses it.
    pub(super) fn admit(&mut self, starter: Starter, now: Instant) -> Result<(), CallError> {
        self.check(starter, now)?;

        let is_old = |(start, _): &(Instant, Share<2>)| *start + MINUTE <= now;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        let place = self.places.take(starter.claims(), 1);
        let place = place.map_err(|error| self.refusal(error, starter, now))?;
        self.recent.push_back((now, place));
        Ok(())
    }

    /// Records that a program wrote its first message.
    pub(super) fn succeeded(&mut self, starter: Starter) {
        self.has_answered = true;

        // Where the bridge's own starts failed, the program failed for all, and is now back for all.
        let failed_for_all = self.failures.remove(&None).is_some();
        if failed_for_all {
            self.failures.clear();
        }
        self.failures.remove(&starter.owner());
    }

    /// Records that a program exited without a message, or was not started at all.
    pub(super) fn failed(&mut self, starter: Starter, reason: &str, now: Instant) {
        // One entry for each start of a few minutes at the most.
        self.failures
            .retain(|owner, failures| owner.is_none() || failures.at + MEMORY > now);

        let failures = self.failures.entry(starter.owner()).or_insert(Failures {
            count: 0,
            reason: String::new(),
            at: now,
            pause: None,
        });
        failures.count += 1;
        failures.at = now;
        reason.clone_into(&mut failures.reason);
        if let Some(beyond) = failures.count.checked_sub(ACCIDENTS + 1) {
            let wait = FIRST_WAIT.saturating_mul(1 << beyond.min(16));
            failures.pause = Some(now + wait.min(LONGEST_WAIT));
        }
    }

    fn pause_of(&self, owner: Option<Owner>, now: Instant) -> Option<(Instant, &str)> {
        let failures = self.failures.get(&owner)?;
        let until = failures.pause.filter(|until| *until > now)?;
        Some((until, &failures.reason))
    }

    fn refusal(&self, error: ShareError, starter: Starter, now: Instant) -> CallError {
        let most = self.places.capacity();
        let message = match error {
            ShareError::Full => format!(
                "{most} programs were started within a minute, as many as PROVIDER_MAX_STARTS allows"
            ),
            ShareError::Owner(place) => {
                let owner = starter.claims()[place].owner;
                let held = self.places.held_by(owner);
                format!(
                    "this caller has used up its share of PROVIDER_MAX_STARTS: {held} of the {most} starts of the last minute"
                )
            }
        };

        // At the latest when the oldest start is a minute old there is one more.
        let oldest = self.recent.front().map(|(start, _)| *start + MINUTE);
        let wait = oldest.map(|free| free.saturating_duration_since(now));
        CallError::new(Cause::TooManySessions, message).with_retry_after(wait.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use llamapool_wire::CallerTag;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn caller(network: u64) -> Starter {
        let tag = CallerTag::new(network, None);
        Starter::Caller(BridgeCaller::of_tag(Some(tag)))
    }

    #[test]
    fn starts_within_a_minute_are_bounded() {
        let start = Instant::now();
        let mut starts = StartLimiter::new(3);

        assert!((0..3).all(|_| starts.admit(caller(1), start).is_ok()));
        let refusal = starts.admit(caller(1), start + 59 * SECOND).unwrap_err();
        assert_eq!(refusal.cause, Cause::TooManySessions);
        assert_eq!(refusal.retry_after_seconds(), Some(1));
        assert!(starts.admit(caller(1), start + MINUTE).is_ok());
    }

    #[test]
    fn a_program_that_is_back_is_back_for_all_callers() {
        let now = Instant::now();
        let mut starts = StartLimiter::new(90);
        let fail = |starts: &mut StartLimiter, starter| {
            for _ in 0..=ACCIDENTS {
                starts.failed(starter, "exit status 3", now);
            }
        };

        fail(&mut starts, caller(1));
        starts.succeeded(Starter::Bridge);
        assert!(
            starts.check(caller(1), now).is_err(),
            "its requests end the program, others run"
        );

        fail(&mut starts, Starter::Bridge);
        starts.succeeded(Starter::Bridge);
        assert!(starts.check(caller(1), now).is_ok());
    }

    #[test]
    fn a_caller_that_starts_many_uses_up_its_own_share() {
        let now = Instant::now();
        let mut starts = StartLimiter::new(90);

        let greedy = (0..90).filter(|_| starts.admit(caller(1), now).is_ok());

        assert_eq!(greedy.count(), 80);
        let refusal = starts.admit(caller(1), now + 15 * SECOND).unwrap_err();
        assert!(
            refusal
                .message
                .contains("its share of PROVIDER_MAX_STARTS: 80 of the 90"),
            "{}",
            refusal.message
        );
        assert_eq!(refusal.retry_after_seconds(), Some(45));
        assert!(starts.admit(caller(2), now).is_ok());
        assert!(starts.admit(Starter::Bridge, now).is_ok());
    }

    #[test]
    fn failed_starts_delay_the_next_ever_longer() {
        let mut now = Instant::now();
        let mut starts = StartLimiter::new(1000);

        for expected in [0, 0, 1, 2, 4, 8, 16, 32, 60, 60] {
            starts.failed(Starter::Bridge, "exit status 1", now);
            let almost = Duration::from_secs(expected).saturating_sub(Duration::from_millis(1));
            let refused = starts.check(caller(1), now + almost);

            assert_eq!(refused.is_err(), expected > 0, "{expected}");

            now += Duration::from_secs(expected);

            assert!(starts.check(caller(1), now).is_ok());
        }

        starts.failed(Starter::Bridge, "exit status 1", now);
        let refusal = starts.check(caller(1), now).unwrap_err();
        assert!(
            refusal.message.contains("exit status 1") && refusal.message.contains("61 s"),
            "{}",
            refusal.message
        );
        assert_eq!(refusal.retry_after_seconds(), Some(60));

        starts.succeeded(Starter::Bridge);
        assert!(starts.check(caller(1), now).is_ok());
    }

    #[test]
    fn a_caller_whose_programs_fail_delays_itself_alone() {
        let now = Instant::now();
        let mut starts = StartLimiter::new(1000);

        for _ in 0..5 {
            starts.failed(caller(1), "exit status 1", now);
        }

        assert!(starts.check(caller(1), now).is_err());
        assert!(starts.check(caller(2), now).is_ok());
        assert!(starts.check(Starter::Bridge, now).is_ok());
        assert_eq!(starts.own_failure(), None);
    }

    #[test]
    fn failures_of_callers_are_forgotten() {
        let now = Instant::now();
        let mut starts = StartLimiter::new(1000);

        for network in 0..100 {
            starts.failed(caller(network), "exit status 1", now);
        }
        starts.failed(caller(100), "exit status 1", now + MEMORY);

        assert_eq!(starts.failures.len(), 1);
    }
}
