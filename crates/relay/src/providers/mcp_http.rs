//! An MCP provider that speaks HTTP: forwards each call to its URL, as it came.
//!
//! Only the configured host and port are ever dialled. A caller adds path and query below the
//! configured URL, or chooses a path that the provider itself named; a redirect is followed only on
//! the same host and port.

mod address;
mod allowed_paths;
mod challenge;
mod endpoint_event;
mod first_exchange;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod headers;
mod location;
mod oauth;
mod public_url;
mod redirect;
mod replay;
mod upstream;

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, Uri, header};
use http_body_util::BodyExt;
use llamapool_head::Fields;
use llamapool_http::http1::RequestBody;
use llamapool_http::{BodyEnd, BodyObserver, BoxError, ForwardedBody, UNCOUNTED_BYTES};
use llamapool_tunnel::{IncomingBody, OutgoingBody};
use llamapool_wire::path::{self, OAuthDocument};
use llamapool_wire::{CallError, Cause};

use self::allowed_paths::{AllowedPaths, NamedAs};
use self::endpoint_event::EndpointRewriter;
use self::location::Exchange;
use self::oauth::OAuth;
use self::public_url::ProviderPublicUrl;
use self::upstream::{ProviderRequest, ProviderResponse, ProviderUpstream, Redirects};
use super::connection::StreamedBody;
use super::pool::ProviderBody;
use super::{ProcessSettings, ProviderBackend, connection, pool};
use crate::call::{CallRequest, CallResponse};
use crate::config::HttpConfig;
use crate::response_body::ResponseBody;
use crate::status::calls::CallGuard;
use crate::status::provider::HealthReporter;

/// Between two probes while the provider cannot be reached, at the most: its return is noticed
/// after this time.
const PROBE_INTERVAL_UNREACHABLE: Duration = Duration::from_secs(1);

/// An MCP provider that speaks HTTP.
pub(crate) struct McpHttp {
    upstream: ProviderUpstream,
    oauth: OAuth,
    allowed: AllowedPaths,
    /// True if `Authorization` has the relay's own token, which the provider must not see.
    has_token: bool,
    health: HealthReporter,
    asks_for_facts: bool,
    probe_interval: Duration,
    max_header_bytes: u32,
}

/// The URL of a call, and the treatment of its redirects.
struct ProviderTarget<'a> {
    url: Cow<'a, Uri>,
    redirects: Redirects,
}

impl McpHttp {
    /// The provider of a configuration. With `has_token`, the relay checks a token of its own.
    pub(crate) fn new(
        config: &HttpConfig,
        has_token: bool,
        process: ProcessSettings<'_>,
        health: HealthReporter,
    ) -> Self {
        let connector = pool::connector(process.tls, config.connect_timeout);
        Self {
            upstream: ProviderUpstream::new(config, connector, process.memory, health.clone()),
            // Where the relay checks a token, the provider's authorization servers are not the
            // caller's concern.
            oauth: OAuth::new(config.publishes_oauth, has_token),
            allowed: AllowedPaths::default(),
            has_token,
            health,
            asks_for_facts: config.asks_for_facts,
            probe_interval: config.probe_interval,
            max_header_bytes: process.max_header_bytes,
        }
    }

    /// Forwards a request and returns the response with its checked head.
    async fn forward<'a>(
        &'a self,
        request: CallRequest<'a>,
        below: &str,
        public: Option<&ProviderPublicUrl>,
    ) -> Result<ProviderResponse<'a>, CallError> {
        let CallRequest {
            method,
            uri,
            fields,
            body,
        } = request;
        let target = self.target(below, uri.query(), public).await?;
        headers::prepare_request(fields, self.upstream.extra_headers(), self.has_token)?;
        let request = ProviderRequest {
            method,
            url: target.url,
            fields,
            body: request_body(body),
        };

        let response = self
            .upstream
            .forward(target.redirects, public, request)
            .await?;
        headers::check_size(&response.head.fields, self.max_header_bytes)?;
        Ok(response)
    }

    /// Returns the URL of a call: below the configured one, or a path that the provider named.
    async fn target(
        &self,
        below: &str,
        query: Option<&str>,
        public: Option<&ProviderPublicUrl>,
    ) -> Result<ProviderTarget<'_>, CallError> {
        let route = self.upstream.route();
        if !below.starts_with(path::ANNOUNCED) {
            return Ok(ProviderTarget {
                url: route.target(below, query),
                redirects: Redirects::Follow,
            });
        }

        let mut allowed = self.allowed_path(below);
        if allowed.is_none() && self.oauth.should_refresh() {
            if let Some(public) = public {
                Box::pin(self.oauth.refresh(&self.upstream, public)).await;
            }
            allowed = self.allowed_path(below);
        }
        let (path, redirects) = allowed.ok_or_else(|| {
            CallError::new(
                Cause::PathRefused,
                "the provider has announced no such path; its stream may have ended",
            )
        })?;
        Ok(ProviderTarget {
            url: Cow::Owned(route.at_root(&path, query)),
            redirects,
        })
    }

    /// Returns the path on the provider for a caller's path, `None` if it is not allowed. The address
    /// of a page matters to a browser: its redirects are the caller's to follow.
    fn allowed_path(&self, below: &str) -> Option<(String, Redirects)> {
        if let Some(path) = self.oauth.resolve(below) {
            return Some((path, Redirects::Forward));
        }
        let (path, named_as) = self.allowed.resolve(below)?;
        let redirects = match named_as {
            NamedAs::Endpoint => Redirects::Follow,
            NamedAs::Target => Redirects::Forward,
        };
        Some((path, redirects))
    }

    /// Rewrites the targets of a response for the caller.
    fn rewrite_location(&self, fields: &mut Fields, answered: &Uri, public: &ProviderPublicUrl) {
        if !fields.contains_key(&header::LOCATION) {
            return;
        }
        let exchange = Exchange {
            base: self.upstream.route().base(),
            answered,
            public,
        };
        location::rewrite(fields, &exchange, &self.allowed);
        self.oauth.rewrite_redirect(fields, public, &self.allowed);
    }

    /// Asks the provider who it is, once it can be reached.
    async fn ask(&self) {
        if self.asks_for_facts {
            self.health.until_changed_from(false).await;
            let facts = first_exchange::ask(&self.upstream).await;
            self.health.set_facts(facts);
        }
    }

    /// Probes the provider for as long as the relay lives. A call that finds it unreachable reports
    /// that at once, without waiting for the next probe.
    ///
    /// The probe connects (TCP, and TLS where the URL wants it) and hangs up. It sends nothing: any
    /// request, even a harmless one, makes some providers open a session. The first exchange is had
    /// once, and ends its session.
    async fn probe(&self) {
        loop {
            self.upstream.probe().await;
            let is_reachable = self.health.is_reachable();
            let wait = if is_reachable {
                self.probe_interval
            } else {
                self.probe_interval.min(PROBE_INTERVAL_UNREACHABLE)
            };
            tokio::select! {
                () = self.health.until_changed_from(is_reachable) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// Returns the body of a call as it is sent: most are here in whole.
fn request_body(mut body: IncomingBody) -> RequestBody<StreamedBody> {
    match body.take_whole(UNCOUNTED_BYTES) {
        Some(data) if data.is_empty() => RequestBody::Empty,
        Some(data) => RequestBody::WholeUnannounced(data),
        None => RequestBody::Stream(body.map_err(Into::into).boxed_unsync()),
    }
}

/// Returns the body of a response as it goes back to a caller, with the call that ends with it.
fn response_body(body: ProviderBody, mut call: CallGuard) -> OutgoingBody<ResponseBody> {
    match body.into_whole() {
        Ok(data) => {
            call.on_end(BodyEnd::Complete);
            OutgoingBody::Whole(data)
        }
        Err(body) => {
            let body = ForwardedBody::observed(body, call);
            OutgoingBody::Stream(body.map_err(Into::into).boxed_unsync())
        }
    }
}

impl ProviderBackend for McpHttp {
    async fn call(
        &self,
        request: CallRequest<'_>,
        below: &str,
        mut call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        let public = ProviderPublicUrl::from_headers(request.fields);
        let may_name_endpoint = *request.method == Method::GET;
        let response = self
            .forward(request, below, public.as_ref())
            .await
            .inspect_err(|error| call.fail_with(error))?;
        let ProviderResponse {
            mut head,
            body,
            answered,
        } = response;
        self.oauth.learn(&head);

        headers::clean_response(&mut head.fields).inspect_err(|error| call.fail_with(error))?;
        if let Some(public) = &public {
            challenge::make_public(head.status, &mut head.fields, &answered, public);
            self.rewrite_location(&mut head.fields, &answered, public);
        }

        call.record_status(head.status);
        if may_name_endpoint
            && headers::is_plain_event_stream(&head)
            && let Some(public) = public
        {
            // The public endpoint may be longer.
            head.fields.remove(&header::CONTENT_LENGTH);
            let body = ForwardedBody::observed(body, call);
            let body = body.map_err(BoxError::from);
            let answered = answered.into_owned();
            let allowed = self.allowed.clone();
            let body = EndpointRewriter::new(body, answered, public, allowed).boxed_unsync();
            return Ok(CallResponse::streamed(head, body));
        }
        let body = response_body(body, call);
        Ok(CallResponse { head, body })
    }

    async fn run(&self) {
        tokio::join!(self.probe(), self.upstream.sweep(), self.ask());
    }

    fn publishes_openid(&self) -> bool {
        self.oauth.publishes()
    }

    async fn document(
        &self,
        document: OAuthDocument,
        fields: &Fields,
        call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        self.oauth
            .respond(&self.upstream, document, fields, call)
            .await
    }
}
