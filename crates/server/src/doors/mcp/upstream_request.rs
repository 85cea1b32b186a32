//! The request as it goes into the tunnel.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Uri};
use llamapool_http::{LimitedBody, remove_headers, reserved};
use llamapool_mcp::MethodLabel;
use llamapool_mcp::header::SESSION_ID;
use llamapool_wire::{CallError, header as wire, path};

use super::admission::Admission;
use super::call_headers::{self, Forwarding};
use super::context::McpDoor;
use super::cookies;
use super::method_sniffer::MethodSniffer;
use super::session_seal::Scope;
use super::sse_to_json::{BOTH_TYPES, accepts_anything};
use super::target::Target;
use crate::calls::CallGuard;
use crate::calls::failure::path_refused;
use crate::listen::Address;

/// A request that is ready to be sent.
pub(super) struct UpstreamRequest {
    pub(super) request: axum::http::Request<MethodSniffer<LimitedBody<Body>>>,
    /// Set if the caller takes a single answer instead of an event stream.
    pub(super) wants_single_answer: bool,
}

/// The destination of a request, and the public address as its caller reaches it.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) target: &'a Target,
    pub(super) admission: &'a Admission,
    pub(super) address: Option<&'a Address>,
    /// Whether the operator trusts the pages of the id.
    pub(super) is_trusted: bool,
}

/// Makes the request that goes into the tunnel of a caller's request.
pub(super) async fn prepare(
    door: &McpDoor,
    destination: Destination<'_>,
    call: &mut CallGuard<MethodLabel>,
    request: Request,
) -> Result<UpstreamRequest, CallError> {
    let Destination {
        target,
        admission,
        address,
        is_trusted,
    } = destination;
    let (mut head, body) = request.into_parts();
    let body = door.forwarder.limit(&head.headers, body, call).await?;

    let wants_single_answer = head.method == Method::POST && accepts_anything(&head.headers);
    call.call()
        .set_label(MethodLabel::from_name(head.method.as_str()));

    let forwarding = Forwarding {
        caller: admission.caller_tag,
        auth: &door.auth,
        forwarded_for: door.public_url.forwarded_for(&head.headers, admission.peer),
        address,
        accept: wants_single_answer.then_some(BOTH_TYPES),
    };
    cookies::to_provider(&mut head.headers, &target.id, is_trusted);
    call_headers::rewrite(&mut head.headers, forwarding, &call.call().req_id);
    if let Some(session) = admission.session.clone() {
        // In the place of the sealed one, which means nothing to the provider, in any spelling.
        remove_headers(&mut head.headers, |name| {
            reserved::folded(name) == SESSION_ID.as_str()
        });
        head.headers.insert(SESSION_ID, session);
    }
    let prefix = public_prefix(door, destination);
    head.headers
        .extend(prefix.map(|prefix| (wire::PUBLIC_PREFIX, prefix)));

    let uri = Uri::try_from(target.in_tunnel.as_str())
        .map_err(|_| path_refused("it is not a valid path"))?;
    let body = MethodSniffer::new(body, &head.headers, call.call().clone());
    let mut request = axum::http::Request::new(body);
    *request.method_mut() = head.method;
    *request.headers_mut() = head.headers;
    *request.uri_mut() = uri;
    Ok(UpstreamRequest {
        request,
        wants_single_answer,
    })
}

/// Returns the prefix of all public URLs of this id, for a relay whose provider announces an
/// endpoint. Where relays share the id it names this one.
fn public_prefix(door: &McpDoor, destination: Destination<'_>) -> Option<HeaderValue> {
    let Destination {
        target,
        admission,
        address,
        ..
    } = destination;
    let public_path = address
        .map(|address| address.path.as_str())
        .unwrap_or_default();

    let mut prefix = format!("{public_path}{}{}", path::MCP_BY_ID, target.id);
    if admission.is_shared {
        let tag = admission.member.tag;
        let place = door
            .seal
            .seal(Scope::place(&target.id, admission.key.as_deref()), tag, b"")?;
        prefix.push_str(path::AT);
        prefix.push_str(&place);
    }
    HeaderValue::try_from(prefix).ok()
}
