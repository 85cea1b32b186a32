//! The headers of requests to the provider and of its responses.

use http::header::{self, HeaderMap, HeaderName};
use http::{Response, StatusCode};
use llamapool_http::{remove_headers, sse, strip_hop_by_hop};
use llamapool_mcp::header as mcp;
use llamapool_tunnel::header_bytes;
use llamapool_wire::{CallError, Cause, header as wire};

/// Room for the status, and for the headers that this side adds.
const ADDED_BYTES: usize = 256;

/// Removes the headers that the provider must not see, and adds `extra`, which only it may see.
/// With `is_token_ours`, `Authorization` has the relay's own token and is removed.
pub(super) fn prepare_request(headers: &mut HeaderMap, extra: &HeaderMap, is_token_ours: bool) {
    clean_response(headers);
    headers.remove(header::HOST);
    // The server has checked it; a provider that checks too would compare it with its own address.
    headers.remove(header::ORIGIN);
    if is_token_ours {
        headers.remove(header::AUTHORIZATION);
    }

    for name in extra.keys() {
        headers.remove(name);
    }
    for (name, value) in extra {
        headers.append(name, value.clone());
    }
}

/// Removes the headers of one hop, and those that only llamapool itself may set.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers, is_end_to_end);
    remove_headers(headers, |name| name.as_str().starts_with(wire::PREFIX));
}

/// Checks that the head of a response fits through the tunnel. Here the error can name the provider.
pub(super) fn check_size(headers: &HeaderMap, max_bytes: u32) -> Result<(), CallError> {
    let bytes = header_bytes(headers);
    if bytes + ADDED_BYTES <= max_bytes as usize {
        return Ok(());
    }
    let message = format!(
        "the provider's answer has headers of {bytes} bytes, more than the {max_bytes} that TUNNEL_MAX_HEADER_BYTES allows"
    );
    Err(CallError::new(Cause::ProviderGarbage, message))
}

/// Returns whether a response is an event stream that is not encoded.
pub(super) fn is_plain_event_stream<B>(response: &Response<B>) -> bool {
    sse::is_event_stream(response.headers())
        && response.status() == StatusCode::OK
        && !response.headers().contains_key(header::CONTENT_ENCODING)
}

/// Returns whether a header is kept although `Connection` names it. A request from the tunnel has
/// no header of this hop, and the headers that a provider names in `Connection` are its own affair,
/// except for the session.
fn is_end_to_end(name: &HeaderName) -> bool {
    name.as_str().starts_with(mcp::PREFIX)
}
