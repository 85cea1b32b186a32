//! The provider as the next hop of a request: one exchange, or one with its redirects.

use std::borrow::Cow;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri};
use llamapool_head::{Fields, ResponseHead};
use llamapool_http::http1::RequestBody;
use llamapool_limits::MemoryAccount;
use llamapool_wire::{CallError, Cause};

use super::connection::StreamedBody;
use super::pool::{ConnectionPool, Connector, PoolError, PoolRequest, ProviderBody, Reuse};
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

/// A request to the provider.
pub(super) struct ProviderRequest<'a> {
    pub(super) method: &'a Method,
    pub(super) url: Cow<'a, Uri>,
    pub(super) fields: &'a Fields,
    pub(super) body: RequestBody<StreamedBody>,
}

/// The provider's response.
pub(super) struct ProviderResponse<'a> {
    pub(super) head: ResponseHead,
    pub(super) body: ProviderBody,
    /// The URL that was answered, after redirects.
    pub(super) answered: Cow<'a, Uri>,
}

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
        let connecting = self.pool.connect();
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
    pub(super) async fn forward<'a>(
        &'a self,
        redirects: Redirects,
        public: Option<&ProviderPublicUrl>,
        request: ProviderRequest<'a>,
    ) -> Result<ProviderResponse<'a>, CallError> {
        let response = match redirects {
            Redirects::Follow => self.send_and_follow(public, request).await,
            // Boxed, as are other rare cases: the future of a call is moved, and has room for its
            // largest case.
            Redirects::Forward => {
                Box::pin(async {
                    let ProviderRequest {
                        method,
                        url,
                        fields,
                        body,
                    } = request;
                    let head = ExchangeHead { method, fields };
                    let (head, body) = self.exchange(head, &url, Reuse::Never, body).await?;
                    let answered = url;
                    Ok(ProviderResponse {
                        head,
                        body,
                        answered,
                    })
                })
                .await
            }
        };
        response.map_err(|error| call_error(&error))
    }

    /// Sends a request, and follows its redirects.
    async fn send_and_follow<'a>(
        &'a self,
        public: Option<&ProviderPublicUrl>,
        request: ProviderRequest<'a>,
    ) -> Result<ProviderResponse<'a>, UpstreamError> {
        let ProviderRequest {
            method,
            url,
            fields,
            body,
        } = request;
        let may_redirect = self.route.is_untried(method, &url);
        let reuse = if may_redirect {
            Reuse::Never
        } else {
            Reuse::Pooled
        };
        let call = RedirectableCall {
            provider: self,
            public,
            head: ExchangeHead { method, fields },
            asked: &url,
            replay: Replay::new(body, self.replay_bytes, may_redirect, &self.memory),
        };

        let remembered = self.route.shortcut(method, &url);
        let (head, body, redirected) = match remembered {
            Some(remembered) => Box::pin(call.send_to_remembered(remembered)).await?,
            None => call.follow(None, reuse).await?,
        };
        let answered = redirected.map_or(url, Cow::Owned);
        Ok(ProviderResponse {
            head,
            body,
            answered,
        })
    }

    /// Makes one exchange.
    async fn exchange(
        &self,
        head: ExchangeHead<'_>,
        url: &Uri,
        reuse: Reuse,
        body: RequestBody<StreamedBody>,
    ) -> Result<(ResponseHead, ProviderBody), PoolError> {
        let request = PoolRequest {
            method: head.method,
            target: url.path_and_query().map_or("/", PathAndQuery::as_str),
            fields: head.fields,
            body,
        };
        let response = self.pool.send(request, reuse).await;
        self.report_health(response.as_ref().err());
        response
    }

    /// Reports the health that a call has found, sooner than the next probe.
    fn report_health(&self, error: Option<&PoolError>) {
        match error {
            None => self.health.reachable(),
            Some(PoolError::Unreachable(error)) => {
                self.route.forget();
                self.health.unreachable(error_chain(&**error));
            }
            Some(PoolError::Lost(_)) => {}
        }
    }
}

/// What all exchanges of one call have in common.
#[derive(Clone, Copy)]
struct ExchangeHead<'a> {
    method: &'a Method,
    fields: &'a Fields,
}

/// A call that is sent to one URL after the other, as the provider redirects it.
struct RedirectableCall<'a> {
    provider: &'a ProviderUpstream,
    public: Option<&'a ProviderPublicUrl>,
    head: ExchangeHead<'a>,
    asked: &'a Uri,
    replay: Replay,
}

/// A response, and the URL that it was redirected from the asked one to.
type Followed = (ResponseHead, ProviderBody, Option<Uri>);

impl RedirectableCall<'_> {
    /// Sends the call to where its URL led before. If nothing is there any more, the URL is asked
    /// anew before the caller gets to see it: a 404 makes MCP clients give their session up.
    ///
    /// No place gets the call twice. Where the URL leads to the same place again, its response
    /// stands.
    async fn send_to_remembered(&self, remembered: Uri) -> Result<Followed, UpstreamError> {
        let response = self.follow(Some(remembered.clone()), Reuse::Pooled).await?;
        let may_be_gone = matches!(
            response.0.status,
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

        let again = self.exchange(self.asked, Reuse::Never, body).await;
        let (head, body) = match again {
            // It has not reached anything.
            Err(PoolError::Unreachable(_)) => return Ok(response),
            again => again?,
        };
        match self.next_url(self.asked, &head) {
            None => Ok((head, body, None)),
            Some(next) if next == remembered => Ok(response),
            Some(next) => self.follow(Some(next), Reuse::Never).await,
        }
    }

    /// Sends the call to the asked URL or another one, and to those to which it redirects.
    async fn follow(
        &self,
        mut redirected: Option<Uri>,
        mut reuse: Reuse,
    ) -> Result<Followed, UpstreamError> {
        for _ in 0..=MAX_REDIRECTS {
            let body = self
                .replay
                .body()
                .map_err(|ReplayLimitError| not_replayable(self.provider.replay_bytes))?;
            let url = redirected.as_ref().unwrap_or(self.asked);
            let (head, body) = self.exchange(url, reuse, body).await?;
            match self.next_url(url, &head) {
                Some(next) => redirected = Some(next),
                None => return Ok((head, body, redirected)),
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
        url: &Uri,
        reuse: Reuse,
        body: RequestBody<StreamedBody>,
    ) -> Result<(ResponseHead, ProviderBody), PoolError> {
        let response = self.provider.exchange(self.head, url, reuse, body).await?;
        self.replay.release();
        Ok(response)
    }

    fn next_url(&self, tried: &Uri, response: &ResponseHead) -> Option<Uri> {
        let urls = Tried {
            asked: self.asked,
            tried,
        };
        let route = &self.provider.route;
        route.next_url(self.head.method, urls, response, self.public)
    }
}

fn not_replayable(max_bytes: usize) -> UpstreamError {
    UpstreamError::Redirect(format!(
        "the request has more than {max_bytes} bytes, or there is no memory to keep it, see \
         REDIRECT_REPLAY_BYTES and MAX_MEMORY"
    ))
}

fn call_error(error: &UpstreamError) -> CallError {
    public_error(error).with_source(error_chain(error))
}

/// Returns the error with the message that the caller may see.
fn public_error(error: &UpstreamError) -> CallError {
    match error {
        UpstreamError::Redirect(_) => CallError::new(Cause::ProviderRedirect, error.to_string()),
        UpstreamError::Exchange(PoolError::Unreachable(_)) => CallError::new(
            Cause::ProviderUnreachable,
            "the relay cannot connect to its provider",
        ),
        UpstreamError::Exchange(PoolError::Lost(error)) if error.is_not_http() => CallError::new(
            Cause::ProviderGarbage,
            "the provider's answer is not HTTP, or its head is far too large",
        ),
        UpstreamError::Exchange(PoolError::Lost(_)) => CallError::new(
            Cause::ProviderClosed,
            "the provider closed the connection before it answered",
        ),
    }
}
