//! The kinds of providers that a relay makes reachable.
//!
//! A kind is a type that implements [`ProviderBackend`], a variant of [`Provider`], and a variant of
//! [`config::ProviderKind`](crate::config::ProviderKind). What every kind has in common, such as its
//! id and its token, is in [`entry`].

mod connection;
pub(crate) mod entry;
mod llm;
mod mcp_http;
mod mcp_stdio;
mod pool;

#[cfg(feature = "fuzzing")]
pub(crate) use self::llm::fuzzing as llm_fuzzing;
pub use self::llm::{
    FindRuntimeError, FoundRuntime, RUNTIME_PORTS, RuntimeReport, find_runtime, generate_one_token,
    inspect_runtime,
};
pub(crate) use self::llm::{LlmEvents, RuntimeState};
#[cfg(feature = "fuzzing")]
pub(crate) use self::mcp_http::fuzzing;

use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use llamapool_bridge::{BridgeConfig, BridgeStats, StartGate, StartingProgram};
use llamapool_head::Fields;
use llamapool_limits::{MemoryAccount, MemoryBudget};
use llamapool_wire::path::OAuthDocument;
use llamapool_wire::{CallError, Cause};
use tower_service::Service;

use self::llm::LlmRuntime;
use self::mcp_http::McpHttp;
use self::mcp_stdio::McpStdio;
use crate::call::{CallRequest, CallResponse};
use crate::config::{HttpConfig, ProviderConfig, ProviderKind};
use crate::error::error_chain;
use crate::status::calls::CallGuard;
use crate::status::provider::ProviderStatus;
use crate::tls::tls_config;

/// One kind of provider. A method with a default body is a capability that a kind need not have.
trait ProviderBackend {
    /// Responds to one call whose caller is admitted. `below` is the part of the caller's path
    /// behind the id.
    async fn call(
        &self,
        request: CallRequest<'_>,
        below: &str,
        call: CallGuard,
    ) -> Result<CallResponse, CallError>;

    /// Responds to one call to an LLM runtime. `at_runtime` is the path there.
    async fn llm_call(
        &self,
        _request: CallRequest<'_>,
        _at_runtime: &str,
        mut call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        call.fail();
        Err(wrong_kind("the provider with this id is no LLM runtime"))
    }

    /// Attends to the provider and reports its health, for as long as the relay lives.
    async fn run(&self);

    /// Ends what was started for the provider, and waits until nothing is left of it.
    async fn shutdown(&self) {}

    /// Returns whether callers reach an OpenID Connect document of the provider below the id.
    fn publishes_openid(&self) -> bool {
        false
    }

    /// Responds with one of the provider's OAuth documents, with 404 if there is none. A program has
    /// none: it takes its credentials from its environment (MCP 2025-06-18, authorization).
    async fn document(
        &self,
        _document: OAuthDocument,
        _fields: &Fields,
        mut call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        call.complete();
        Ok(CallResponse::empty(StatusCode::NOT_FOUND))
    }

    /// Returns the programs and sessions of a bridge, `None` for a provider without one.
    fn bridge_stats(&self) -> Option<&BridgeStats> {
        None
    }

    /// Returns the program that has not written a message yet, `None` if there is none.
    fn starting(&self) -> Option<StartingProgram> {
        None
    }

    /// Returns what is known of an LLM runtime, `None` for another provider.
    fn runtime(&self) -> Option<&Arc<RuntimeState>> {
        None
    }
}

/// Connects to a provider that speaks HTTP, as its probe does, and hangs up.
///
/// # Errors
///
/// A text for people.
pub async fn reach_provider(config: &HttpConfig, ca_file: Option<&Path>) -> Result<(), String> {
    let tls = tls_config(ca_file).map_err(|error| error.to_string())?;
    let mut connector = pool::connector(tls, config.connect_timeout);
    let connecting = connector.call(config.url.clone());
    match tokio::time::timeout(config.connect_timeout, connecting).await {
        Ok(connected) => connected.map(drop).map_err(|error| error_chain(&*error)),
        Err(_) => Err(format!("no connection within {:?}", config.connect_timeout)),
    }
}

/// Returns the error for a call that another kind of provider takes.
fn wrong_kind(message: &str) -> CallError {
    CallError::new(Cause::RelayGarbage, message)
}

/// What all providers of a relay have from the process.
pub(crate) struct ProcessSettings<'a> {
    /// The largest head of a message, in bytes.
    pub(crate) max_header_bytes: u32,
    pub(crate) tls: rustls::ClientConfig,
    /// The memory of the provider.
    pub(crate) memory: &'a MemoryAccount,
    /// The gate that programs pass while they start.
    pub(crate) gate: &'a StartGate,
    /// True if every call is shown.
    pub(crate) shows_calls: bool,
}

/// What all providers of a relay share.
pub(crate) struct SharedResources {
    /// The memory of the process.
    pub(crate) memory: MemoryBudget,
    /// The gate that programs pass while they start.
    pub(crate) gate: StartGate,
    /// True if every call is shown.
    pub(crate) shows_calls: bool,
}

/// A provider of any kind. The kinds are an enum and not a trait object, so that a call's future
/// needs no allocation.
pub(crate) enum Provider {
    /// An MCP server that speaks HTTP.
    Http(Box<McpHttp>),
    /// An MCP server that is a program.
    Stdio(Box<McpStdio>),
    /// An LLM runtime.
    Llm(Box<LlmRuntime>),
}

/// Calls a method of whichever kind a provider is.
macro_rules! dispatch {
    ($provider:expr, $backend:ident => $call:expr) => {
        match $provider {
            Provider::Http($backend) => $call,
            Provider::Stdio($backend) => $call,
            Provider::Llm($backend) => $call,
        }
    };
}

impl Provider {
    /// The provider of a configuration, which reports its health to `status`.
    pub(crate) fn new(
        config: &ProviderConfig,
        process: ProcessSettings<'_>,
        status: &ProviderStatus,
    ) -> Self {
        let has_token = config.auth_token.is_some();
        let health = status.health_reporter();
        match &config.kind {
            ProviderKind::Http(http) => {
                Self::Http(Box::new(McpHttp::new(http, has_token, process, health)))
            }
            ProviderKind::Stdio(bridge) => {
                let bridge = BridgeConfig {
                    label: Some(status.label().clone()),
                    memory: process.memory.budget().clone(),
                    ..bridge.clone()
                };
                Self::Stdio(Box::new(McpStdio::new(
                    bridge,
                    health,
                    process.gate.clone(),
                )))
            }
            ProviderKind::Llm(llm) => Self::Llm(Box::new(LlmRuntime::new(llm, process, status))),
        }
    }

    /// Responds to one call whose caller is admitted.
    pub(crate) async fn call(
        &self,
        request: CallRequest<'_>,
        below: &str,
        call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        match self {
            Self::Http(backend) => backend.call(request, below, call).await,
            // Boxed, as calls to the others would carry its size along.
            Self::Stdio(backend) => Box::pin(backend.call(request, below, call)).await,
            Self::Llm(backend) => backend.call(request, below, call).await,
        }
    }

    /// Responds to one call to an LLM runtime.
    pub(crate) async fn llm_call(
        &self,
        request: CallRequest<'_>,
        at_runtime: &str,
        call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        dispatch!(self, backend => backend.llm_call(request, at_runtime, call).await)
    }

    /// Responds with one of the provider's OAuth documents, with 404 if there is none.
    pub(crate) async fn document(
        &self,
        document: OAuthDocument,
        fields: &Fields,
        call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        dispatch!(self, backend => backend.document(document, fields, call).await)
    }

    /// Attends to the provider for as long as the relay lives.
    pub(crate) async fn run(&self) {
        dispatch!(self, backend => backend.run().await);
    }

    /// Ends what was started for the provider, and waits until nothing is left of it.
    pub(crate) async fn shutdown(&self) {
        dispatch!(self, backend => backend.shutdown().await);
    }

    /// Returns whether callers reach an OpenID Connect document of the provider below the id.
    pub(crate) fn publishes_openid(&self) -> bool {
        dispatch!(self, backend => backend.publishes_openid())
    }

    /// Returns the programs and sessions of a bridge, `None` for a provider without one.
    pub(crate) fn bridge_stats(&self) -> Option<&BridgeStats> {
        dispatch!(self, backend => backend.bridge_stats())
    }

    /// Returns the program that has not written a message yet, `None` if there is none.
    pub(crate) fn starting(&self) -> Option<StartingProgram> {
        dispatch!(self, backend => backend.starting())
    }

    /// Returns what is known of an LLM runtime, `None` for another provider.
    pub(crate) fn runtime(&self) -> Option<&Arc<RuntimeState>> {
        dispatch!(self, backend => backend.runtime())
    }
}
