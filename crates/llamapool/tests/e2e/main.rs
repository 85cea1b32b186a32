//! End to end: the real executable as server and relay, with scripted providers.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may the helpers of tests"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod administration;
mod audit;
mod dialling;
mod doctor;
mod doctor_relay;
mod doctor_server;
mod doctor_worker;
mod draining;
mod exit;
mod first_exchange;
mod grants;
mod holding_an_id;
mod identity;
mod keys;
mod llm_keys;
mod log;
mod losses;
mod mcp_servers;
mod proxies;
mod relay_status;
mod reload;
mod remote;
mod server_reload;
mod service_manager;
mod several_providers;
mod slow_reader;
mod support;
mod tls;
