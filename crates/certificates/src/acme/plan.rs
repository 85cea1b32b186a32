//! What is to be ordered, and when: decisions on values. The time is an argument.
//!
//! One order is for all names. A name by which two tries failed is ordered apart, so that it takes no
//! other name down; once it has a certificate, the next order of all has it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::life::{Life, Window};
use super::name::DomainName;

/// The failed tries after which a name is ordered apart.
const TRIES_TOGETHER: u32 = 2;
/// The tries of one name in [`TRY_WINDOW`], failed or not. Let's Encrypt admits five failed checks of
/// a name in an hour.
const MAX_TRIES: usize = 5;
/// The time over which tries are counted.
const TRY_WINDOW: Duration = Duration::from_secs(60 * 60);
/// The pauses after the first failures, and after all later ones.
const FIRST_PAUSES: [Duration; 3] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
];
const LATER_PAUSE: Duration = Duration::from_secs(60 * 60);
/// The longest pause that an authority is obeyed in: the limits of Let's Encrypt are for a week.
const MAX_PAUSE: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// The pause after which an authority is asked again about the end of a certificate, unless it
/// names another.
pub(super) const ASK_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// The bounds of what it names (RFC 9773, section 4.3.2).
const ASK_BOUNDS: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Order one certificate for these names, now.
    Order(Vec<DomainName>),
    /// Ask the authority when the certificate with this number is to be renewed, now.
    AskRenewal(u64),
    /// Do nothing until this time.
    Wait(SystemTime),
}

/// A certificate that is there.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// Its number in this run.
    pub(super) number: u64,
    pub(super) names: Vec<DomainName>,
    pub(super) life: Life,
    /// The time in which the authority suggests to renew it; `None` as long as there is none.
    pub(super) window: Option<Window>,
    /// The next time to ask the authority for that.
    pub(super) ask_at: SystemTime,
}

/// What happened to the orders of one name since its last certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// The tries that failed by this name.
    pub(super) own_failures: u32,
    /// The tries that failed, by this name or by none.
    pub(super) failures: u32,
    /// The newest failure, and the pause behind it.
    pub(super) pause: Option<(SystemTime, Duration)>,
    /// The newest tries, the oldest first; at most [`MAX_TRIES`].
    pub(super) tries: Vec<SystemTime>,
}

/// An order that failed.
#[derive(Debug, Clone, Default)]
pub(super) struct FailedOrder {
    /// The names by which it failed; empty if by none of them, or if that is not known.
    pub(super) by: Vec<DomainName>,
    /// The authority's own word on the earliest next try.
    pub(super) not_before: Option<SystemTime>,
}

/// The state that is decided by.
#[derive(Debug)]
pub(super) struct Plan {
    histories: BTreeMap<DomainName, History>,
    held: Vec<Held>,
}

impl Plan {
    /// Makes the plan for these names, with what is remembered of them.
    pub(super) fn new(
        names: &[DomainName],
        mut remembered: BTreeMap<DomainName, History>,
        held: Vec<Held>,
    ) -> Self {
        let mut history = |name: &DomainName| remembered.remove(name).unwrap_or_default();
        let histories = names.iter().map(|name| (name.clone(), history(name)));
        let mut plan = Self {
            histories: histories.collect(),
            held,
        };
        plan.drop_superseded();
        plan
    }

    /// Returns what is to be done next.
    pub(super) fn next(&mut self, now: SystemTime) -> Step {
        self.undo_future(now);

        let asked = self.held.iter().min_by_key(|held| held.ask_at);
        if let Some(held) = asked
            && held.ask_at <= now
        {
            return Step::AskRenewal(held.number);
        }

        match self.next_order() {
            Some((at, names)) if at <= now => Step::Order(names),
            Some((at, _)) => Step::Wait(asked.map_or(at, |held| held.ask_at.min(at))),
            None => Step::Wait(now + ASK_INTERVAL),
        }
    }

    /// Returns the next order and its time, which may be past. `None` if there is no name.
    pub(super) fn next_order(&self) -> Option<(SystemTime, Vec<DomainName>)> {
        let groups = self.groups().into_iter();
        let orders = groups.map(|names| (self.order_at(&names), names));
        orders.min_by_key(|(at, _)| *at)
    }

    /// Records that an order for these names is made now.
    pub(super) fn begin(&mut self, names: &[DomainName], now: SystemTime) {
        for history in self.histories_of(names) {
            history.tries.push(now);
            let excess = history.tries.len().saturating_sub(MAX_TRIES);
            history.tries.drain(..excess);
        }
    }

    /// Records that the order for these names failed.
    pub(super) fn fail(&mut self, names: &[DomainName], failed: &FailedOrder, now: SystemTime) {
        let by = failed.by.iter().filter(|name| names.contains(name));
        let by: Vec<DomainName> = by.cloned().collect();
        let by_name = !by.is_empty();
        let paused = if by_name { &by } else { names };
        for history in self.histories_of(paused) {
            history.failures += 1;
            history.own_failures += u32::from(by_name);
            let wanted = failed.not_before.and_then(|at| at.duration_since(now).ok());
            let pause = pause_after(history.failures).max(wanted.unwrap_or_default());
            history.pause = Some((now, pause.min(MAX_PAUSE)));
        }
    }

    /// Records a new certificate.
    pub(super) fn obtain(&mut self, held: Held) {
        for history in self.histories_of(&held.names) {
            let tries = std::mem::take(&mut history.tries);
            *history = History {
                tries,
                ..History::default()
            };
        }
        self.held.push(held);
        self.drop_superseded();
    }

    /// Records the answer to [`Step::AskRenewal`]: the window, and the authority's pause before the
    /// next question; `None` if there was no answer, or none was to be had.
    pub(super) fn ask_again(
        &mut self,
        number: u64,
        answer: Option<(Window, Duration)>,
        now: SystemTime,
    ) {
        let Some(held) = self.held.iter_mut().find(|held| held.number == number) else {
            return;
        };
        let (least, most) = ASK_BOUNDS;
        let pause = answer.map_or(ASK_INTERVAL, |(_, pause)| pause.clamp(least, most));
        held.ask_at = now + pause;
        if let Some((window, _)) = answer {
            held.window = Some(window);
        }
    }

    /// Returns the certificates that are in use.
    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Returns what is to be remembered over a restart.
    pub(super) fn histories(&self) -> &BTreeMap<DomainName, History> {
        &self.histories
    }

    /// Returns whether a name is ordered apart.
    pub(super) fn is_apart(&self, name: &DomainName) -> bool {
        let history = self.histories.get(name);
        history.is_some_and(|history| history.own_failures >= TRIES_TOGETHER)
    }

    /// Returns the tries that failed by this name, one after the other.
    pub(super) fn own_failures(&self, name: &DomainName) -> u32 {
        self.histories.get(name).map_or(0, |it| it.own_failures)
    }

    /// Returns the certificate of a name: of several, the one that ends last.
    pub(super) fn certificate_of(&self, name: &DomainName) -> Option<&Held> {
        let of_name = self.held.iter().filter(|held| held.names.contains(name));
        of_name.max_by_key(|held| held.life.not_after)
    }

    /// Returns the orders that there may be: one for all names but those that are apart.
    pub(super) fn groups(&self) -> Vec<Vec<DomainName>> {
        let names = self.histories.keys().cloned();
        let (apart, together): (Vec<_>, Vec<_>) = names.partition(|name| self.is_apart(name));
        let mut groups: Vec<_> = apart.into_iter().map(|name| vec![name]).collect();
        if !together.is_empty() {
            groups.insert(0, together);
        }
        groups
    }

    /// Returns the time at which one certificate for these names is to be ordered: when the first of
    /// them needs one, and all of them may be tried.
    fn order_at(&self, names: &[DomainName]) -> SystemTime {
        let needed = names.iter().map(|name| self.needed_at(name)).min();
        let allowed = names.iter().filter_map(|name| self.allowed_at(name)).max();
        let needed = needed.unwrap_or(SystemTime::UNIX_EPOCH);
        allowed.map_or(needed, |allowed| allowed.max(needed))
    }

    fn needed_at(&self, name: &DomainName) -> SystemTime {
        let held = self.certificate_of(name);
        held.map_or(SystemTime::UNIX_EPOCH, |held| {
            held.life.renew_at(held.window.as_ref())
        })
    }

    fn allowed_at(&self, name: &DomainName) -> Option<SystemTime> {
        let history = self.histories.get(name)?;
        let after_pause = history.pause.map(|(at, pause)| at + pause);
        let oldest = history.tries.first();
        let is_full = history.tries.len() >= MAX_TRIES;
        let after_tries = oldest.filter(|_| is_full).map(|at| *at + TRY_WINDOW);
        after_pause.max(after_tries)
    }

    fn histories_of<'a>(
        &'a mut self,
        names: &'a [DomainName],
    ) -> impl Iterator<Item = &'a mut History> {
        let histories = self.histories.iter_mut();
        histories.filter_map(|(name, history)| names.contains(name).then_some(history))
    }

    /// Takes what is remembered of the future for the present: the clock was set back, and nothing
    /// shall wait until it is where it was.
    fn undo_future(&mut self, now: SystemTime) {
        for history in self.histories.values_mut() {
            for at in &mut history.tries {
                *at = (*at).min(now);
            }
            if let Some((at, _)) = &mut history.pause {
                *at = (*at).min(now);
            }
        }
        for held in &mut self.held {
            held.ask_at = held.ask_at.min(now + ASK_BOUNDS.1);
        }
    }

    /// Forgets the certificates that no name has as its best one.
    fn drop_superseded(&mut self) {
        let best = self.histories.keys();
        let best = best.filter_map(|name| self.certificate_of(name));
        let used: BTreeSet<u64> = best.map(|held| held.number).collect();
        self.held.retain(|held| used.contains(&held.number));
    }
}

/// Returns the pause after this many failures, one after the other.
fn pause_after(failures: u32) -> Duration {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    FIRST_PAUSES.get(index).copied().unwrap_or(LATER_PAUSE)
}

#[cfg(test)]
mod tests;
