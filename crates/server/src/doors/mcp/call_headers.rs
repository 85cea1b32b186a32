//! The headers of a call on its way from the caller into the tunnel: those that are removed and
//! those that are added.
//!
//! Everything that is not named here goes through as it came, in its order, all of its values (MCP
//! 2026-07-28, streamable-http: an intermediary must forward unrecognized `Mcp-Param-*` headers).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use llamapool_http::{remove_headers, reserved, strip_hop_by_hop};
use llamapool_mcp::header as mcp;
use llamapool_wire::{CallerTag, header as wire};

use crate::auth::Auth;
use crate::listen::{Address, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO};

/// The values that a call's headers get on their way.
pub(super) struct Forwarding<'a> {
    /// Withholds the server's own keys.
    pub(super) auth: &'a Auth,
    /// The addresses of the caller and of the proxies before this server.
    pub(super) forwarded_for: Option<HeaderValue>,
    /// The tag by which the relay counts what the caller holds.
    pub(super) caller: CallerTag,
    /// The public address, as the caller reaches it.
    pub(super) address: Option<&'a Address>,
    /// The media types that are asked for in place of the caller's.
    pub(super) accept: Option<HeaderValue>,
}

/// Makes a caller's headers those that go into the tunnel.
pub(super) fn rewrite(headers: &mut HeaderMap, forwarding: Forwarding<'_>, req_id: &str) {
    strip_hop_by_hop(headers, is_end_to_end);
    // The server has answered it.
    headers.remove(header::EXPECT);
    headers.remove(header::HOST);
    remove_headers(headers, |name| {
        is_own(name) || reserved::is_reserved_in_request(name)
    });
    forwarding.auth.withhold_own_keys(headers);
    headers.remove(wire::REQUEST_ID);

    headers.insert(wire::CALLER, forwarding.caller.to_header());
    let forwarded_for = forwarding.forwarded_for;
    headers.extend(forwarded_for.map(|callers| (FORWARDED_FOR, callers)));
    if let Some(address) = forwarding.address {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(address.scheme));
        let host = HeaderValue::from_str(&address.authority);
        headers.extend(host.map(|host| (FORWARDED_HOST, host)));
    }
    let req_id = HeaderValue::from_str(req_id);
    headers.extend(req_id.map(|id| (wire::REQUEST_ID, id)));
    if let Some(accept) = forwarding.accept {
        headers.insert(header::ACCEPT, accept);
    }
}

/// Returns whether a header is one of llamapool's own, in any spelling.
fn is_own(name: &HeaderName) -> bool {
    name.as_str().starts_with('l') && reserved::folded(name).starts_with(wire::PREFIX)
}

/// Returns whether a header is meant for the provider even if `Connection` lists it.
pub(super) fn is_end_to_end(name: &HeaderName) -> bool {
    const ALWAYS: [HeaderName; 9] = [
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::HOST,
        header::ORIGIN,
        mcp::LAST_EVENT_ID,
    ];
    name.as_str().starts_with(mcp::PREFIX) || ALWAYS.contains(name)
}
