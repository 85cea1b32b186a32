//! An LLM runtime: polls what it has and does, and forwards calls to it.
//!
//! Calls reach only the methods and paths that are the API of models: runtimes have others on the
//! same port that load, delete and write. The server chooses the model and the form of the answer,
//! and nothing else of what a call does here.

mod abandoned;
mod call;
mod call_gate;
mod call_params;
mod client;
mod detect;
mod error;
mod event_source;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod headers;
mod inspect;
mod job_stats;
mod learned;
mod meter;
mod passed_body;
mod patience;
mod plan;
mod poll;
mod reports;
mod runtime;
mod speeds;
mod state;
mod stream_answer;
mod translation;
mod upstream_events;

use std::sync::Arc;

use http_body_util::BodyExt;
use llamapool_dialect::dialect_of;
use llamapool_http::ForwardTimeouts;
use llamapool_limits::MemoryAccount;
use llamapool_wire::CallError;
use tokio::time::Instant;

use self::abandoned::AbandonedCalls;
use self::call::{LlmCall, admitted_route};
use self::client::{PollClient, RuntimeAddress};
pub(crate) use self::event_source::LlmEvents;
use self::poll::Poller;
pub(crate) use self::state::RuntimeState;
use super::pool::{self, ConnectionPool};
use super::{ProcessSettings, ProviderBackend, wrong_kind};
use crate::call::{CallRequest, CallResponse};
use crate::config::LlmConfig;
use crate::error::request_id;
use crate::status::calls::CallGuard;
use crate::status::provider::{HealthReporter, ProviderStatus};

pub use self::detect::{FindRuntimeError, FoundRuntime, RUNTIME_PORTS, find_runtime};
pub use self::inspect::{RuntimeReport, generate_one_token, inspect_runtime};

/// An LLM runtime.
pub(crate) struct LlmRuntime {
    label: Arc<str>,
    address: RuntimeAddress,
    calls: ConnectionPool,
    polls: Arc<PollClient>,
    state: Arc<RuntimeState>,
    abandoned: Arc<AbandonedCalls>,
    health: HealthReporter,
    memory: MemoryAccount,
    max_header_bytes: u32,
}

impl LlmRuntime {
    /// The runtime of a configuration, which reports its health to `status`.
    pub(super) fn new(
        config: &LlmConfig,
        process: ProcessSettings<'_>,
        status: &ProviderStatus,
    ) -> Self {
        let address = RuntimeAddress::new(&config.url, config.api_key.as_ref());
        let connector = pool::connector(process.tls, config.connect_timeout);
        Self {
            label: status.label().clone(),
            calls: ConnectionPool::new(connector.clone(), &config.url),
            polls: Arc::new(PollClient::new(connector, address.clone())),
            state: RuntimeState::new(config.clone(), status.label(), process.shows_calls),
            abandoned: Arc::default(),
            health: status.health_reporter(),
            memory: process.memory.clone(),
            max_header_bytes: process.max_header_bytes,
            address,
        }
    }
}

impl ProviderBackend for LlmRuntime {
    async fn call(
        &self,
        _request: CallRequest<'_>,
        _below: &str,
        mut call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        call.fail();
        Err(wrong_kind("the provider with this id is an LLM runtime"))
    }

    async fn llm_call(
        &self,
        request: CallRequest<'_>,
        at_runtime: &str,
        mut call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        let request = request.into_http()?;
        let req_id = request_id(request.headers()).to_owned();
        // Boxed here, where it is made: what it is awaited in would be as large, and copied each time.
        let responding = Box::pin(async {
            let route = admitted_route(request.method(), at_runtime)?;
            LlmCall::read(self, &route, request).await?.respond().await
        });
        let response = responding.await.unwrap_or_else(|error| {
            error.log(&self.label, &req_id);
            call.fail();
            error.to_response(dialect_of(at_runtime), &req_id)
        });
        let response = ForwardTimeouts::default().carry(response, Instant::now(), call);
        let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
        Ok(CallResponse::of_http(response))
    }

    async fn run(&self) {
        tokio::join!(
            Poller::new(&self.polls, &self.state, &self.health).run(),
            self.abandoned.watch(&self.state, &self.polls),
            self.polls.sweep(),
            self.calls.sweep(),
        );
    }

    fn runtime(&self) -> Option<&Arc<RuntimeState>> {
        Some(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{ModelPatterns, UpstreamStream};

    /// The configuration of a runtime that tests begin with.
    pub(super) fn llm_config(url: &'static str) -> LlmConfig {
        LlmConfig {
            url: http::Uri::from_static(url),
            api_key: None,
            kind: None,
            version: None,
            max_concurrency: None,
            embedding_batch_size: 0,
            model_poll_interval: Duration::from_secs(30),
            request_timeout: None,
            connect_timeout: Duration::from_secs(10),
            models: ModelPatterns::default(),
            aliases: Vec::new(),
            weight: 1000,
            upstream_stream: UpstreamStream::Auto,
            max_answer_bytes: 64 << 20,
        }
    }
}
