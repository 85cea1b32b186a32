//! An MCP provider that is a program: a bridge, as the relay's other parts see a provider.
//!
//! What the bridge does is in its own crate. Here its answers become those of a provider: the relay's token is checked,
//! the call is counted, and the health goes to the provider's board.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use llamapool_bridge::{Bridge, BridgeConfig, BridgeEvents, BridgeStats, not_found};
use llamapool_http::{BoxError, ForwardTimeouts};
use llamapool_wire::{CallError, Secret};
use tokio::time::Instant;

use super::token::check_token;
use crate::answer_body::AnswerBody;
use crate::board::{HealthReport, RunningCall};

/// The provider.
pub(crate) struct McpStdio {
    bridge: Bridge,
    auth_token: Option<Secret>,
}

impl BridgeEvents for HealthReport {
    fn on_healthy(&self) {
        self.reachable();
    }

    fn on_unhealthy(&self, reason: String) {
        self.unreachable(reason);
    }
}

impl McpStdio {
    pub(crate) fn new(
        config: BridgeConfig,
        auth_token: Option<Secret>,
        health: HealthReport,
    ) -> Self {
        Self {
            bridge: Bridge::new(config, health),
            auth_token,
        }
    }

    /// What the bridge runs.
    pub(crate) fn load(&self) -> &BridgeStats {
        self.bridge.stats()
    }

    /// Looks after programs and sessions, for as long as the relay lives.
    pub(crate) async fn run(&self) {
        self.bridge.run().await;
    }

    /// Ends every program, and waits until none is left.
    pub(crate) async fn end(&self) {
        self.bridge.shutdown().await;
    }

    /// Answers one call; `below` is what the caller's path has behind the id.
    pub(crate) async fn call<B>(
        &self,
        request: Request<B>,
        below: &str,
        mut call: RunningCall,
    ) -> Result<Response<AnswerBody>, CallError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        check_token(self.auth_token.as_ref(), request.headers()).inspect_err(|_| call.failed())?;

        let answer = if matches!(below, "" | "/") {
            let served = self.bridge.serve(request).await;
            served.inspect_err(|_| call.failed())?
        } else {
            not_found("Not Found: MCP is at the URL of the id")
        };

        let answer = ForwardTimeouts::default().carry(answer, Instant::now(), call);
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}
