//! The decisions of the LLM pool: which models there are and who has them, which worker runs a call,
//! which of the waiting calls is next, and what a key may spend.
//!
//! No I/O, no clock, no async runtime: time is an argument, in microseconds, so that fairness is tested
//! with a virtual clock, and ten thousand workers run in one test. The server reports events and
//! carries out decisions.

mod affinity;
mod breaker;
mod budget;
mod call;
mod catalogue;
mod choose;
mod id_map;
mod ids;
mod keys;
mod model;
mod pattern;
mod pool;
mod queue;
mod random;
mod score;
mod settings;
mod steps;
mod timers;
mod view;

pub use budget::{Budget, BudgetError, BudgetKind, BudgetLimits, Reservation, reserved_tokens};
pub use call::{
    Ask, AskedApi, Decision, Outcome, Placement, PrefixMark, Reason, RefusedError, Retry, Run,
};
pub use id_map::{IdHasher, IdMap};
pub use ids::{CallId, KeyId, WorkerId};
pub use model::{Match, PoolLoad, PoolModel, PoolSpeed, Resolution, ResolvedModel, ServerAlias};
pub use pool::Pool;
pub use settings::{Availability, Class, KeySettings, PoolConfig, WorkerSettings};
pub use view::{BreakerState, KeyView, ModelView, QueueEntry, WorkerView};
