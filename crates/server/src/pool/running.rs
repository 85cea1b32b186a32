//! A call that has a worker: its slot there, and its attempts.

use std::sync::Arc;

use llamapool_dialect::Endpoint;
use llamapool_pool::{CallId, KeyId, Outcome, RefusedError, Retry, Run};

use super::handle::WorkerPool;
use super::ledger::{Estimate, Spending};
use super::worker::PoolWorker;
use crate::identity::KeyMeter;

/// A call that has a slot of a worker. Dropping it gives the slot back: at once if its last attempt
/// went to no answer, and else with the report of the worker, which is given a moment to arrive.
#[must_use]
pub(crate) struct RunningCall {
    pool: WorkerPool,
    call: CallId,
    key: KeyId,
    /// The worker.
    pub(crate) worker: Arc<PoolWorker>,
    /// Why it runs there, and what is expected.
    pub(crate) run: Run,
    progress: Progress,
}

/// What an attempt is sent for.
#[derive(Debug, Clone)]
pub(crate) struct AttemptOf {
    /// The model in the catalogue.
    pub(crate) model: Arc<str>,
    /// The worker's own name of it.
    pub(crate) model_at_worker: Arc<str>,
    pub(crate) endpoint: Endpoint,
    /// Counts the tokens for the caller key.
    pub(crate) meter: Option<Arc<KeyMeter>>,
}

/// How far a running call is.
enum Progress {
    /// Nothing was sent.
    Placed,
    /// An attempt of this number was sent.
    Sent(u64),
    /// The attempt of this number has the answer of the call.
    Answered(u64, Estimate),
    /// The slot is not this call's any more.
    Released,
}

impl RunningCall {
    pub(super) fn new(
        pool: WorkerPool,
        call: CallId,
        key: KeyId,
        worker: Arc<PoolWorker>,
        run: Run,
    ) -> Self {
        Self {
            pool,
            call,
            key,
            worker,
            run,
            progress: Progress::Placed,
        }
    }

    /// Begins an attempt. Returns its number, for the worker's report.
    pub(crate) fn begin_attempt(
        &mut self,
        model: Arc<str>,
        endpoint: Endpoint,
        meter: Option<Arc<KeyMeter>>,
    ) -> u64 {
        self.abandon_attempt();
        let number = self.pool.next_number();
        let worker = (self.worker.id, self.worker.clone());
        let running = (worker, self.call);
        let of = AttemptOf {
            model,
            model_at_worker: self.run.model_name.clone(),
            endpoint,
            meter,
        };
        self.pool
            .with_ledger(|ledger, now| ledger.begin(number, running, of, now));
        self.progress = Progress::Sent(number);
        number
    }

    /// Counts the last attempt as evidence against the worker.
    pub(crate) fn worker_failed(&self) {
        let worker = self.worker.id;
        let key = self.key;
        self.pool
            .change(|pool, now| pool.worker_failed(worker, key, now));
    }

    /// Takes the last attempt as the one with the answer: it has first content. What it uses is
    /// charged to the caller's key.
    pub(crate) fn answered(&mut self, spending: Spending, estimate: Estimate) {
        let Progress::Sent(number) = self.progress else {
            return;
        };
        let Some(reservation) = spending.take() else {
            return;
        };
        let worker = self.worker.id;
        let call = self.call;
        self.pool.change(|pool, now| {
            pool.first_content(call, now);
            pool.worker_succeeded(worker, now);
        });
        self.pool
            .with_ledger(|ledger, _| ledger.answered(number, reservation, estimate));
        self.progress = Progress::Answered(number, estimate);
    }

    /// Counts output of the answer, for an estimate of what it used if no report comes.
    pub(crate) fn count_output(&mut self, tokens: u64) {
        if let Progress::Answered(_, estimate) = &mut self.progress {
            estimate.completion += tokens;
        }
    }

    /// Places the call again, with its place in the queue. Dropping the future leaves the queue.
    pub(crate) async fn retry(
        mut self,
        why: Retry,
        request_id: &str,
    ) -> Result<Self, RefusedError> {
        self.abandon_attempt();
        self.progress = Progress::Released;
        let pool = self.pool.clone();
        let call = (self.call, self.key);
        drop(self);
        pool.retry(call, why, request_id).await
    }

    /// Leaves an attempt without an answer. What it used is charged to no key.
    fn abandon_attempt(&mut self) {
        if let Progress::Sent(number) = self.progress {
            let event = self
                .pool
                .with_ledger(|ledger, now| ledger.abandon(number, now));
            self.pool.carry_out(event);
            self.progress = Progress::Placed;
        }
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.abandon_attempt();
        match std::mem::replace(&mut self.progress, Progress::Released) {
            Progress::Released => {}
            Progress::Answered(number, estimate) => {
                let event = self
                    .pool
                    .with_ledger(|ledger, now| ledger.close(number, estimate, now));
                self.pool.carry_out(event);
            }
            Progress::Placed | Progress::Sent(_) => {
                let call = self.call;
                let unknown = Outcome::default();
                self.pool
                    .change(|pool, now| pool.finished(call, unknown, now));
            }
        }
    }
}
