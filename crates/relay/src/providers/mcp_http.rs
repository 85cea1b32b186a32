//! An MCP provider that speaks HTTP: forwards each call to its URL, as it came.
//!
//! The one rule: only the configured host and port are ever dialled. What a caller adds is path and query below the
//! configured URL, or a path that the provider itself announced; a redirect is followed only to the same place.

mod announced;
mod authorization_server;
mod connections;
mod documents;
mod legacy_sse;
mod line;
mod location;
mod metadata;
mod own_url;
mod redirect;
mod replay;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Request, Response, StatusCode, Uri, request};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use llamapool_http::{
    BoxError, ForwardError, ForwardTimeouts, Upstream, forward, sse, strip_hop_by_hop,
};
use llamapool_mcp::header as mcp;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::path::{self, OAuthDocument};
use llamapool_wire::{CallError, Cause, Secret, header as wire};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::announced::{Announced, How};
use self::authorization_server::AuthorizationServer;
use self::connections::{Connections, On, ProviderBody, SendError};
use self::legacy_sse::EndpointRewriter;
use self::location::Asked;
use self::metadata::MetadataPlace;
use self::own_url::PublicPlace;
use self::redirect::Route;
use self::replay::{NotReplayable, Replay};
use super::token::check_token;
use crate::answer_body::AnswerBody;
use crate::board::{HealthReport, RunningCall};
use crate::config::HttpConfig;
use crate::error::error_chain;

/// How many redirects one call follows.
const MAX_REDIRECTS: usize = 3;

type Connector = HttpsConnector<HttpConnector>;
/// A connection, over TLS or not.
type Io = MaybeHttpsStream<TokioIo<TcpStream>>;
type RequestBody = UnsyncBoxBody<bytes::Bytes, BoxError>;

/// The provider.
pub(crate) struct McpHttp {
    upstream: Provider,
    extra_headers: HeaderMap,
    auth_token: Option<Secret>,
    announced: Announced,
    max_header_bytes: u32,
    metadata: MetadataPlace,
    authorization_server: AuthorizationServer,
    probe_interval: Duration,
}

/// Where a call goes.
struct Target {
    url: Uri,
    redirects: Redirects,
}

/// What becomes of redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redirects {
    /// The relay follows those within the provider.
    Followed,
    /// They are the caller's to follow.
    HandedOn,
}

/// The URL that was answered, where it is not the configured one. It rides in the answer's extensions.
#[derive(Debug, Clone)]
struct Answered(Uri);

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
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let upstream = Provider {
            connections: Connections::new(connector, &config.url),
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
            authorization_server: AuthorizationServer::new(config.publishes_oauth),
            probe_interval: config.probe_interval,
            max_header_bytes,
        }
    }

    /// Forwards one call; `below` is what the caller's path has behind the id.
    pub(crate) async fn call(
        &self,
        request: Request<IncomingBody>,
        below: &str,
        mut call: RunningCall,
    ) -> Result<Response<AnswerBody>, CallError> {
        if below == path::OPENID_BELOW
            && request.method() == Method::GET
            && self.authorization_server.is_public()
        {
            return self
                .document(OAuthDocument::OpenId, request.headers(), call)
                .await;
        }
        let (mut head, body) = request.into_parts();
        let may_be_legacy_sse = head.method == Method::GET;
        let public = PublicPlace::of(&head.headers);
        let target = match check_token(self.auth_token.as_ref(), &head.headers) {
            Ok(()) => self.target(below, head.uri.query(), public.as_ref()).await,
            Err(failure) => Err(failure),
        };
        let result = match target {
            Ok(target) => {
                self.prepare(&mut head.headers);
                head.uri = target.url;
                self.forward(
                    target.redirects,
                    public.as_ref(),
                    Request::from_parts(head, body),
                )
                .await
            }
            Err(failure) => Err(failure),
        };
        let answer = result
            .and_then(|answer| self.check_size(answer))
            .inspect_err(|_| call.failed())?;
        self.metadata.learn(&answer);
        let answered = answer
            .extensions()
            .get()
            .cloned()
            .unwrap_or_else(|| Answered(self.upstream.route.base().clone()));
        let mut answer = ForwardTimeouts::default().carry(answer, Instant::now(), call);
        strip_hop_by_hop(answer.headers_mut(), is_end_to_end);
        remove_own(answer.headers_mut());
        if let Some(public) = &public {
            self.make_location_public(answer.headers_mut(), &answered, public);
        }
        match public {
            Some(public) if may_be_legacy_sse && is_plain_event_stream(&answer) => {
                // What is public may be longer.
                answer.headers_mut().remove(header::CONTENT_LENGTH);
                Ok(answer.map(|body| {
                    let body = body.map_err(Into::into).boxed_unsync();
                    EndpointRewriter::new(body, answered.0, public, self.announced.clone())
                        .boxed_unsync()
                }))
            }
            _ => Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
        }
    }

    async fn forward(
        &self,
        redirects: Redirects,
        public: Option<&PublicPlace>,
        request: Request<IncomingBody>,
    ) -> Result<Response<ProviderBody>, CallError> {
        let timeouts = ForwardTimeouts::default();
        let answer = match redirects {
            Redirects::Followed => {
                forward(
                    &Following {
                        provider: &self.upstream,
                        public,
                    },
                    request,
                    &timeouts,
                    || None,
                )
                .await
            }
            Redirects::HandedOn => {
                forward(&AsAsked(&self.upstream), request, &timeouts, || None).await
            }
        };
        answer.map_err(failure)
    }

    /// Where an answer leads, as its caller must read it.
    fn make_location_public(
        &self,
        headers: &mut HeaderMap,
        answered: &Answered,
        public: &PublicPlace,
    ) {
        if headers.contains_key(header::LOCATION) {
            let asked = Asked {
                base: self.upstream.route.base(),
                answered: &answered.0,
                public,
            };
            location::make_public(headers, &asked, &self.announced);
            self.authorization_server
                .make_redirect_public(headers, public, &self.announced);
        }
    }

    /// The URL of a call: below the configured one, or a path that the provider itself announced.
    async fn target(
        &self,
        below: &str,
        query: Option<&str>,
        public: Option<&PublicPlace>,
    ) -> Result<Target, CallError> {
        let route = &self.upstream.route;
        if !below.starts_with(path::ANNOUNCED) {
            return Ok(Target {
                url: route.target(below, query),
                redirects: Redirects::Followed,
            });
        }
        let announced = match self.announced_path(below) {
            None if self.authorization_server.wants_a_look() => {
                if let Some(public) = public {
                    self.look_at_authorization_server(public).await;
                }
                self.announced_path(below)
            }
            known => known,
        };
        let announced = announced.map(|(path, redirects)| Target {
            url: route.at_root(&path, query),
            redirects,
        });
        announced.ok_or_else(|| {
            CallError::new(
                Cause::PathRefused,
                "the provider has announced no such path; its stream may have ended",
            )
        })
    }

    /// The path on the provider that a caller's path stands for, if it is announced. What a browser may show is a page,
    /// whose address counts: its redirects are the caller's to follow.
    fn announced_path(&self, below: &str) -> Option<(String, Redirects)> {
        if let Some(path) = self.authorization_server.path_of(below) {
            return Some((path, Redirects::HandedOn));
        }
        let (path, how) = self.announced.path_of(below)?;
        let redirects = match how {
            How::Endpoint => Redirects::Followed,
            How::LedTo => Redirects::HandedOn,
        };
        Some((path, redirects))
    }

    /// An answer whose head does not fit through the tunnel is named here, where it is known whose it is.
    fn check_size(
        &self,
        answer: Response<ProviderBody>,
    ) -> Result<Response<ProviderBody>, CallError> {
        let bytes: usize = answer
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        // Room for the status, and for what this side adds.
        if bytes + 256 <= self.max_header_bytes as usize {
            return Ok(answer);
        }
        let limit = self.max_header_bytes;
        let message = format!(
            "the provider's answer has headers of {bytes} bytes, more than the {limit} that TUNNEL_MAX_HEADER_BYTES allows"
        );
        Err(CallError::new(Cause::ProviderGarbage, message))
    }

    /// How often it is looked whether the provider can be reached.
    pub(crate) fn probe_interval(&self) -> Duration {
        self.probe_interval
    }

    /// Looks after the connections that are kept, for as long as the relay lives.
    pub(crate) async fn tidy(&self) {
        self.upstream.connections.tidy().await;
    }

    /// Looks whether the provider takes a connection.
    pub(crate) async fn probe(&self) {
        let Provider {
            connections,
            route,
            connect_timeout,
            health,
            ..
        } = &self.upstream;
        match tokio::time::timeout(*connect_timeout, connections.connect(route.base())).await {
            Ok(Ok(_)) => health.reachable(),
            Ok(Err(error)) => health.unreachable(error_chain(&*error)),
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
    connections: Connections,
    route: Route,
    connect_timeout: Duration,
    replay_bytes: usize,
    health: HealthReport,
}

/// Why the provider did not answer.
#[derive(Debug, thiserror::Error)]
enum ProviderError {
    #[error("the provider did not answer: {}", error_chain(.0))]
    Send(#[from] SendError),
    #[error("a redirect cannot be followed: {0}")]
    Redirect(String),
}

/// The provider, wherever it leads within itself, as the caller knows it.
struct Following<'a> {
    provider: &'a Provider,
    public: Option<&'a PublicPlace>,
}

impl Upstream for Following<'_> {
    type Body = ProviderBody;
    type Error = ProviderError;

    async fn send<B>(&self, request: Request<B>) -> Result<Response<ProviderBody>, ProviderError>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let Self { provider, public } = *self;
        let asked = head.uri.clone();
        let mut uri = provider.route.shortcut(&asked);
        let body = body.map_err(Into::into).boxed_unsync();
        let may_redirect = provider.route.is_unknown();
        let replay = Replay::new(body, provider.replay_bytes, may_redirect);
        for redirects in 0..=MAX_REDIRECTS {
            let body = replay.body().map_err(|NotReplayable| {
                let bytes = provider.replay_bytes;
                ProviderError::Redirect(format!(
                    "the request has more than {bytes} bytes, see REDIRECT_REPLAY_BYTES"
                ))
            })?;
            let on = if may_redirect || redirects > 0 {
                On::ItsOwn
            } else {
                On::Kept
            };
            let answer = provider
                .ask(on, anew(&head, uri.clone(), body), || replay.is_through())
                .await?;
            replay.verdict();
            match provider.route.redirect(&asked, &uri, &answer, public) {
                Some(next) => uri = next,
                None => return Ok(answer),
            }
        }
        provider.route.forget();
        Err(ProviderError::Redirect(format!(
            "more than {MAX_REDIRECTS} in a row"
        )))
    }
}

/// The same for what is asked once, whatever the answer.
struct AsAsked<'a>(&'a Provider);

impl Upstream for AsAsked<'_> {
    type Body = ProviderBody;
    type Error = ProviderError;

    async fn send<B>(&self, request: Request<B>) -> Result<Response<ProviderBody>, ProviderError>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let (url, body) = (head.uri.clone(), body.map_err(Into::into).boxed_unsync());
        self.0
            .ask(On::ItsOwn, anew(&head, url, body), || false)
            .await
    }
}

impl Provider {
    /// Asks once; the answer knows which URL was asked, if it was not the configured one.
    async fn ask(
        &self,
        on: On,
        request: Request<RequestBody>,
        is_sent: impl Fn() -> bool,
    ) -> Result<Response<ProviderBody>, ProviderError> {
        let url = request.uri().clone();
        let answer = self.connections.send(request, on, is_sent).await;
        self.report(&answer);
        let mut answer = answer?;
        if url != *self.route.base() {
            answer.extensions_mut().insert(Answered(url));
        }
        Ok(answer)
    }

    /// A call finds out sooner than the probe whether the provider can be reached.
    fn report(&self, answer: &Result<Response<ProviderBody>, SendError>) {
        match answer {
            Ok(_) => self.health.reachable(),
            Err(SendError::Unreachable(error)) => {
                self.route.forget();
                self.health.unreachable(error_chain(&**error));
            }
            Err(SendError::Lost(_)) => {}
        }
    }
}

/// A request for the provider: anew, as what came through the tunnel has another target.
fn anew(head: &request::Parts, url: Uri, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    *request.uri_mut() = url;
    request
}

fn failure(error: ForwardError<ProviderError>) -> CallError {
    let log_message = error_chain(&error);
    as_the_caller_may_know(error).with_source(log_message)
}

fn as_the_caller_may_know(error: ForwardError<ProviderError>) -> CallError {
    let ForwardError::Upstream(error) = error else {
        return CallError::new(
            Cause::FirstByteTimeout,
            "the provider did not answer in time",
        );
    };
    match &error {
        ProviderError::Redirect(_) => CallError::new(Cause::ProviderRedirect, error.to_string()),
        ProviderError::Send(SendError::Unreachable(_)) => CallError::new(
            Cause::ProviderUnreachable,
            "the relay cannot connect to its provider",
        ),
        ProviderError::Send(SendError::Lost(error))
            if error.is_parse() || error.is_parse_status() =>
        {
            CallError::new(
                Cause::ProviderGarbage,
                "the provider's answer is not HTTP, or its head is far too large",
            )
        }
        ProviderError::Send(SendError::Lost(_)) => CallError::new(
            Cause::ProviderClosed,
            "the provider closed the connection before it answered",
        ),
    }
}

/// Whether an answer is an event stream that can be read as it is.
fn is_plain_event_stream<B>(answer: &Response<B>) -> bool {
    sse::is_event_stream(answer.headers())
        && answer.status() == StatusCode::OK
        && !answer.headers().contains_key(header::CONTENT_ENCODING)
}

/// Takes away what only llamapool itself may say.
fn remove_own(headers: &mut HeaderMap) {
    let own: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(wire::PREFIX))
        .cloned()
        .collect();
    for name in own {
        headers.remove(name);
    }
}

/// What came through the tunnel has no header of this hop, and what a provider names in `Connection` is its own affair
/// but for the session.
fn is_end_to_end(name: &HeaderName) -> bool {
    name.as_str().starts_with(mcp::PREFIX)
}
