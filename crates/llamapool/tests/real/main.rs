//! End to end with real parts: MCP servers and clients of other projects, installed by `./test`.
//!
//! The one rule: a part that is missing is a failure, never a skip.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod acme;
mod administration;
mod big;
mod by_hand;
mod connecting;
mod curl;
mod demo;
mod doctor;
mod many;
mod mcp_servers;
mod parts;
mod pebble;
mod readme;
mod shell;
mod signing_in;
mod socks;
mod stateful;
mod tls;
mod walkthrough;
