//! The pool of workers as the rest of the server uses it: one lock around the decisions of
//! `llamapool-pool`, the calls that wait for them, and what each attempt used.
//!
//! The lock is short and never held over an await. A call that waits gets its decision through a
//! channel of its own; a receiver that is gone gives the place back at once.

mod durations;
mod gen_ai;
mod handle;
mod ledger;
mod queue_view;
mod running;
mod stats;
mod worker;

pub(crate) use handle::{KeyBounds, PoolSettings, WorkerPool};
pub(crate) use ledger::{Estimate, Spending};
pub(crate) use queue_view::QueuedCall;
pub(crate) use running::RunningCall;
pub(crate) use stats::{AnswerTimes, EndedCall, GenAi, LlmMetrics, ModelTotals};
pub(crate) use worker::{PoolWorker, Reported, WorkerSeat};
