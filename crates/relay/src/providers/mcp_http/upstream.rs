//! The provider as the next hop of a request: one exchange, or one with its redirects.

use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode, Uri, request};
use http_body::Body;
use http_body_util::BodyExt;
use llamapool_http::{BoxError, ForwardError, ForwardTimeouts, Upstream, forward};
use llamapool_limits::MemoryAccount;
use llamapool_wire::{CallError, Cause};

use super::connection::RequestBody;
use super::pool::{ConnectionPool, Connector, PoolError, ProviderBody, Reuse};
use super::public_url::ProviderPublicUrl;
use super::redirect::{Route, Tried};
use super::replay::{Replay, ReplayLimitError};
use crate::config::HttpConfig;
use crate::error::error_chain;
use crate::status::provider::HealthReporter;

/// How many redirects one call follows.
const MAX_REDIRECTS: usize = 3;

/// The provider's connections and URL.
pub(super) struct ProviderUpstream {
    pool: ConnectionPool,
    route: Route,
    /// Headers that are added to every request.
    extra_headers: HeaderMap,
    connect_timeout: Duration,
    replay_bytes: usize,
    memory: MemoryAccount,
    health: HealthReporter,
}

/// The URL that was answered, where it is not the configured one. It is an extension of the
/// response.
#[derive(Debug, Clone)]
pub(super) struct AnsweredUrl(pub(super) Uri);

/// The treatment of redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    /// The relay follows those on the provider.
    Follow,
    /// They are forwarded to the caller.
    Forward,
}

/// The provider did not respond.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("the provider did not answer: {}", error_chain(.0))]
    Exchange(#[from] PoolError),
    #[error("a redirect cannot be followed: {0}")]
    Redirect(String),
}

impl ProviderUpstream {
    /// The provider of a configuration, whose health goes to `health`.
    pub(super) fn new(
        config: &HttpConfig,
        connector: Connector,
        memory: &MemoryAccount,
        health: HealthReporter,
    ) -> Self {
        Self {
            pool: ConnectionPool::new(connector, &config.url),
            route: Route::new(config.url.clone()),
            extra_headers: config.headers.clone(),
            connect_timeout: config.connect_timeout,
            replay_bytes: config.redirect_replay_bytes,
            memory: memory.clone(),
            health,
        }
    }

    /// Returns the URLs of the provider.
    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// Returns the account of the memory of this provider.
    pub(super) fn memory(&self) -> &MemoryAccount {
        &self.memory
    }

    /// Returns the headers that are added to every request.
    pub(super) fn extra_headers(&self) -> &HeaderMap {
        &self.extra_headers
    }

    /// Closes connections that were idle for too long, for as long as the relay lives.
    pub(super) async fn sweep(&self) {
        self.pool.sweep().await;
    }

    /// Connects to the provider, hangs up, and reports the result as its health.
    pub(super) async fn probe(&self) {
        let connecting = self.pool.connect(self.route.base());
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(_)) => self.health.reachable(),
            Ok(Err(error)) => self.health.unreachable(error_chain(&*error)),
            Err(_) => {
                let timeout = self.connect_timeout;
                self.health
                    .unreachable(format!("no connection within {timeout:?}"));
            }
        }
    }

    /// Sends a request and returns the head of the response. `public` is the caller's URL, by which
    /// redirects are recognized that name it.
    pub(super) async fn forward<B>(
        &self,
        redirects: Redirects,
        public: Option<&ProviderPublicUrl>,
        request: Request<B>,
    ) -> Result<Response<ProviderBody>, CallError>
    where
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let timeouts = ForwardTimeouts::default();
        let no_last_byte = || None;
        let response = match redirects {
            Redirects::Follow => {
                let upstream = Following {
                    provider: self,
                    public,
                };
                forward(&upstream, request, &timeouts, no_last_byte).await
            }
            Redirects::Forward => {
                Box::pin(forward(&Single(self), request, &timeouts, no_last_byte)).await
            }
        };
        response.map_err(call_error)
    }

    /// Makes one exchange. The response has the URL that was asked as [`AnsweredUrl`], if it is not
    /// the configured one.
    async fn exchange(
        &self,
        reuse: Reuse,
        request: Request<RequestBody>,
        is_sent: impl Fn() -> bool,
    ) -> Result<Response<ProviderBody>, UpstreamError> {
        let url = request.uri().clone();
        let response = self.pool.send(request, reuse, is_sent).await;
        self.report_health(&response);
        let mut response = response?;
        if url != *self.route.base() {
            response.extensions_mut().insert(AnsweredUrl(url));
        }
        Ok(response)
    }

    /// Reports the health that a call has found, sooner than the next probe.
    fn report_health(&self, response: &Result<Response<ProviderBody>, PoolError>) {
        match response {
            Ok(_) => self.health.reachable(),
            Err(PoolError::Unreachable(error)) => {
                self.route.forget();
                self.health.unreachable(error_chain(&**error));
            }
            Err(PoolError::Lost(_)) => {}
        }
    }
}

/// The provider, with its redirects.
struct Following<'a> {
    provider: &'a ProviderUpstream,
    public: Option<&'a ProviderPublicUrl>,
}

impl Upstream for Following<'_> {
    type Body = ProviderBody;
    type Error = UpstreamError;

    async fn send<B>(&self, request: Request<B>) -> Result<Response<ProviderBody>, UpstreamError>
    where
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let Self { provider, public } = *self;
        let route = &provider.route;
        let may_redirect = route.is_untried(&head.method, &head.uri);
        let body = body.map_err(Into::into).boxed_unsync();
        let call = RedirectableCall {
            provider,
            public,
            replay: Replay::new(body, provider.replay_bytes, may_redirect, &provider.memory),
            head,
        };

        let reuse = if may_redirect {
            Reuse::Never
        } else {
            Reuse::Pooled
        };
        match route.shortcut(&call.head.method, &call.head.uri) {
            // Boxed, as are other rare cases: the future of a call is moved, and has room for its
            // largest case.
            Some(remembered) => Box::pin(call.send_to_remembered(remembered)).await,
            None => call.follow(call.head.uri.clone(), reuse).await,
        }
    }
}

/// A call that is sent to one URL after the other, as the provider redirects it.
struct RedirectableCall<'a> {
    provider: &'a ProviderUpstream,
    public: Option<&'a ProviderPublicUrl>,
    head: request::Parts,
    replay: Replay,
}

impl RedirectableCall<'_> {
    /// Sends the call to where its URL led before. If nothing is there any more, the URL is asked
    /// anew before the caller gets to see it: a 404 makes MCP clients give their session up.
    ///
    /// No place gets the call twice. Where the URL leads to the same place again, its response
    /// stands.
    async fn send_to_remembered(
        &self,
        remembered: Uri,
    ) -> Result<Response<ProviderBody>, UpstreamError> {
        let response = self.follow(remembered.clone(), Reuse::Pooled).await?;
        let may_be_gone = matches!(
            response.status(),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        );
        if !may_be_gone {
            return Ok(response);
        }
        // The rest of a body that is still on its way belongs to this response.
        let body = if self.replay.is_sent() {
            self.replay.body().ok()
        } else {
            None
        };
        let Some(body) = body else {
            self.provider.route.forget();
            return Ok(response);
        };

        let asked = &self.head.uri;
        let again = self.exchange(asked.clone(), Reuse::Never, body).await;
        let again = match again {
            // It has not reached anything.
            Err(UpstreamError::Exchange(PoolError::Unreachable(_))) => return Ok(response),
            again => again?,
        };
        match self.next_url(asked, &again) {
            None => Ok(again),
            Some(next) if next == remembered => Ok(response),
            Some(next) => self.follow(next, Reuse::Never).await,
        }
    }

    /// Sends the call to a URL, and to those to which it redirects.
    async fn follow(
        &self,
        mut url: Uri,
        mut reuse: Reuse,
    ) -> Result<Response<ProviderBody>, UpstreamError> {
        for _ in 0..=MAX_REDIRECTS {
            let body = self
                .replay
                .body()
                .map_err(|ReplayLimitError| not_replayable(self.provider.replay_bytes))?;
            let response = self.exchange(url.clone(), reuse, body).await?;
            match self.next_url(&url, &response) {
                Some(next) => url = next,
                None => return Ok(response),
            }
            reuse = Reuse::Never;
        }

        self.provider.route.forget();
        Err(UpstreamError::Redirect(format!(
            "more than {MAX_REDIRECTS} in a row"
        )))
    }

    async fn exchange(
        &self,
        url: Uri,
        reuse: Reuse,
        body: RequestBody,
    ) -> Result<Response<ProviderBody>, UpstreamError> {
        let request = request_to(&self.head, url, body);
        let is_sent = || self.replay.is_sent();
        let response = self.provider.exchange(reuse, request, is_sent).await?;
        self.replay.release();
        Ok(response)
    }

    fn next_url(&self, tried: &Uri, response: &Response<ProviderBody>) -> Option<Uri> {
        let asked = &self.head.uri;
        let urls = Tried { asked, tried };
        let route = &self.provider.route;
        route.next_url(&self.head.method, urls, response, self.public)
    }
}

/// The provider, whose every response is the caller's.
struct Single<'a>(&'a ProviderUpstream);

impl Upstream for Single<'_> {
    type Body = ProviderBody;
    type Error = UpstreamError;

    async fn send<B>(&self, request: Request<B>) -> Result<Response<ProviderBody>, UpstreamError>
    where
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let body = body.map_err(Into::into).boxed_unsync();
        let request = request_to(&head, head.uri.clone(), body);
        self.0.exchange(Reuse::Never, request, || false).await
    }
}

/// Makes a request to `url` from the head of a call. Its extensions stay behind.
fn request_to(head: &request::Parts, url: Uri, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    *request.uri_mut() = url;
    request
}

fn not_replayable(max_bytes: usize) -> UpstreamError {
    UpstreamError::Redirect(format!(
        "the request has more than {max_bytes} bytes, or there is no memory to keep it, see \
         REDIRECT_REPLAY_BYTES and MAX_MEMORY"
    ))
}

fn call_error(error: ForwardError<UpstreamError>) -> CallError {
    let log_message = error_chain(&error);
    public_error(&error).with_source(log_message)
}

/// Returns the error with the message that the caller may see.
fn public_error(error: &ForwardError<UpstreamError>) -> CallError {
    let ForwardError::Upstream(error) = error else {
        return CallError::new(
            Cause::FirstByteTimeout,
            "the provider did not answer in time",
        );
    };
    match error {
        UpstreamError::Redirect(_) => CallError::new(Cause::ProviderRedirect, error.to_string()),
        UpstreamError::Exchange(PoolError::Unreachable(_)) => CallError::new(
            Cause::ProviderUnreachable,
            "the relay cannot connect to its provider",
        ),
        UpstreamError::Exchange(PoolError::Lost(error))
            if error.is_parse() || error.is_parse_status() =>
        {
            CallError::new(
                Cause::ProviderGarbage,
                "the provider's answer is not HTTP, or its head is far too large",
            )
        }
        UpstreamError::Exchange(PoolError::Lost(_)) => CallError::new(
            Cause::ProviderClosed,
            "the provider closed the connection before it answered",
        ),
    }
}
