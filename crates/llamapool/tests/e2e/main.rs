//! End to end: the real executable as server and relay, with scripted providers.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod dialling;
mod draining;
mod exit;
mod holding_an_id;
mod keys;
mod log;
mod losses;
mod proxies;
mod relay_status;
mod several_providers;
mod slow_reader;
