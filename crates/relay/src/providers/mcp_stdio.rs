//! An MCP provider that is a program: a bridge, as the relay's other parts see a provider.
//!
//! The bridge itself is in its own crate. Here the call is counted, and the health goes to the
//! provider's status.

use http::{HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use llamapool_bridge::{
    Bridge, BridgeCaller, BridgeConfig, BridgeEvents, BridgeStats, StartGate, StartingProgram,
    not_found,
};
use llamapool_http::ForwardTimeouts;
use llamapool_mcp::ServerFacts;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::{CallError, NOT_FOR_BROWSERS, header as wire};
use tokio::time::Instant;

use super::ProviderBackend;
use crate::call::{CallRequest, CallResponse};
use crate::status::calls::CallGuard;
use crate::status::provider::HealthReporter;

/// An MCP provider that is a program.
pub(crate) struct McpStdio(Bridge);

impl BridgeEvents for HealthReporter {
    fn on_healthy(&self) {
        self.reachable();
    }

    fn on_unhealthy(&self, reason: String) {
        self.unreachable(reason);
    }

    fn on_facts(&self, facts: Option<ServerFacts>) {
        self.set_facts(facts);
    }
}

impl McpStdio {
    pub(super) fn new(config: BridgeConfig, health: HealthReporter, gate: StartGate) -> Self {
        Self(Bridge::new(config, health, gate))
    }
}

impl ProviderBackend for McpStdio {
    async fn call(
        &self,
        request: CallRequest<'_>,
        below: &str,
        mut call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        let request = request.into_http()?;
        let is_of_browser = opens_a_page(&request);
        let mut response = if matches!(below, "" | "/") {
            let caller = BridgeCaller::of_tagged(request.headers());
            let served = self.0.serve(request, caller).await;
            served.inspect_err(|error| call.fail_with(error))?
        } else {
            not_found("Not Found: MCP is at the URL of the id")
        };

        if is_of_browser && response.status().is_client_error() {
            // The server shows the person a page instead.
            let word = HeaderValue::from_static(NOT_FOR_BROWSERS);
            response.headers_mut().insert(wire::ERROR, word);
        }
        call.record_status(response.status());
        let response = ForwardTimeouts::default().carry(response, Instant::now(), call);
        let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
        Ok(CallResponse::of_http(response))
    }

    async fn run(&self) {
        self.0.run().await;
    }

    async fn shutdown(&self) {
        self.0.shutdown().await;
    }

    fn bridge_stats(&self) -> Option<&BridgeStats> {
        Some(self.0.stats())
    }

    fn starting(&self) -> Option<StartingProgram> {
        self.0.starting()
    }
}

/// Returns whether a browser opens the address: no client of MCP accepts HTML.
fn opens_a_page(request: &Request<IncomingBody>) -> bool {
    let accepts = |media_type: &str| {
        let mut accepted = request.headers().get_all(header::ACCEPT).into_iter();
        accepted.any(|value| value.to_str().is_ok_and(|text| text.contains(media_type)))
    };
    *request.method() == Method::GET && accepts("text/html") && !accepts("text/event-stream")
}
