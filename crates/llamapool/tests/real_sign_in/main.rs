//! Sign-in with real clients: the SDKs, tools and browsers that people use sign in at a server as a process, call through it,
//! refresh their tokens, and are locked out.
//!
//! The one rule: a part that is missing is a failure, never a skip.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;
#[allow(dead_code, reason = "each test target uses its own share of it")]
#[path = "../real/parts.rs"]
mod parts;

#[allow(dead_code, reason = "each test target uses its own share of it")]
#[path = "../real/pebble.rs"]
mod pebble;
#[allow(dead_code, reason = "each test target uses its own share of it")]
#[path = "../real/shell.rs"]
mod shell;

mod browser;
mod clients;
mod pages;
mod place;
mod readme;
mod rmcp_client;
mod suite;
mod webdriver;
