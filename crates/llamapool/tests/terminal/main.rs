//! The real executable on a pseudo-terminal: what people see of server, relay and demo.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod banners;
mod colours;
mod endings;
mod mistakes;
mod providers;
mod running;
