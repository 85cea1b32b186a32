//! The server in this process, with real relays or relays that are played by the tests.
//!
//! Tests that need the executable are in `crates/llamapool/tests`.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

mod abuse;
mod bodies;
mod claims;
mod connections;
mod draining;
mod forwarding;
mod golden;
mod headers;
mod keys;
mod metrics;
mod plain_callers;
mod redirects;
mod shared_origin;
mod shares;
mod spreading;
mod state;
mod streams;
