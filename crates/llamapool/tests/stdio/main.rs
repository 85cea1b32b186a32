//! A relay whose provider is a program, end to end: the real executable, and a program that does what a test says, be it
//! wrong (`tests/parts/faulty.py`).
//!
//! What HTTP providers and programs have in common is tested in `e2e`. The one rule: a program, and all that comes of it, is
//! found by a mark in its environment, however it got away.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod ends;
mod faulty;
mod framing;
mod large;
mod marked;
mod modern;
mod over_http;
mod session;
mod sessions;
mod several;
mod shared_session;
mod stream;
mod streams;
mod supervision;
mod surroundings;
