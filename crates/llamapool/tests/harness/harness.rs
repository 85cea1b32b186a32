//! What end-to-end tests are made of: the real executable in several roles, providers that do what a test says, and
//! links that can be frozen and cut.
//!
//! The one rule: nothing here waits by the clock. Whatever a test waits for is an event that somebody reports, and
//! [`PATIENCE`] only ends a test that would otherwise hang.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test target uses its own share of the harness"
)]

mod connect_proxy;
mod link;
mod pool;
mod process;
mod provider;
mod raw;
mod raw_relay;
mod scripted;
mod tls_front;

use std::future::Future;
use std::time::Duration;

pub use connect_proxy::ConnectProxy;
pub use link::Link;
pub use pool::{API_KEY, Calling, Pool, WORKER_KEY, error_of, metric};
pub use process::Process;
pub use provider::{Provider, RawProvider, event_stream, json_answer};
pub use raw::{BodyEnd, RawHead, RawHttp, http_request};
pub use raw_relay::{
    AT_ONCE, FrameRelay, FrameRequest, OFFER, RawAnswer, RawRelay, Upgrade, raw_request,
};
pub use scripted::{Asked, Scripted};
pub use tls_front::TlsFront;

/// After this a test has failed: an order of magnitude more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Settings, as a process is told them.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("this did not happen within {PATIENCE:?}: {what}"),
    }
}

/// A JSON-RPC request for a tool.
pub fn tools_call(id: u64, tool: &str) -> serde_json::Value {
    serde_json::json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}
