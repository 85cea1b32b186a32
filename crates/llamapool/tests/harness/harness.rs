//! The real executable in several roles, for the tests that need processes; peers and callers are
//! of `llamapool-testkit`.
//!
//! The one rule: nothing here waits for a span of time. A test waits for an event, and [`PATIENCE`]
//! only ends a test that would otherwise hang.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test target uses its own share of the harness"
)]

mod authority;
mod between;
mod connect_proxy;
mod diagnosis;
mod pool;
mod process;
mod socks_proxy;
#[cfg(target_os = "linux")]
mod terminal;
mod tls_front;
mod tls_server;

pub use authority::{Authority, Issued};
pub use between::{Between, Meddling};
pub use connect_proxy::ConnectProxy;
pub use diagnosis::Diagnosis;
pub use llamapool_testkit::{
    API_KEY, AT_ONCE, BodyEnd, FrameRelay, FrameRequest, Link, OFFER, PATIENCE, PendingCall,
    Provider, RawAnswer, RawHead, RawHttp, RawProvider, RawRelay, ScriptedProvider,
    ScriptedRequest, Upgrade, WORKER_KEY, error_word, event_stream, http_request, json_answer,
    metric, raw_request, soon, tools_call,
};
pub use pool::Pool;
pub use process::Process;
pub use socks_proxy::SocksProxy;
#[cfg(target_os = "linux")]
pub use terminal::{COLUMNS, Terminal};
pub use tls_front::TlsFront;
pub use tls_server::{TlsAnswer, TlsServer, write_pair};

/// Environment variables of a process.
pub type Settings<'a> = &'a [(&'a str, &'a str)];
