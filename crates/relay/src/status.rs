//! The state of the relay, and the servers that show it.
//!
//! - [`link`], [`provider`], [`calls`]: the state. The status server, the metrics and the offers to
//!   the server all read it, so they cannot disagree.
//! - [`server`], [`metrics`]: the status server and `/metrics`

pub(crate) mod calls;
pub(crate) mod link;
pub(crate) mod listener;
mod local_only;
pub(crate) mod metrics;
pub(crate) mod provider;
mod same_user;
pub(crate) mod server;
