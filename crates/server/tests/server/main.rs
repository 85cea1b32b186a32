//! The server in this process, with real relays or relays that are played by the tests.
//!
//! Tests that need the executable are in `crates/llamapool/tests`.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

mod abuse;
mod admin_api;
mod admin_keys;
mod bodies;
mod browsers;
mod claims;
mod connections;
mod declared;
mod draining;
mod forwarding;
mod golden;
mod headers;
mod identity;
mod keys;
mod limits;
mod metrics;
mod plain_callers;
mod policy;
mod redirects;
mod shared_origin;
mod shares;
mod spreading;
mod state;
mod streams;
