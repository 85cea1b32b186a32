//! The relay in this process, behind a real server and in front of scripted providers.
//!
//! Tests that need the executable are in `crates/llamapool/tests`.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

mod authorization_server;
mod golden;
mod hostile_server;
mod llm;
mod locations;
mod oauth;
mod provider_faults;
mod status;
mod token;
