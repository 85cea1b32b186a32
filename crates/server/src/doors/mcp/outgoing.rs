//! The request as it goes into the tunnel.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Response, Uri, header};
use llamapool_http::{ForwardTimeouts, LimitedBody, RequestMeter, Upstream, linger};
use llamapool_mcp::MethodLabel;
use llamapool_mcp::header::SESSION_ID;
use llamapool_tunnel::{IncomingBody, SendError, ServerEnd};
use llamapool_wire::{CallError, header as wire, path};

use super::admission::Admitted;
use super::call_headers::prepare;
use super::failures::{path_refused, too_large};
use super::passing_look::PassingLook;
use super::target::Target;
use crate::app::App;
use crate::books::Call;
use crate::plain_answer::takes_anything;
use crate::public_url::Address;
use crate::sessions::Purpose;

/// A request that is ready to go.
pub(super) struct Outgoing {
    pub(super) request: axum::http::Request<PassingLook<LimitedBody<Body>>>,
    /// What goes by of its body.
    pub(super) meter: Arc<RequestMeter>,
    /// Whether the caller takes one answer instead of an event stream.
    pub(super) wants_single_answer: bool,
}

/// Where a request goes, and under which address its caller knows this server.
pub(super) struct Bound<'a> {
    pub(super) target: &'a Target,
    pub(super) admitted: &'a Admitted,
    pub(super) address: Option<&'a Address>,
}

/// The request as it goes into the tunnel.
pub(super) async fn outgoing(
    app: &App,
    bound: Bound<'_>,
    call: &Call,
    request: Request,
) -> Result<Outgoing, CallError> {
    let (mut head, body) = request.into_parts();
    let max_bytes = app.config.mcp.max_request_bytes;
    let declared = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(declared) = declared.filter(|&declared| declared > max_bytes) {
        // Who asks before sending has sent nothing.
        if !head.headers.contains_key(header::EXPECT) {
            linger(body).await;
        }
        return Err(too_large(Some(declared), max_bytes));
    }
    let wants_single_answer = head.method == Method::POST && takes_anything(&head.headers);
    let method = MethodLabel::from_name(head.method.as_str());
    call.running().set_method(method);
    prepare(
        app,
        &mut head.headers,
        &bound,
        call.running(),
        wants_single_answer,
    );
    if let Some(session) = bound.admitted.session.clone() {
        // In the place of the sealed one, which the provider does not know.
        head.headers.insert(SESSION_ID, session);
    }
    head.headers
        .extend(public_prefix(app, &bound).map(|prefix| (wire::PUBLIC_PREFIX, prefix)));
    let (body, meter) = LimitedBody::new(body, max_bytes);
    let body = PassingLook::new(body, &head.headers, call.running().clone());
    let uri = Uri::try_from(bound.target.in_tunnel.as_str());
    let mut request = axum::http::Request::new(body);
    *request.method_mut() = head.method;
    *request.headers_mut() = head.headers;
    *request.uri_mut() = uri.map_err(|_| path_refused("it is not a valid path"))?;
    Ok(Outgoing {
        request,
        meter,
        wants_single_answer,
    })
}

/// What the public URL of this id starts with, for a relay whose provider announces an endpoint. Where relays share the
/// id it names this one.
fn public_prefix(app: &App, bound: &Bound<'_>) -> Option<HeaderValue> {
    let Bound {
        target,
        admitted,
        address,
    } = bound;
    let public_path = address
        .map(|address| address.path.as_str())
        .unwrap_or_default();
    let own = format!("{public_path}{}{}", path::MCP_BY_ID, target.id);
    let prefix = match admitted.is_shared {
        true => format!(
            "{own}{}{}",
            path::AT,
            app.seal
                .seal(Purpose::Place, &target.id, admitted.relay.tag, b"")?
        ),
        false => own,
    };
    HeaderValue::try_from(prefix).ok()
}

/// The tunnel as the next hop.
pub(super) struct Tunnel<'a>(pub(super) &'a ServerEnd);

impl Upstream for Tunnel<'_> {
    type Body = IncomingBody;
    type Error = SendError;

    async fn send<B>(
        &self,
        request: axum::http::Request<B>,
    ) -> Result<Response<IncomingBody>, SendError>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<llamapool_http::BoxError>,
    {
        self.0.send(request).await
    }
}

/// The waits of a call.
pub(super) fn timeouts(app: &App) -> ForwardTimeouts {
    let some = |span: std::time::Duration| (!span.is_zero()).then_some(span);
    let config = &app.config.mcp;
    ForwardTimeouts {
        first_headers: some(config.first_byte_timeout),
        idle: some(config.stream_idle_timeout),
        total: some(config.call_timeout),
    }
}
