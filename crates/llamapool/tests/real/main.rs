//! End to end with real parts: other people's MCP servers and clients, installed by `./test`.
//!
//! The one rule: a part that is missing is a failure, never a skip.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod big;
mod by_hand;
mod curl;
mod demo;
mod many;
mod parts;
mod readme;
mod shell;
mod signing_in;
mod stateful;
mod walkthrough;
