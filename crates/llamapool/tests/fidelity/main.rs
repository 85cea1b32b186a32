//! What is seen through llamapool is what is seen straight at the provider: scenarios that run both ways and are
//! compared, real clients, the conformance suite, and several relays for one id.
//!
//! The one rule: what may differ stands in `allowed.rs`, and nothing else may. As in `real`, a part that is missing is a
//! failure, never a skip.

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
mod faulty;
mod forms;
mod hostile;
mod http2;
mod legacy;
mod matrix;
mod modern;
mod oldest;
mod pace;
mod programs;
mod rules;
mod several_relays;
mod stdio;
mod stdio_clients;
mod stdio_conformance;
mod stdio_servers;
mod streams;
mod transcript;

use differential::Scenario;

/// Every scenario.
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
