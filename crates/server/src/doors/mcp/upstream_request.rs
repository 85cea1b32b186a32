//! The request as it goes into the tunnel.

use axum::body::Body;
use axum::http::Method;
use llamapool_head::RequestHead;
use llamapool_http::{Alarm, LimitedBody, reserved};
use llamapool_mcp::MethodLabel;
use llamapool_mcp::header::SESSION_ID;
use llamapool_tunnel::OutgoingBody;
use llamapool_wire::{CallError, header as wire, path};

use super::admission::Admission;
use super::call_headers::{self, Forwarding};
use super::context::McpDoor;
use super::cookies;
use super::method_sniffer::{self, MethodSniffer};
use super::session_seal::Scope;
use super::sse_to_json::{BOTH_TYPES, accepts_anything};
use super::target::Target;
use crate::calls::{CallGuard, CallRequest, LimitedRequest};

/// A request that is ready to be sent.
pub(super) struct UpstreamRequest<'c> {
    pub(super) head: Box<RequestHead>,
    pub(super) body: OutgoingBody<MethodSniffer<LimitedBody<Body>>>,
    /// Set if the caller takes a single answer instead of an event stream.
    pub(super) wants_single_answer: bool,
    /// The timer of the connection that it came on.
    pub(super) alarm: &'c mut Alarm,
}

/// The destination of a request.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) target: &'a Target,
    pub(super) admission: &'a Admission,
    /// Whether the operator trusts the pages of the id.
    pub(super) is_trusted: bool,
}

/// Makes the request that goes into the tunnel of a caller's request.
pub(super) async fn prepare<'c>(
    door: &McpDoor,
    destination: Destination<'_>,
    call: &mut CallGuard<MethodLabel>,
    request: CallRequest<'c>,
) -> Result<UpstreamRequest<'c>, CallError> {
    let Destination {
        target,
        admission,
        is_trusted,
    } = destination;
    let CallRequest {
        mut head,
        body,
        alarm,
    } = request;
    let body = door.forwarder.limit(&head.fields, body, call).await?;

    let wants_single_answer = head.method == Method::POST && accepts_anything(&head.fields);
    call.call()
        .set_label(MethodLabel::from_name(head.method.as_str()));

    let forwarding = Forwarding {
        caller: admission.caller_tag.clone(),
        auth: &door.auth,
        forwarded_for: admission.facts.forwarded_for.clone(),
        address: admission.facts.address.as_ref(),
        accept: wants_single_answer.then_some(BOTH_TYPES),
    };
    cookies::to_provider(&mut head.fields, &target.id, is_trusted);
    call_headers::rewrite(&mut head.fields, forwarding, &call.call().req_id);
    if let Some(session) = admission.session.clone() {
        // In the place of the sealed one, which means nothing to the provider, in any spelling.
        head.fields.retain_bytes(|name, _| {
            *reserved::folded_bytes(name) != *SESSION_ID.as_str().as_bytes()
        });
        head.fields.append(&SESSION_ID, &session);
    }
    if let Some(prefix) = public_prefix(door, destination) {
        // A path is valid in a header.
        let _ = head
            .fields
            .append_bytes(&wire::PUBLIC_PREFIX, prefix.as_bytes());
    }
    head.uri = target.in_tunnel.clone();
    let body = match body {
        LimitedRequest::Whole(bytes) => {
            method_sniffer::label(&head.fields, &bytes, call.call());
            OutgoingBody::Whole(bytes)
        }
        LimitedRequest::Stream(body) => {
            let call = call.call().clone();
            OutgoingBody::Stream(MethodSniffer::new(body, &head.fields, call))
        }
    };
    Ok(UpstreamRequest {
        head,
        body,
        wants_single_answer,
        alarm,
    })
}

/// Returns the prefix of all public URLs of this id, for a relay whose provider announces an
/// endpoint. Where relays share the id it names this one.
fn public_prefix(door: &McpDoor, destination: Destination<'_>) -> Option<String> {
    let Destination {
        target, admission, ..
    } = destination;
    let address = admission.facts.address.as_ref();
    let public_path = address
        .map(|address| address.path.as_str())
        .unwrap_or_default();

    let mut prefix = [public_path, path::MCP_BY_ID, target.id.as_str()].concat();
    if admission.is_shared {
        let tag = admission.member.tag;
        let place = door
            .seal
            .seal(Scope::place(&target.id, admission.key.as_deref()), tag, b"")?;
        prefix.push_str(path::AT);
        prefix.push_str(&place);
    }
    Some(prefix)
}
