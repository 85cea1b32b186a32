//! Where every request comes in: what is wrong with it whatever it asks is refused, calls go to their door at once, and
//! everything else goes by the router.
//!
//! Calls are what the server is for, and their door is known by how their path begins: they pay for no table of routes.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use llamapool_wire::path;
use tower_service::Service;

use crate::app::App;
use crate::doors::mcp;
use crate::edge::Edge;
use crate::error;
use crate::peer::Peer;
use crate::request_id::RequestId;

/// The way in on one port. Clones are the same.
#[derive(Clone)]
pub(crate) struct Entrance {
    app: Arc<App>,
    calls: Calls,
    router: Router,
}

/// Whether calls come in here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    Taken,
    None,
}

impl Entrance {
    pub(crate) fn new(app: Arc<App>, calls: Calls, router: Router) -> Self {
        Self { app, calls, router }
    }

    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        peer: Peer,
        req_id: &RequestId,
        mut request: Request,
    ) -> Response<Body> {
        if let Err(failure) = Edge::check_single(request.headers()) {
            self.app.metrics.refused("edge", failure.cause.word());
            return error::failed_call(&failure, req_id.as_str());
        }
        if self.calls == Calls::Taken && is_call(request.uri().path()) {
            return mcp::call(&self.app, peer, req_id, request).await;
        }
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(req_id.clone());
        // Boxed, as calls would carry its size along.
        let routed = Box::pin(self.router.clone().call(request));
        routed.await.unwrap_or_else(|never| match never {})
    }
}

/// Whether a path is that of a call: there is an id, or what stands in its place, behind the prefix.
fn is_call(path: &str) -> bool {
    path.strip_prefix(path::MCP_BY_ID)
        .is_some_and(|tail| !tail.is_empty())
}
