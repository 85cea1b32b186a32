//! The LLM pool end to end: `llamapool server`, `llamapool worker` beside real and scripted runtimes, and the clients
//! that people use, installed by `./test`.
//!
//! The one rule: a part that is missing is a failure, never a skip.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;
#[path = "../real/parts.rs"]
#[allow(dead_code, reason = "each test target uses its own share of it")]
mod parts;
#[path = "../real/shell.rs"]
#[allow(dead_code, reason = "each test target uses its own share of it")]
mod shell;

mod answers;
mod clients;
mod differential;
mod failover;
mod leaving;
mod prompt_cache;
mod readme;
mod replays;
mod residency;
mod runtimes;
mod sharing;
mod translating;
mod workers;
