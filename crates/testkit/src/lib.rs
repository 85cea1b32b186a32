//! Shared by llamapool's own tests: a server and its relays in one process, a caller, and peers
//! that follow a script.
//!
//! Never a normal dependency of the product. Everything listens on loopback and on free ports, and
//! everything ends when its value is dropped. The one rule: nothing waits for a span of time. A
//! test waits for an event, and [`PATIENCE`] only ends a test that would otherwise hang.
//!
//! ```no_run
//! # async fn example() {
//! use llamapool_testkit::{Pool, Provider};
//!
//! let provider = Provider::echoing().await;
//! let pool = Pool::start().await.with_provider("mcp-1", &provider.url).await;
//!
//! let answer = pool.call("mcp-1", "tools/list").await;
//!
//! assert_eq!(answer.status(), 200);
//! assert_eq!(answer.json()["method"], "tools/list");
//! # }
//! ```

mod answer;
mod caller;
mod frame_relay;
mod link;
mod llm_runtime;
mod pool;
mod provider;
mod raw_http;
mod raw_provider;
mod raw_relay;
mod relay;
mod runtime;
mod scripted_provider;
mod scripted_worker;
mod snapshot;
mod status_client;
mod tunnel_server;

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};

pub use answer::Answer;
pub use caller::{Caller, PendingCall, error_word, metric};
pub use frame_relay::{FrameRelay, FrameRequest, OFFER, Reply};
pub use link::Link;
pub use llamapool_relay::{Reconnect, RelayConfig};
pub use llamapool_server::ServerConfig;
pub use llamapool_tunnel::IncomingBody as AnswerBody;
pub use llm_runtime::{
    LlmRuntime, PlayedRuntime, ReplyEnd, RuntimeBehaviour, RuntimeCall, RuntimeCallEnd,
    RuntimeModel, RuntimeReply,
};
pub use pool::{BUILD, FREE_PORT, Pool, serve_metrics};
pub use provider::{Provider, event_stream, json_answer};
pub use raw_http::{BodyEnd, RawHead, RawHttp, http_request};
pub use raw_provider::{RawProvider, read_head};
pub use raw_relay::{RawAnswer, RawRelay, Upgrade, raw_request};
pub use relay::{Relay, http_provider, llm_provider, relay_config, serve_status, worker_config};
pub use scripted_provider::{ScriptedProvider, ScriptedRequest};
pub use scripted_worker::{ScriptedWorker, WorkerCall, WorkerSetup};
pub use snapshot::{json_snapshot, metrics_snapshot};
pub use status_client::StatusClient;
pub use tunnel_server::{RelayTunnel, TunnelServer};

/// The key that opens the state API of every server under test.
pub const API_KEY: &str = "test123";
/// The key that admits relays to every server under test.
pub const WORKER_KEY: &str = "secret";

/// The span after which a test has failed: an order of magnitude more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// An upper bound for what happens at once, on a machine that is busy with other things too.
pub const AT_ONCE: Duration = Duration::from_secs(1);

/// Waits for an event that must happen. Panics with its description after [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("this did not happen within {PATIENCE:?}: {what}"),
    }
}

/// Builds the JSON-RPC request that calls a tool without arguments.
pub fn tools_call(id: u64, tool: &str) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": id,
        "method": "tools/call",
        "params": { "name": tool, "arguments": {} },
    })
}
