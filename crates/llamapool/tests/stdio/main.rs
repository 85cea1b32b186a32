//! End-to-end tests of a relay whose provider is a program: the real executable, and a scripted
//! program (`tests/parts/scripted_program.py`).
//!
//! The behaviour that programs share with HTTP providers is tested in `e2e`. A program and its
//! descendants are found by a mark in their environment, even after they were reparented.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod environment;
mod event_stream;
mod exits;
mod first_exchange;
mod framing;
mod large;
mod over_http;
mod processes;
mod reload;
mod scripted_program;
mod session_client;
mod session_limits;
mod several_providers;
mod shared_session;
mod slow_starts;
mod spare_program;
mod standalone;
mod stateless;
mod stream_routing;
mod supervision;
