//! What attempts use: the buckets of keys, the attempts whose report is still to come, and what is
//! settled by an estimate because none came.

use std::collections::BTreeSet;
use std::sync::Arc;

use llamapool_pool::{Budget, CallId, IdMap, KeyId, Outcome, Reservation, WorkerId};
use llamapool_wire::llm::{CallEnd, CallProgress, CallReport, CountSource};

use super::handle::WorkerPool;
use super::running::AttemptOf;
use super::worker::PoolWorker;

#[cfg(test)]
mod tests;

/// How long a slot stays taken after its answer, for the report of the worker to arrive, in
/// microseconds. The report teaches the pool, and mostly comes with the last bytes of the answer.
const REPORT_GRACE: u64 = 50_000;
/// How long after the end of an attempt its report counts, in microseconds.
const REPORT_TIMEOUT: u64 = 30_000_000;
/// The most attempts that are remembered. Beyond it the oldest ended one is settled by its estimate.
const MAX_ATTEMPTS: usize = 262_144;

/// The attempts and the buckets. `W` is what the server has of a worker: the ledger does not look into
/// it, so that its laws are tested without tunnels.
pub(crate) struct Ledger<W = Arc<PoolWorker>> {
    pub(super) budget: Budget,
    attempts: IdMap<u64, Attempt<W>>,
    /// The attempts of each worker.
    of_worker: BTreeSet<(WorkerId, u64)>,
    /// The moments at which something happens to an attempt although nothing comes.
    deadlines: BTreeSet<(u64, u64)>,
}

/// A request and tokens that are taken out of the buckets of a key. Dropping it gives the tokens
/// back: the call used none.
#[must_use]
pub(crate) struct Spending {
    pool: WorkerPool,
    reservation: Option<Reservation>,
}

/// Tokens that a call is thought to have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
}

/// An attempt whose report has not come, or whose end has not.
struct Attempt<W> {
    worker: (WorkerId, W),
    call: CallId,
    of: AttemptOf,
    /// When it was sent, in the pool's microseconds.
    began: u64,
    phase: Phase,
    /// The share of the prompt that is read, as far as the worker reports it.
    read: Option<f32>,
    report: Option<CallReport>,
}

enum Phase {
    /// It was sent.
    Sent,
    /// It has the answer of its call, which goes to the caller.
    Answered(Charged),
    /// The same, and the answer is over. It still has its slot.
    Over(Charged),
    /// The same, and its slot is free.
    Free(Charged),
    /// Another attempt followed, or the call failed.
    Abandoned,
}

/// What an attempt is charged to.
struct Charged {
    reservation: Reservation,
    estimate: Estimate,
}

/// Something that happened to an attempt.
pub(super) enum LedgerEvent<W = Arc<PoolWorker>> {
    /// Its slot is free, though its report has not come.
    Freed(CallId, Outcome),
    /// It is over in every respect.
    Settled(SettledAttempt<W>),
}

/// An attempt that is over in every respect.
pub(crate) struct SettledAttempt<W = Arc<PoolWorker>> {
    pub(crate) worker: W,
    pub(crate) of: AttemptOf,
    /// The key that it is charged to; `None` for an attempt that another one followed.
    pub(crate) key: Option<KeyId>,
    /// The counts, from the worker or estimated: its source tells which.
    pub(crate) report: CallReport,
    /// The call whose slot it frees, with its counts.
    pub(super) frees: Option<(CallId, Outcome)>,
}

impl Spending {
    pub(super) fn new(pool: WorkerPool, reservation: Reservation) -> Self {
        Self {
            pool,
            reservation: Some(reservation),
        }
    }

    /// Takes some of the tokens, for an attempt that is a part of the call.
    pub(crate) fn split(&mut self, tokens: u64) -> Self {
        let part = self.reservation.as_mut().map(|all| all.split(tokens));
        Self {
            pool: self.pool.clone(),
            reservation: part,
        }
    }

    /// Takes the reservation out, to be settled by an attempt.
    pub(super) fn take(mut self) -> Option<Reservation> {
        self.reservation.take()
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.pool
                .with_ledger(|ledger, now| ledger.budget.settle(reservation, 0, now));
        }
    }
}

impl<W> Default for Ledger<W> {
    fn default() -> Self {
        Self {
            budget: Budget::default(),
            attempts: IdMap::default(),
            of_worker: BTreeSet::new(),
            deadlines: BTreeSet::new(),
        }
    }
}

impl<W> Ledger<W> {
    /// Begins an attempt of a call at a worker.
    pub(super) fn begin(
        &mut self,
        number: u64,
        running: ((WorkerId, W), CallId),
        of: AttemptOf,
        now: u64,
    ) {
        let (worker, call) = running;
        self.of_worker.insert((worker.0, number));
        let attempt = Attempt {
            worker,
            call,
            of,
            began: now,
            phase: Phase::Sent,
            read: None,
            report: None,
        };
        self.attempts.insert(number, attempt);
    }

    /// Notes that an attempt has the answer of its call.
    pub(super) fn answered(&mut self, number: u64, reservation: Reservation, estimate: Estimate) {
        if let Some(attempt) = self.attempts.get_mut(&number) {
            attempt.phase = Phase::Answered(Charged {
                reservation,
                estimate,
            });
        }
    }

    /// Notes that no answer of an attempt goes to the caller.
    pub(super) fn abandon(&mut self, number: u64, now: u64) -> Option<LedgerEvent<W>> {
        let attempt = self.attempts.get_mut(&number)?;
        attempt.phase = Phase::Abandoned;
        if attempt.report.is_some() {
            return self.settle(number, now);
        }
        self.deadlines.insert((now + REPORT_TIMEOUT, number));
        self.settle_surplus()
    }

    /// Notes that the answer of an attempt is over.
    pub(super) fn close(
        &mut self,
        number: u64,
        estimate: Estimate,
        now: u64,
    ) -> Option<LedgerEvent<W>> {
        let attempt = self.attempts.get_mut(&number)?;
        attempt.phase = match std::mem::replace(&mut attempt.phase, Phase::Abandoned) {
            Phase::Answered(charged) => Phase::Over(Charged {
                estimate,
                ..charged
            }),
            other => other,
        };
        if attempt.report.is_some() {
            return self.settle(number, now);
        }
        self.deadlines.insert((now + REPORT_GRACE, number));
        self.settle_surplus()
    }

    /// Takes the report of a worker.
    pub(super) fn report(
        &mut self,
        worker: WorkerId,
        report: &CallReport,
        now: u64,
    ) -> Option<LedgerEvent<W>> {
        let number = report.attempt;
        let attempt = self.attempts.get_mut(&number)?;
        if attempt.worker.0 != worker || attempt.report.is_some() {
            return None;
        }
        attempt.report = Some(report.clone());
        match attempt.phase {
            // The head of its answer may have arrived a moment ago.
            Phase::Sent => None,
            _ => self.settle(number, now),
        }
    }

    /// Takes how much of its prompt an attempt of a worker has read.
    pub(super) fn progress(&mut self, worker: WorkerId, progress: &CallProgress) {
        let attempt = self.attempts.get_mut(&progress.attempt);
        if let Some(attempt) = attempt.filter(|attempt| attempt.worker.0 == worker) {
            attempt.read = Some(progress.read);
        }
    }

    /// Returns the share of its prompt that an attempt has read, `None` if its worker does not report
    /// it.
    pub(super) fn share_read(&self, number: u64) -> Option<f32> {
        self.attempts.get(&number)?.read
    }

    /// Settles the attempts of a worker that is lost: no report of it comes any more. Those that go on
    /// are settled when they end.
    pub(super) fn worker_left(&mut self, worker: WorkerId, now: u64) -> Vec<LedgerEvent<W>> {
        let all = self.of_worker.range((worker, 0)..=(worker, u64::MAX));
        let numbers: Vec<u64> = all.map(|&(_, number)| number).collect();
        let is_over = |number: &u64| {
            let attempt = self.attempts.get(number);
            attempt.is_some_and(|attempt| attempt.phase.is_over())
        };
        let over: Vec<u64> = numbers.into_iter().filter(is_over).collect();
        let settled = over
            .into_iter()
            .filter_map(|number| self.settle(number, now));
        settled.collect()
    }

    /// Returns what happens to attempts now although nothing came.
    pub(super) fn due(&mut self, now: u64) -> Vec<LedgerEvent<W>> {
        let mut due = Vec::new();
        while let Some(&(at, number)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            due.extend(self.due_attempt(number, now));
        }
        due
    }

    /// Returns the next moment at which something is due.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    fn due_attempt(&mut self, number: u64, now: u64) -> Option<LedgerEvent<W>> {
        let attempt = self.attempts.get_mut(&number)?;
        match std::mem::replace(&mut attempt.phase, Phase::Abandoned) {
            Phase::Over(charged) => {
                attempt.phase = Phase::Free(charged);
                let freed = LedgerEvent::Freed(attempt.call, Outcome::default());
                self.deadlines.insert((now + REPORT_TIMEOUT, number));
                Some(freed)
            }
            Phase::Free(charged) => {
                attempt.phase = Phase::Free(charged);
                self.settle(number, now)
            }
            Phase::Abandoned => {
                self.remove(number);
                None
            }
            running @ (Phase::Sent | Phase::Answered(_)) => {
                attempt.phase = running;
                None
            }
        }
    }

    /// Settles an attempt by its report, or else by its estimate.
    fn settle(&mut self, number: u64, now: u64) -> Option<LedgerEvent<W>> {
        let attempt = self.remove(number)?;
        let holds_slot = matches!(attempt.phase, Phase::Answered(_) | Phase::Over(_));
        let charged = match attempt.phase {
            Phase::Answered(charged) | Phase::Over(charged) | Phase::Free(charged) => Some(charged),
            Phase::Sent | Phase::Abandoned => None,
        };

        let estimate = charged
            .as_ref()
            .map_or(Estimate::default(), |one| one.estimate);
        let total_ms = now.saturating_sub(attempt.began) / 1000;
        let report = attempt.report.unwrap_or_default();
        let report = completed(report, number, estimate, total_ms);
        let key = charged.as_ref().map(|one| one.reservation.key());
        if let Some(Charged { reservation, .. }) = charged {
            let used = report.prompt + report.completion;
            self.budget.settle(reservation, used, now);
        }
        Some(LedgerEvent::Settled(SettledAttempt {
            worker: attempt.worker.1,
            of: attempt.of,
            key,
            frees: holds_slot.then(|| (attempt.call, outcome(&report))),
            report,
        }))
    }

    /// Settles the attempt whose moment is next, where too many are remembered.
    fn settle_surplus(&mut self) -> Option<LedgerEvent<W>> {
        if self.attempts.len() <= MAX_ATTEMPTS {
            return None;
        }
        let (at, number) = self.deadlines.pop_first()?;
        self.settle(number, at)
    }
}

impl<W> Ledger<W> {
    fn remove(&mut self, number: u64) -> Option<Attempt<W>> {
        let attempt = self.attempts.remove(&number)?;
        self.of_worker.remove(&(attempt.worker.0, number));
        Some(attempt)
    }
}

impl Phase {
    /// Returns whether nothing of its answer is to come.
    fn is_over(&self) -> bool {
        match self {
            Self::Over(_) | Self::Free(_) | Self::Abandoned => true,
            Self::Sent | Self::Answered(_) => false,
        }
    }
}

/// Returns a report with estimates in place of what it does not have.
fn completed(report: CallReport, number: u64, estimate: Estimate, total_ms: u64) -> CallReport {
    let or = |counted: u64, estimated: u64| if counted > 0 { counted } else { estimated };
    let is_counted = is_trusted(&report);
    let prompt = if is_counted {
        report.prompt
    } else {
        or(report.prompt, estimate.prompt)
    };
    let completion = if is_counted {
        report.completion
    } else {
        or(report.completion, estimate.completion)
    };
    CallReport {
        attempt: number,
        prompt,
        completion,
        total_ms: or(report.total_ms, total_ms),
        ..report
    }
}

/// Returns what the pool learns from a report.
fn outcome(report: &CallReport) -> Outcome {
    Outcome {
        slot_time: None,
        prompt_tokens: report.prompt,
        cached_tokens: report.cached,
        completion_tokens: report.completion,
        trusted: is_trusted(report) && report.end == CallEnd::Complete,
    }
}

fn is_trusted(report: &CallReport) -> bool {
    matches!(report.source, CountSource::Usage | CountSource::Timings)
}
