//! The parts that every kind of call shares: the guard of a running call, statistics, forwarding,
//! failures and the log. It depends on no door: labels and error bodies are the door's.

mod active_call;
pub(crate) mod failure;
mod forward;
mod guard;
mod label;
pub(crate) mod log;
mod message;
mod metrics;
mod outcome;
mod recent;
mod stats;

pub(crate) use active_call::ActiveCall;
pub(crate) use forward::{Forwarder, LimitedRequest};
pub(crate) use guard::CallGuard;
pub(crate) use label::LabelSet;
pub(crate) use message::{CallAnswer, CallRequest, RequestBody, into_response};
pub(crate) use metrics::CallMetrics;
pub(crate) use outcome::Outcome;
pub(crate) use recent::{FailureReason, RecentCounts, RecentFailure};
pub(crate) use stats::CallStats;
