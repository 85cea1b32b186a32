//! Compares calls through llamapool with direct calls to the provider: scenarios that run on both
//! routes, real clients, the conformance suite, and several relays for one id.
//!
//! The differences of `allowed.rs` are allowed, and no others. A real part that is not installed is
//! a failure, never a skip.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

#[path = "../real/parts.rs"]
#[allow(dead_code, reason = "its own share of the real parts")]
mod parts;

mod allowed;
mod between;
mod browsers;
mod bytes;
mod clients;
mod compare;
mod conformance;
mod counts;
mod difference;
mod differential;
mod document;
mod ends;
mod faults;
mod faulty_proxy;
mod forms;
mod hostile;
mod http2;
mod legacy;
mod matrix;
mod modern;
mod oldest;
mod pace;
mod programs;
mod readers;
mod rules;
mod several_relays;
mod stdio;
mod stdio_clients;
mod stdio_conformance;
mod stdio_servers;
mod streams;
mod transcript;

use differential::Scenario;

/// Returns all scenarios.
fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    let themes = [
        &bytes::SCENARIOS,
        &between::SCENARIOS,
        &ends::SCENARIOS,
        &streams::SCENARIOS,
        &oldest::SCENARIOS,
        &legacy::SCENARIOS,
        &modern::SCENARIOS,
        &forms::SCENARIOS,
    ];
    themes.into_iter().flat_map(|scenarios| scenarios.iter())
}
