//! Installing: what `./dist` makes is installed into an empty place, without a network, runs there, and leaves
//! nothing behind. npm, pip, uv, dpkg, lintian, man, bash and systemd's own checks are the real ones.
//!
//! The one rule: the artifacts are made of the program as it is published, `LLAMAPOOL_PROGRAM`, and a tool
//! that is missing is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print figures, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod archive;
mod artifacts;
mod deb;
mod demo;
mod npm;
mod place;
mod registry;
mod shells;
mod units;
mod wheel;
