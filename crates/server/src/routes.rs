//! The table of routes: which door is where.
//!
//! Calls are what the server is for, and their doors are recognized by their paths: they do not go
//! through the router.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response, StatusCode, Uri, header};
use axum::routing::{any, get};
use bytes::Bytes;
use llamapool_dialect::is_llm_path;
use llamapool_head::RequestHead;
use llamapool_http::listen::{Answer, Handler, Overload, ReceivedBody};
use llamapool_http::{Alarm, ListenerStreams, discard, is_of_the_connection, sse};
use llamapool_mcp::is_listening;
use llamapool_wire::{CallError, Cause, header as wire, path};
use tokio::runtime;
use tower_service::Service;

use crate::auth::{Auth, FactsMemo, HostAndOrigin};
use crate::calls::{CallAnswer, CallRequest, RequestBody, into_response};
use crate::doors::admin_api::{self, AdminDoor};
use crate::doors::connect::{ConnectDoor, connect};
use crate::doors::health::{HealthApi, healthz, readyz};
use crate::doors::llm::LlmDoor;
use crate::doors::mcp::{McpDoor, TargetMemo};
use crate::doors::metrics::{MetricsApi, metrics};
use crate::doors::oauth::{self, OAuthDoor};
use crate::doors::state::{StateApi, state, state_stream};
use crate::doors::well_known::{WellKnownDoor, well_known};
use crate::error::{self, JsonRpc};
use crate::listen::{Peer, RequestId};
use crate::metrics::{Door, Metrics};
use crate::page;
use crate::tls::StrictTransport;

/// The paths that are answered also where all places of callers are taken: by them the server is
/// watched, and gets its relays back.
const ESSENTIAL_PATHS: [&str; 5] = [
    path::MCP_CONNECT,
    path::WORKER_CONNECT,
    "/healthz",
    "/readyz",
    "/metrics",
];

/// The beginning of the paths that are answered then as well: an operator must be able to revoke a key
/// that takes all places.
const ADMIN_PATHS: &str = "/api/admin/";

/// The doors of the public listener.
pub(crate) struct PublicDoors {
    pub(crate) mcp: Arc<McpDoor>,
    pub(crate) llm: Arc<LlmDoor>,
    pub(crate) well_known: Arc<WellKnownDoor>,
    /// The own authorization server, if sign-in is on.
    pub(crate) oauth: Option<Arc<OAuthDoor>>,
    pub(crate) connect: Arc<ConnectDoor>,
    pub(crate) state: Arc<StateApi>,
    pub(crate) health: Arc<HealthApi>,
    /// The streams of callers that only listen.
    pub(crate) listeners: ListenerStreams,
    /// `None` if the administration API has a listener of its own.
    pub(crate) admin: Option<Arc<AdminDoor>>,
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
    /// The streams of callers that only listen.
    listeners: ListenerStreams,
    /// Whether browsers are to use https from now on; `None`: never.
    pins: Option<StrictTransport>,
}

/// The route of calls: `auth` makes their callers, the door answers them.
struct CallRoute {
    auth: Arc<Auth>,
    mcp: Arc<McpDoor>,
    llm: Arc<LlmDoor>,
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
            .route(path::WORKER_CONNECT, any(connect))
            .with_state(doors.connect);
        let documents = Router::new()
            .route("/.well-known/{*name}", any(well_known))
            .with_state(doors.well_known);
        let router = Router::new()
            .route("/", get(page::front))
            .merge(state_api)
            .merge(relays)
            .merge(documents)
            .merge(health_routes(doors.health))
            .merge(doors.oauth.map(oauth::routes).unwrap_or_default())
            .merge(doors.admin.map(admin_api::routes).unwrap_or_default());
        let router = match doors.metrics {
            Some(api) => router.merge(metrics_route(api)),
            None => router,
        };

        let calls = CallRoute {
            auth,
            mcp: doors.mcp,
            llm: doors.llm,
        };
        Self::new(Some(calls), router, counters, doors.listeners)
    }

    /// Returns the routes of the listener of the metrics.
    pub(crate) fn metrics(api: Arc<MetricsApi>, health: Arc<HealthApi>, counters: Metrics) -> Self {
        let router = Router::new()
            .merge(metrics_route(api))
            .merge(health_routes(health));
        Self::new(None, router, counters, ListenerStreams::new())
    }

    /// Returns the routes of the listener of the administration API.
    pub(crate) fn admin(door: Arc<AdminDoor>, health: Arc<HealthApi>, counters: Metrics) -> Self {
        let router = Router::new()
            .merge(admin_api::routes(door))
            .merge(health_routes(health));
        Self::new(None, router, counters, ListenerStreams::new())
    }

    fn new(
        calls: Option<CallRoute>,
        router: Router,
        metrics: Metrics,
        listeners: ListenerStreams,
    ) -> Self {
        let table = RouteTable {
            calls,
            router: router.fallback(not_found),
            metrics,
            listeners,
            pins: None,
        };
        Self(Arc::new(table))
    }

    /// Has the server's own answers keep browsers at https.
    pub(crate) fn pinned(mut self, pins: Option<StrictTransport>) -> Self {
        if let Some(table) = Arc::get_mut(&mut self.0) {
            table.pins = pins;
        }
        self
    }

    /// Answers a request that is no call.
    async fn route(&self, request: Request) -> Response<Body> {
        // Boxed, as calls would carry its size along.
        let routed = Box::pin(self.0.router.clone().call(request));
        let mut answer = routed.await.unwrap_or_else(|never| match never {});
        if let Some(header) = self.0.pins.as_ref().and_then(StrictTransport::header) {
            answer
                .headers_mut()
                .insert(header::STRICT_TRANSPORT_SECURITY, header);
        }
        answer
    }
}

/// What is remembered of the last call on a connection.
#[derive(Default)]
pub(crate) struct CallMemo {
    facts: FactsMemo,
    target: TargetMemo,
    /// The timer of its calls.
    alarm: Alarm,
}

impl Handler for Routes {
    type Body = Body;
    type Connection = CallMemo;

    async fn answer(
        &self,
        peer: SocketAddr,
        request: axum::http::Request<ReceivedBody>,
    ) -> Response<Body> {
        let req_id = RequestId::of(request.headers());
        let request = request.map(Body::new);
        let mut answer = self.respond(Peer(peer), &req_id, request).await;
        answer
            .headers_mut()
            .entry(wire::REQUEST_ID)
            .or_insert(req_id.to_value());
        answer
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would have its arguments twice"
    )]
    fn answer_plain(
        &self,
        peer: SocketAddr,
        memo: &mut CallMemo,
        head: RequestHead,
        body: Bytes,
    ) -> impl Future<Output = Answer<Body>> + Send {
        async move {
            let route = self.0.calls.as_ref();
            let Some(route) = route.filter(|_| is_call(head.uri.path())) else {
                // Boxed, as calls to MCP providers would carry its size along.
                return Box::pin(self.answer_other(peer, head, body)).await;
            };

            let req_id = RequestId::of(&head.fields);
            let CallMemo {
                facts,
                target,
                alarm,
            } = memo;
            let request = CallRequest {
                head: Box::new(head),
                body: RequestBody::Whole(body),
                alarm,
            };
            let call = self.call(route, (facts, target), Peer(peer), (&req_id, request));
            let mut answer = call.await;
            let fields = &mut answer.head.fields;
            if !fields.contains_key(&wire::REQUEST_ID) {
                // Both kinds of ids are visible ASCII.
                let _ = fields.append_bytes(&wire::REQUEST_ID, req_id.as_str().as_bytes());
            }
            answer
        }
    }

    fn home(&self, memo: &CallMemo) -> Option<runtime::Id> {
        self.0.calls.as_ref()?.mcp.home(&memo.target)
    }

    fn is_essential(&self, uri: &Uri) -> bool {
        ESSENTIAL_PATHS.contains(&uri.path()) || uri.path().starts_with(ADMIN_PATHS)
    }

    fn refuse(
        &self,
        request: &axum::http::Request<ReceivedBody>,
        overload: Overload,
    ) -> Response<Body> {
        let message = match overload {
            Overload::All => {
                "as many connections are open as MAX_CONNECTIONS allows, and none is idle"
            }
            Overload::Network => {
                "the connections from this address have used up its share of MAX_CONNECTIONS, and none is idle"
            }
        };
        let failure = CallError::new(Cause::TooManyConnections, message);
        self.0.metrics.refused(Door::Edge, failure.cause.word());
        let req_id = RequestId::of(request.headers());
        error::failed_call::<JsonRpc>(&failure, req_id.as_str())
    }
}

impl Routes {
    async fn respond(
        &self,
        peer: Peer,
        req_id: &RequestId,
        mut request: Request,
    ) -> Response<Body> {
        if let Some(route) = &self.0.calls
            && is_call(request.uri().path())
        {
            let CallMemo {
                mut facts,
                mut target,
                mut alarm,
            } = CallMemo::default();
            let request = CallRequest::new(request, &mut alarm);
            let memo = (&mut facts, &mut target);
            let call = self.call(route, memo, peer, (req_id, request));
            return into_response(call.await);
        }

        let source = HostAndOrigin::read(request.headers());
        let source = source.and_then(|source| self.check_method(request.method()).map(|()| source));
        let source = match source {
            Ok(source) => source,
            Err(failure) => {
                let answer = self.refused_at_edge(&failure, req_id);
                discard(request).await;
                return answer;
            }
        };

        if let Some(CallRoute { auth, llm, .. }) = &self.0.calls
            && is_llm_path(request.uri().path())
            && !is_front(&request)
        {
            // Boxed, as calls to MCP providers would carry its size along.
            let origin = auth.llm_origin(&source, request.uri());
            return Box::pin(llm.answer(origin, peer, req_id, request)).await;
        }

        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(req_id.clone());
        self.route(request).await
    }
}

impl Routes {
    /// Answers a call to an MCP provider.
    async fn call(
        &self,
        route: &CallRoute,
        (facts, targets): (&mut FactsMemo, &mut TargetMemo),
        peer: Peer,
        (req_id, request): (&RequestId, CallRequest<'_>),
    ) -> CallAnswer {
        let CallRoute { auth, mcp, .. } = route;
        let head = &request.head;
        let source = HostAndOrigin::read(&head.fields);
        let source = source.and_then(|source| self.check_method(&head.method).map(|()| source));
        let source = match source {
            Ok(source) => source,
            Err(failure) => {
                let answer = self.refused_at_edge(&failure, req_id);
                request.discard().await;
                return answer.into();
            }
        };

        let wants_page = page::is_wanted(&head.method, &head.fields);
        let as_shown = |answer: CallAnswer| {
            if wants_page {
                page::instead_of_error(into_response(answer), req_id.as_str()).into()
            } else {
                answer
            }
        };
        let caller = match auth.caller(facts, &source, &head.uri, peer) {
            Ok(caller) => caller,
            Err(failure) => {
                let answer = mcp.reject(req_id, failure);
                request.discard().await;
                return as_shown(answer);
            }
        };

        let only_listens = is_listening(&head.method, &head.fields);
        let answer = mcp.answer(targets, caller, req_id, request).await;
        if only_listens && sse::is_event_stream(&answer.head.fields) {
            let answer = into_response(answer);
            let listening = answer.map(|body| Body::new(self.0.listeners.add(body)));
            return listening.into();
        }
        as_shown(answer)
    }

    /// Answers another plain request, as any other.
    async fn answer_other(&self, peer: SocketAddr, head: RequestHead, body: Bytes) -> Answer<Body> {
        match head.into_http(ReceivedBody::whole(body)) {
            Some(request) => self.answer(peer, request).await.into(),
            // Never: a plain head has few fields.
            None => Answer::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        }
    }

    fn check_method(&self, method: &Method) -> Result<(), CallError> {
        if !is_of_the_connection(method) {
            return Ok(());
        }
        let message = format!("the method {method} is refused");
        Err(CallError::new(Cause::MethodRefused, message))
    }

    fn refused_at_edge(&self, failure: &CallError, req_id: &RequestId) -> Response<Body> {
        self.0.metrics.refused(Door::Edge, failure.cause.word());
        error::failed_call::<JsonRpc>(failure, req_id.as_str())
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

/// Returns whether a browser opens the root, where clients of Ollama's API look whether a server is there.
fn is_front(request: &Request) -> bool {
    request.uri().path() == "/" && page::is_wanted(request.method(), request.headers())
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
