//! An MCP provider that is a program: a bridge, as the relay's other parts see a provider.
//!
//! The bridge itself is in its own crate. Here the call is counted, and the health goes to the
//! provider's status.

use http::{Request, Response};
use http_body_util::BodyExt;
use llamapool_bridge::{
    Bridge, BridgeCaller, BridgeConfig, BridgeEvents, BridgeStats, StartGate, not_found,
};
use llamapool_http::ForwardTimeouts;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::CallError;
use tokio::time::Instant;

use super::ProviderBackend;
use crate::response_body::ResponseBody;
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
}

impl McpStdio {
    pub(super) fn new(config: BridgeConfig, health: HealthReporter, gate: StartGate) -> Self {
        Self(Bridge::new(config, health, gate))
    }
}

impl ProviderBackend for McpStdio {
    async fn call(
        &self,
        request: Request<IncomingBody>,
        below: &str,
        mut call: CallGuard,
    ) -> Result<Response<ResponseBody>, CallError> {
        let response = if matches!(below, "" | "/") {
            let caller = BridgeCaller::of_tagged(request.headers());
            let served = self.0.serve(request, caller).await;
            served.inspect_err(|_| call.fail())?
        } else {
            not_found("Not Found: MCP is at the URL of the id")
        };

        let response = ForwardTimeouts::default().carry(response, Instant::now(), call);
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
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
}
