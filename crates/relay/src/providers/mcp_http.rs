//! An MCP provider that speaks HTTP: forwards each call to its URL, as it came.
//!
//! The one rule: only the configured host and port are ever dialled. What a caller adds is path and query below the
//! configured URL, or a path that the provider itself announced; a redirect is followed only to the same place.

mod legacy_sse;
mod metadata;
mod redirect;
mod replay;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use llamapool_proxy::{BoxError, Ending, ForwardError, Passenger, Timeouts, Upstream, forward, strip_hop_by_hop};
use llamapool_tunnel::IncomingBody;
use llamapool_wire::{Cause, Failure, Secret, header as wire, path};
use std::time::Duration;
use tokio::time::Instant;
use tower_service::Service;

use self::legacy_sse::{Announced, EndpointRewriter};
use self::metadata::MetadataPlace;
use self::redirect::Route;
use self::replay::{NotReplayable, Replay};
use super::token::check_token;
use crate::answer_body::AnswerBody;
use crate::board::{HealthReport, RunningCall};
use crate::config::HttpConfig;
use crate::error::with_causes;

/// How long an idle connection to the provider is kept. Common servers close theirs after 5 s; a request that meets
/// the closing is lost, as it must not be sent twice, so this side hangs up first.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);
/// How many idle connections to the provider are kept.
const IDLE_CONNECTIONS: usize = 256;
/// How many redirects one call follows.
const MAX_REDIRECTS: usize = 3;

type Connector = HttpsConnector<HttpConnector>;
type RequestBody = UnsyncBoxBody<bytes::Bytes, BoxError>;

/// The provider.
pub(crate) struct McpHttp {
    upstream: Provider,
    extra_headers: HeaderMap,
    auth_token: Option<Secret>,
    announced: Announced,
    max_header_bytes: u32,
    metadata: MetadataPlace,
}

impl McpHttp {
    pub(crate) fn new(
        config: &HttpConfig,
        auth_token: Option<Secret>,
        max_header_bytes: u32,
        tls: rustls::ClientConfig,
        health: HealthReport,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let client = |idle_connections| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_CONNECTION)
                .pool_max_idle_per_host(idle_connections)
                .build(connector.clone())
        };
        let upstream = Provider {
            client: client(IDLE_CONNECTIONS),
            once: client(0),
            connector,
            route: Route::new(config.url.clone()),
            connect_timeout: config.connect_timeout,
            replay_bytes: config.redirect_replay_bytes,
            health,
        };
        Self {
            upstream,
            extra_headers: config.headers.clone(),
            auth_token,
            announced: Announced::default(),
            metadata: MetadataPlace::default(),
            max_header_bytes,
        }
    }

    /// Forwards one call; `below` is what the caller's path has behind the id.
    pub(crate) async fn call(
        &self,
        request: Request<IncomingBody>,
        below: &str,
        mut call: RunningCall,
    ) -> Result<Response<AnswerBody>, Failure> {
        let (mut head, body) = request.into_parts();
        let may_be_legacy_sse = head.method == Method::GET;
        let public_prefix =
            head.headers.get(wire::PUBLIC_PREFIX).and_then(|prefix| prefix.to_str().ok()).map(str::to_owned);
        let target =
            check_token(self.auth_token.as_ref(), &head.headers).and_then(|()| self.target(below, head.uri.query()));
        let asked = target.as_ref().ok().cloned().unwrap_or_default();
        let result = match target {
            Ok(target) => {
                self.prepare(&mut head.headers);
                head.uri = target;
                forward(&self.upstream, Request::from_parts(head, body), &Timeouts::default(), || None)
                    .await
                    .map_err(failure)
            }
            Err(failure) => Err(failure),
        };
        let answer = result.and_then(|answer| self.check_size(answer)).inspect_err(|_| call.failed())?;
        self.metadata.learn(&answer);
        let mut answer = Timeouts::default().carry(answer, Instant::now(), call);
        strip_hop_by_hop(answer.headers_mut(), is_end_to_end);
        remove_own(answer.headers_mut());
        match public_prefix {
            Some(prefix) if may_be_legacy_sse && is_plain_event_stream(&answer) => Ok(answer.map(|body| {
                let body = body.map_err(Into::into).boxed_unsync();
                EndpointRewriter::new(body, asked, prefix, self.announced.clone()).boxed_unsync()
            })),
            _ => Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
        }
    }

    /// The provider's metadata as an OAuth protected resource, from the first place that has them; 404 if none has.
    pub(crate) async fn resource_metadata(&self, mut call: RunningCall) -> Result<Response<AnswerBody>, Failure> {
        // Where llamapool checks the token, the provider's authorization servers are not the caller's concern.
        let places = if self.auth_token.is_some() { Vec::new() } else { self.metadata.places(&self.upstream.route) };
        for place in places {
            let mut request = Request::new(http_body_util::Empty::<bytes::Bytes>::new());
            *request.uri_mut() = place;
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            let answer = forward(&self.upstream, request, &Timeouts::default(), || None).await.map_err(failure);
            let answer = answer.inspect_err(|_| call.failed())?;
            if answer.status() == StatusCode::OK {
                let mut answer = Timeouts::default().carry(answer, Instant::now(), call);
                strip_hop_by_hop(answer.headers_mut(), is_end_to_end);
                remove_own(answer.headers_mut());
                return Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()));
            }
        }
        // That there is none is an answer too.
        call.ended(Ending::Complete);
        let none = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut answer = Response::new(none);
        *answer.status_mut() = StatusCode::NOT_FOUND;
        Ok(answer)
    }

    /// The URL of a call: below the configured one, or a path that the provider itself announced.
    fn target(&self, below: &str, query: Option<&str>) -> Result<Uri, Failure> {
        if !below.starts_with(path::ANNOUNCED) {
            return Ok(self.upstream.route.target(below, query));
        }
        let announced = self.announced.path_of(below).map(|path| self.upstream.route.at_root(&path, query));
        announced.ok_or_else(|| {
            Failure::new(Cause::PathRefused, "the provider has announced no such endpoint; its stream may have ended")
        })
    }

    /// An answer whose head does not fit through the tunnel is named here, where it is known whose it is.
    fn check_size(&self, answer: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
        let bytes: usize = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        // Room for the status, and for what this side adds.
        if bytes + 256 <= self.max_header_bytes as usize {
            return Ok(answer);
        }
        let limit = self.max_header_bytes;
        let message = format!(
            "the provider's answer has headers of {bytes} bytes, more than the {limit} that TUNNEL_MAX_HEADER_BYTES allows"
        );
        Err(Failure::new(Cause::ProviderGarbage, message))
    }

    /// Looks whether the provider takes a connection.
    pub(crate) async fn probe(&self) {
        let Provider { connector, route, connect_timeout, health, .. } = &self.upstream;
        let mut connector = connector.clone();
        match tokio::time::timeout(*connect_timeout, connector.call(route.base().clone())).await {
            Ok(Ok(_)) => health.reachable(),
            Ok(Err(error)) => health.unreachable(with_causes(&*error)),
            Err(_) => health.unreachable(format!("no connection within {connect_timeout:?}")),
        }
    }

    /// What the provider is not to see is taken away, what only it may see is added.
    fn prepare(&self, headers: &mut HeaderMap) {
        strip_hop_by_hop(headers, is_end_to_end);
        remove_own(headers);
        headers.remove(header::HOST);
        // The edge has checked it; a provider that checks too would compare it with its own address.
        headers.remove(header::ORIGIN);
        if self.auth_token.is_some() {
            headers.remove(header::AUTHORIZATION);
        }
        for name in self.extra_headers.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.extra_headers {
            headers.append(name, value.clone());
        }
    }
}

/// The connections to the provider, as the next hop.
struct Provider {
    client: Client<Connector, RequestBody>,
    /// Makes a connection for each request. A provider that redirects often has not read the request, and hangs up
    /// without a word: a request that met this on a kept connection would be lost.
    once: Client<Connector, RequestBody>,
    connector: Connector,
    route: Route,
    connect_timeout: Duration,
    replay_bytes: usize,
    health: HealthReport,
}

/// Why the provider did not answer.
#[derive(Debug, thiserror::Error)]
enum ProviderError {
    #[error("the provider did not answer: {}", with_causes(.0))]
    Client(#[from] ClientError),
    #[error("a redirect cannot be followed: {0}")]
    Redirect(String),
}

impl Upstream for Provider {
    type Body = Incoming;
    type Error = ProviderError;

    async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, ProviderError>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let asked = head.uri.clone();
        let mut uri = self.route.shortcut(&asked);
        let body = body.map_err(Into::into).boxed_unsync();
        let may_redirect = self.route.is_unknown();
        let replay = Replay::new(body, self.replay_bytes, may_redirect);
        for redirects in 0..=MAX_REDIRECTS {
            let body = replay.body().map_err(|NotReplayable| {
                let bytes = self.replay_bytes;
                ProviderError::Redirect(format!("the request has more than {bytes} bytes, see REDIRECT_REPLAY_BYTES"))
            })?;
            let mut attempt = Request::new(body);
            *attempt.method_mut() = head.method.clone();
            *attempt.headers_mut() = head.headers.clone();
            *attempt.uri_mut() = uri.clone();
            let client = if may_redirect || redirects > 0 { &self.once } else { &self.client };
            let answer = client.request(attempt).await;
            self.report(&answer);
            let answer = answer?;
            replay.verdict();
            match self.route.redirect(&asked, &uri, &answer) {
                Some(next) => uri = next,
                None => return Ok(answer),
            }
        }
        self.route.forget();
        Err(ProviderError::Redirect(format!("more than {MAX_REDIRECTS} in a row")))
    }
}

impl Provider {
    /// A call finds out sooner than the probe whether the provider can be reached.
    fn report(&self, answer: &Result<Response<Incoming>, ClientError>) {
        match answer {
            Ok(_) => self.health.reachable(),
            Err(error) if error.is_connect() => {
                self.route.forget();
                self.health.unreachable(with_causes(error));
            }
            Err(_) => {}
        }
    }
}

fn failure(error: ForwardError<ProviderError>) -> Failure {
    let for_the_log = with_causes(&error);
    as_the_caller_may_know(error).because(for_the_log)
}

fn as_the_caller_may_know(error: ForwardError<ProviderError>) -> Failure {
    let ForwardError::Upstream(error) = error else {
        return Failure::new(Cause::FirstByteTimeout, "the provider did not answer in time");
    };
    let ProviderError::Client(client) = &error else {
        return Failure::new(Cause::ProviderRedirect, error.to_string());
    };
    let hyper = std::error::Error::source(client).and_then(|source| source.downcast_ref::<hyper::Error>());
    if client.is_connect() {
        Failure::new(Cause::ProviderUnreachable, "the relay cannot connect to its provider")
    } else if hyper.is_some_and(|error| error.is_parse() || error.is_parse_status()) {
        Failure::new(Cause::ProviderGarbage, "the provider's answer is not HTTP, or its head is far too large")
    } else {
        Failure::new(Cause::ProviderClosed, "the provider closed the connection before it answered")
    }
}

/// Whether an answer is an event stream that can be read as it is.
fn is_plain_event_stream<B>(answer: &Response<B>) -> bool {
    let media_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_stream =
        media_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"));
    is_stream && answer.status() == StatusCode::OK && !answer.headers().contains_key(header::CONTENT_ENCODING)
}

/// Takes away what only llamapool itself may say.
fn remove_own(headers: &mut HeaderMap) {
    let own: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(wire::PREFIX)).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

/// What came through the tunnel has no header of this hop, and what a provider names in `Connection` is its own affair
/// but for the session.
fn is_end_to_end(name: &HeaderName) -> bool {
    name.as_str().starts_with("mcp-")
}
