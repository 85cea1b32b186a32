//! The headers of a call on its way from the caller into the tunnel: what is taken away and what is added.
//!
//! Everything that is not named here goes through as it came, in its order, all of its values (MCP 2026-07-28,
//! streamable-http: an intermediary must forward `Mcp-Param-*` headers that it does not know).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use llamapool_http::strip_hop_by_hop;
use llamapool_mcp::header as mcp;
use llamapool_wire::header as wire;

use super::outgoing::Bound;
use crate::app::App;
use crate::books::Running;
use crate::plain_answer::BOTH_TYPES;
use crate::public_url::{FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO};

/// Makes a caller's head one that goes into the tunnel.
pub(super) fn prepare(
    app: &App,
    headers: &mut HeaderMap,
    bound: &Bound<'_>,
    call: &Running,
    wants_single_answer: bool,
) {
    let forwarded_for = app.public_url.forwarded_for(headers, bound.admitted.peer);
    strip_hop_by_hop(headers, is_end_to_end);
    // The edge has answered it.
    headers.remove(header::EXPECT);
    headers.remove(header::HOST);
    remove_own(headers);
    app.auth.withhold_own_keys(headers);
    headers.remove(wire::REQUEST_ID);
    headers.extend(forwarded_for.map(|callers| (FORWARDED_FOR, callers)));
    if let Some(address) = bound.address {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(address.scheme));
        headers
            .extend(HeaderValue::from_str(&address.authority).map(|host| (FORWARDED_HOST, host)));
    }
    headers.extend(HeaderValue::from_str(&call.req_id).map(|id| (wire::REQUEST_ID, id)));
    if wants_single_answer {
        headers.insert(header::ACCEPT, BOTH_TYPES);
    }
}

/// Takes away what only llamapool itself may say, also of the caller: a provider believes what a proxy before it says.
fn remove_own(headers: &mut HeaderMap) {
    let is_own = |name: &&HeaderName| {
        let is_stated = [wire::PREFIX, "x-forwarded-"]
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix));
        is_stated || ["forwarded", "x-real-ip"].contains(&name.as_str())
    };
    let own: Vec<_> = headers.keys().filter(is_own).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

/// Whether a header is meant for the provider whatever `Connection` says of it.
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
