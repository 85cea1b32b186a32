//! What takes too long to install for every run: agents that work tasks through the program, and an Ollama that is built.
//! `./test --large` installs the parts and runs this target.
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
#[path = "../real_sign_in/place.rs"]
#[allow(dead_code, reason = "each test target uses its own share of it")]
mod place;
#[path = "../real_llm/runtimes.rs"]
#[allow(dead_code, reason = "each test target uses its own share of it")]
mod runtimes;
#[path = "../real_llm/workers.rs"]
#[allow(dead_code, reason = "each test target uses its own share of it")]
mod workers;

mod agents;
mod codex;
mod connecting;
mod ollama;
mod ollama_leaving;
mod sign_in;
mod tasks;
