//! End to end: the real executable as server and relay, with scripted providers.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod abuse;
mod authorization_server;
mod bodies;
mod dialling;
mod draining;
mod forwarding;
mod headers;
mod holding_an_id;
mod keys;
mod locations;
mod log;
mod losses;
mod oauth;
mod plain_callers;
mod provider_faults;
mod relay_status;
mod several_providers;
mod spreading;
mod state;
mod streams;
