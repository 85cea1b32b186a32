//! An LLM runtime: polls what it has and does, and forwards calls to it.
//!
//! Calls reach only the methods and paths that are the API of models: runtimes have others on the
//! same port that load, delete and write. The server chooses the model and the form of the answer,
//! and nothing else of what a call does here.

mod abandoned;
mod call_gate;
mod client;
mod detect;
mod event_source;
mod job_stats;
mod learned;
mod poll;
mod reports;
mod runtime;
mod speeds;
mod state;

use std::sync::Arc;

use http::{Request, Response};
use llamapool_tunnel::IncomingBody;
use llamapool_wire::CallError;

use self::abandoned::AbandonedCalls;
use self::client::{PollClient, RuntimeAddress};
pub(crate) use self::event_source::LlmEvents;
use self::poll::Poller;
pub(crate) use self::state::RuntimeState;
use super::{ProcessSettings, ProviderBackend, pool, wrong_kind};
use crate::config::LlmConfig;
use crate::response_body::ResponseBody;
use crate::status::calls::CallGuard;
use crate::status::provider::HealthReporter;

pub use self::detect::{FindRuntimeError, FoundRuntime, RUNTIME_PORTS, find_runtime};

/// An LLM runtime.
pub(crate) struct LlmRuntime {
    polls: PollClient,
    state: Arc<RuntimeState>,
    abandoned: Arc<AbandonedCalls>,
    health: HealthReporter,
}

impl LlmRuntime {
    /// The runtime of a configuration, whose health goes to `health`.
    pub(super) fn new(
        config: &LlmConfig,
        process: ProcessSettings<'_>,
        health: HealthReporter,
    ) -> Self {
        let address = RuntimeAddress::new(&config.url, config.api_key.as_ref());
        let connector = pool::connector(process.tls, config.connect_timeout);
        Self {
            polls: PollClient::new(connector.clone(), address.clone()),
            state: RuntimeState::new(config.clone()),
            abandoned: Arc::default(),
            health,
        }
    }
}

impl ProviderBackend for LlmRuntime {
    async fn call(
        &self,
        _request: Request<IncomingBody>,
        _below: &str,
        mut call: CallGuard,
    ) -> Result<Response<ResponseBody>, CallError> {
        call.fail();
        Err(wrong_kind("the provider with this id is an LLM runtime"))
    }

    async fn run(&self) {
        tokio::join!(
            Poller::new(&self.polls, &self.state, &self.health).run(),
            self.abandoned.watch(&self.state, &self.polls),
            self.polls.sweep(),
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
