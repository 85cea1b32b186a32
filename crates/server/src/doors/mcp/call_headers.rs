//! The headers of a call on its way from the caller into the tunnel: those that are removed and
//! those that are added.
//!
//! Everything that is not named here goes through as it came, in its order, all of its values (MCP
//! 2026-07-28, streamable-http: an intermediary must forward unrecognized `Mcp-Param-*` headers).

use axum::http::{HeaderName, HeaderValue, header};
use llamapool_head::Fields;
use llamapool_http::{reserved, strip_fields};
use llamapool_mcp::header as mcp;
use llamapool_wire::header as wire;

use crate::auth::Auth;
use crate::listen::{Address, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO};

/// The values that a call's headers get on their way.
pub(super) struct Forwarding<'a> {
    /// Withholds the server's own keys.
    pub(super) auth: &'a Auth,
    /// The addresses of the caller and of the proxies before this server.
    pub(super) forwarded_for: Option<HeaderValue>,
    /// The tag by which the relay counts what the caller holds.
    pub(super) caller: HeaderValue,
    /// The public address, as the caller reaches it.
    pub(super) address: Option<&'a Address>,
    /// The media types that are asked for in place of the caller's.
    pub(super) accept: Option<HeaderValue>,
}

/// Makes a caller's headers those that go into the tunnel.
pub(super) fn rewrite(fields: &mut Fields, forwarding: Forwarding<'_>, req_id: &str) {
    strip_fields(fields, is_end_to_end, |name| {
        // The server has answered the first.
        matches!(name, b"expect" | b"host" | b"x-request-id")
            || is_own(name)
            || reserved::is_reserved_in_request(name)
    });
    forwarding.auth.withhold_own_keys(fields);

    fields.append(&wire::CALLER, &forwarding.caller);
    if let Some(callers) = forwarding.forwarded_for {
        fields.append(&FORWARDED_FOR, &callers);
    }
    if let Some(address) = forwarding.address {
        let scheme = HeaderValue::from_static(address.scheme);
        fields.append(&FORWARDED_PROTO, &scheme);
        // Both are valid in a header: one was parsed as an authority, the other is visible ASCII.
        let _ = fields.append_bytes(&FORWARDED_HOST, address.authority.as_bytes());
    }
    let _ = fields.append_bytes(&wire::REQUEST_ID, req_id.as_bytes());
    if let Some(accept) = forwarding.accept {
        fields.insert(&header::ACCEPT, &accept);
    }
}

/// Returns whether a header is one of llamapool's own, in any spelling.
fn is_own(name: &[u8]) -> bool {
    name.starts_with(b"l") && reserved::folded_bytes(name).starts_with(wire::PREFIX.as_bytes())
}

/// Returns whether a header is meant for the provider even if `Connection` lists it.
pub(super) fn is_end_to_end(name: &[u8]) -> bool {
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
    let is_always = || {
        ALWAYS
            .iter()
            .any(|always| always.as_str().as_bytes() == name)
    };
    name.starts_with(mcp::PREFIX.as_bytes()) || is_always()
}
