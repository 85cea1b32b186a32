//! The table of routes: which door is where.
//!
//! Calls are what the server is for, and their door is recognized by the prefix of their path: they
//! do not go through the router.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::routing::{any, get};
use llamapool_wire::path;
use tower_service::Service;

use crate::auth::{Auth, HostAndOrigin};
use crate::doors::connect::{ConnectDoor, connect};
use crate::doors::health::{HealthApi, healthz, readyz};
use crate::doors::mcp::McpDoor;
use crate::doors::metrics::{MetricsApi, metrics};
use crate::doors::state::{StateApi, state, state_stream};
use crate::doors::well_known::{WellKnownDoor, well_known};
use crate::error::{self, JsonRpc};
use crate::listen::{Handler, Peer, RequestId};
use crate::metrics::{Door, Metrics};

/// The doors of the public listener.
pub(crate) struct PublicDoors {
    pub(crate) mcp: Arc<McpDoor>,
    pub(crate) well_known: Arc<WellKnownDoor>,
    pub(crate) connect: Arc<ConnectDoor>,
    pub(crate) state: Arc<StateApi>,
    pub(crate) health: Arc<HealthApi>,
    /// `None` if the metrics have a listener of their own.
    pub(crate) metrics: Option<Arc<MetricsApi>>,
}

/// The routes of one listener. Clones are the same routes: every request takes one along.
#[derive(Clone)]
pub(crate) struct Routes(Arc<RouteTable>);

struct RouteTable {
    calls: Option<CallRoute>,
    router: Router,
    metrics: Metrics,
}

/// The route of calls: `auth` makes their callers, the door answers them.
struct CallRoute {
    auth: Arc<Auth>,
    mcp: Arc<McpDoor>,
}

impl Routes {
    /// Returns the routes of the public listener.
    pub(crate) fn public(doors: PublicDoors, auth: Arc<Auth>, counters: Metrics) -> Self {
        let state_api = Router::new()
            .route("/api/state", get(state))
            .route("/api/state/stream", get(state_stream))
            .with_state(doors.state);
        let relays = Router::new()
            .route(path::MCP_CONNECT, any(connect))
            .with_state(doors.connect);
        let documents = Router::new()
            .route("/.well-known/{*name}", any(well_known))
            .with_state(doors.well_known);
        let router = Router::new()
            .merge(state_api)
            .merge(relays)
            .merge(documents)
            .merge(health_routes(doors.health));
        let router = match doors.metrics {
            Some(api) => router.merge(metrics_route(api)),
            None => router,
        };

        let calls = CallRoute {
            auth,
            mcp: doors.mcp,
        };
        Self::new(Some(calls), router, counters)
    }

    /// Returns the routes of the listener of the metrics.
    pub(crate) fn metrics(api: Arc<MetricsApi>, health: Arc<HealthApi>, counters: Metrics) -> Self {
        let router = Router::new()
            .merge(metrics_route(api))
            .merge(health_routes(health));
        Self::new(None, router, counters)
    }

    fn new(calls: Option<CallRoute>, router: Router, metrics: Metrics) -> Self {
        let table = RouteTable {
            calls,
            router: router.fallback(not_found),
            metrics,
        };
        Self(Arc::new(table))
    }

    /// Answers a request that is no call.
    async fn route(&self, request: Request) -> Response<Body> {
        // Boxed, as calls would carry its size along.
        let routed = Box::pin(self.0.router.clone().call(request));
        routed.await.unwrap_or_else(|never| match never {})
    }
}

impl Handler for Routes {
    async fn answer(&self, peer: Peer, req_id: &RequestId, mut request: Request) -> Response<Body> {
        let source = match HostAndOrigin::read(request.headers()) {
            Ok(source) => source,
            Err(failure) => {
                self.0.metrics.refused(Door::Edge, failure.cause.word());
                return error::failed_call::<JsonRpc>(&failure, req_id.as_str());
            }
        };

        if let Some(CallRoute { auth, mcp }) = &self.0.calls
            && is_call(request.uri().path())
        {
            return match auth.caller(&source, request.headers(), request.uri(), peer) {
                Ok(caller) => mcp.answer(caller, req_id, request).await,
                Err(failure) => mcp.reject(req_id, failure),
            };
        }

        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(req_id.clone());
        self.route(request).await
    }
}

fn health_routes(health: Arc<HealthApi>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
}

fn metrics_route(api: Arc<MetricsApi>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(api)
}

/// Answers a request for a path that has no door.
async fn not_found() -> Response<Body> {
    error::not_found()
}

/// Returns whether a path is that of a call: something follows the prefix.
fn is_call(path: &str) -> bool {
    path.strip_prefix(path::MCP_BY_ID)
        .is_some_and(|tail| !tail.is_empty())
}
