//! Answers one HTTP request to the listener: checks it, and passes it on to the bridge.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use llamapool_http::host::AllowedHosts;
use llamapool_http::{
    BodyEnd, BodyObserver, BoxError, ForwardTimeouts, ListenerStreams, json_response, sse,
};
use llamapool_mcp::header::LAST_EVENT_ID;
use llamapool_mcp::is_listening;
use llamapool_wire::{CallError, Cause, Secret, header as wire};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::HttpServerConfig;
use crate::bridge::{Bridge, not_found};
use crate::caller::BridgeCaller;

/// The path of the MCP endpoint, with or without a slash at its end.
const MCP_PATHS: [&str; 2] = ["/mcp", "/mcp/"];
/// The path for health checks.
pub(super) const HEALTH_PATH: &str = "/healthz";
/// The longest id of a request that is accepted from a caller, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// The most characters of a refused value that an error message quotes.
const QUOTED_CHARS: usize = 128;

/// The body of every response.
pub(super) type EndpointBody = UnsyncBoxBody<Bytes, BoxError>;

/// The endpoints of the listener.
pub(super) struct Endpoint {
    bridge: Bridge,
    hosts: AllowedHosts,
    auth_token: Option<Secret>,
    /// Counts the calls whose response is not complete.
    calls: TaskTracker,
    /// Those of them on which a client only listens.
    listeners: ListenerStreams,
    is_closed: AtomicBool,
}

/// Counts a call until its response has ended.
struct RunningCall {
    _token: TaskTrackerToken,
}

impl BodyObserver for RunningCall {
    fn on_data(&mut self, _: usize) {}

    fn on_end(&mut self, _: BodyEnd) {}
}

impl Endpoint {
    pub(super) fn new(config: &HttpServerConfig, bridge: Bridge) -> Self {
        Self {
            bridge,
            hosts: AllowedHosts::new(&config.allowed_hosts, config.bind.ip()),
            auth_token: config.auth_token.clone(),
            calls: TaskTracker::new(),
            listeners: ListenerStreams::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(super) fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Refuses new calls from now on.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.calls.close();
    }

    /// Returns how many calls are running.
    pub(super) fn running_calls(&self) -> usize {
        self.calls.len()
    }

    /// Waits until no call is running, and ends the event streams on which clients only listen once
    /// they are idle. Call it after [`Self::close`].
    pub(super) async fn calls_finished(&self) {
        let ending_listeners = async {
            self.listeners.end_when_idle(|| self.running_calls()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // In any order: only the calls have an end.
            () = self.calls.wait() => {}
            () = ending_listeners => {}
        }
    }

    /// Answers a request that is refused before it is read.
    pub(super) fn refuse<B>(
        &self,
        request: &Request<B>,
        cause: Cause,
        message: &str,
    ) -> Response<EndpointBody> {
        let req_id = request_id(request.headers());
        failure_response(&CallError::new(cause, message), &req_id)
    }

    /// Answers one request, which came from this address.
    pub(super) async fn respond<B>(
        &self,
        mut request: Request<B>,
        peer: IpAddr,
    ) -> Response<EndpointBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let req_id = request_id(request.headers());
        if let Ok(value) = HeaderValue::from_str(&req_id) {
            request.headers_mut().insert(wire::REQUEST_ID, value);
        }

        let mut response = match self.route(request, peer).await {
            Ok(response) => response,
            Err(failure) => {
                log_failure(&failure, &req_id);
                failure_response(&failure, &req_id)
            }
        };
        if let Ok(value) = HeaderValue::from_str(&req_id) {
            response.headers_mut().insert(wire::REQUEST_ID, value);
        }
        response
    }

    async fn route<B>(
        &self,
        request: Request<B>,
        peer: IpAddr,
    ) -> Result<Response<EndpointBody>, CallError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        self.check_host(&request)?;
        self.check_origin(request.headers())?;

        let path = request.uri().path();
        if path == HEALTH_PATH && request.method() == Method::GET {
            return Ok(json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned()));
        }
        if !MCP_PATHS.contains(&path) {
            let response = not_found("Not Found: MCP is at /mcp");
            return Ok(response.map(|body| body.boxed_unsync()));
        }
        self.check_token(request.headers())?;
        self.call(request, peer).await
    }

    async fn call<B>(
        &self,
        request: Request<B>,
        peer: IpAddr,
    ) -> Result<Response<EndpointBody>, CallError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        // Counted before `is_closed` is read, so that a drain that begins now waits for this call.
        // A stream that is resumed is not counted: its call was, until its first caller left.
        let is_resumed =
            request.method() == Method::GET && request.headers().contains_key(LAST_EVENT_ID);
        let call = (!is_resumed).then(|| RunningCall {
            _token: self.calls.token(),
        });
        if self.is_closed.load(Ordering::SeqCst) {
            let message = "the bridge is stopping and takes no new calls";
            return Err(CallError::new(Cause::ServerDraining, message));
        }

        let caller = BridgeCaller::of_request(peer, request.headers());
        let only_listens = is_listening(request.method(), request.headers());
        let response = self.bridge.serve(request, caller).await?;
        let Some(call) = call else {
            return Ok(response.map(|body| body.boxed_unsync()));
        };
        let response = ForwardTimeouts::default().carry(response, Instant::now(), call);
        if only_listens && sse::is_event_stream(response.headers()) {
            return Ok(response.map(|body| self.listeners.add(body).boxed_unsync()));
        }
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    /// Checks the host that a request is addressed to.
    fn check_host<B>(&self, request: &Request<B>) -> Result<(), CallError> {
        let refused = |wrong: &str| {
            let message =
                format!("{wrong} is refused, expected a name of this machine or of ALLOWED_HOSTS");
            CallError::new(Cause::HostRefused, message)
        };
        let sent = single(request.headers(), &header::HOST).map_err(|wrong| refused(&wrong))?;
        let authority = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => sent.unwrap_or_default(),
        };

        let is_rebound = self.hosts.may_be_rebound(authority, request.headers());
        if self.hosts.allows(authority) && !is_rebound {
            Ok(())
        } else {
            Err(refused(&format!("the Host {}", quoted(authority))))
        }
    }

    /// Checks the page that a request comes from. Programs send no `Origin`.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), CallError> {
        let refused = |wrong: &str| {
            let message = format!("{wrong} is refused, expected none or a page of this machine");
            CallError::new(Cause::OriginRefused, message)
        };
        let sent = single(headers, &header::ORIGIN).map_err(|wrong| refused(&wrong))?;
        let Some(origin) = sent else {
            return Ok(());
        };

        if self.hosts.allows_own_page(&origin.to_ascii_lowercase()) {
            Ok(())
        } else {
            Err(refused(&format!("the Origin {}", quoted(origin))))
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), CallError> {
        match &self.auth_token {
            Some(token) if !token.is_presented_in(headers) => Err(CallError::new(
                Cause::WrongToken,
                "the token is missing or wrong, expected Authorization: Bearer <AUTH_TOKEN>",
            )),
            _ => Ok(()),
        }
    }
}

/// Returns the only value of a header. `Err` names several values, or one that is no
/// text: two readers of several values may read different ones.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(format!("more than one {name} header"));
    }
    value
        .to_str()
        .map(Some)
        .map_err(|_| format!("a {name} header that is not ASCII text"))
}

/// Returns the beginning of a value from outside, for an error message.
fn quoted(value: &str) -> String {
    format!("{:?}", value.chars().take(QUOTED_CHARS).collect::<String>())
}

/// Returns the caller's id of a request, a random one if there is none that fits.
fn request_id(headers: &HeaderMap) -> String {
    let sent = headers
        .get(wire::REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES);
    match sent {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", rand::random::<u64>()),
    }
}

/// Logs a failure. Failures that a caller can cause at will must not fill the log.
fn log_failure(failure: &CallError, req_id: &str) {
    let cause = failure.cause.word();
    let error = failure.log_message();
    if failure.cause.is_client_error() {
        tracing::debug!(req_id, cause, error, "call failed");
    } else {
        tracing::warn!(req_id, cause, error, "call failed");
    }
}

/// Returns the response to a call that failed.
fn failure_response(failure: &CallError, req_id: &str) -> Response<EndpointBody> {
    let mut response = json(failure.cause.status(), failure.to_json(None, req_id));
    let headers = response.headers_mut();
    headers.insert(wire::ERROR, HeaderValue::from_static(failure.cause.word()));
    if let Some(seconds) = failure.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if failure.cause == Cause::WrongToken {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn json(status: StatusCode, text: String) -> Response<EndpointBody> {
    let body = Full::from(text).map_err(|never| match never {});
    json_response(status, body.boxed_unsync())
}
