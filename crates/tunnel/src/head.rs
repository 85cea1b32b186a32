//! The head of a message, before it goes into the tunnel: one that is too large is refused here, because the peer's
//! HTTP/2 takes a head that is far too large for an attack and ends the tunnel of all calls.

use http::{HeaderMap, request, response};

pub(crate) fn check_request(head: &request::Parts, max_bytes: u32) -> Result<(), String> {
    let uri = &head.uri;
    let line = head.method.as_str().len()
        + uri.scheme_str().map_or(0, str::len)
        + uri.authority().map_or(0, |authority| authority.as_str().len())
        + uri.path_and_query().map_or(0, |path| path.as_str().len());
    check(&head.headers, line, max_bytes)
}

pub(crate) fn check_response(head: &response::Parts, max_bytes: u32) -> Result<(), String> {
    check(&head.headers, 0, max_bytes)
}

fn check(headers: &HeaderMap, line: usize, max_bytes: u32) -> Result<(), String> {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum::<usize>();
    let bytes = fields + line + PSEUDO_HEADER_BYTES;
    // The peer's HTTP/2 takes what is below the limit, not what reaches it.
    if bytes >= max_bytes as usize {
        return Err(format!("its head has {bytes} bytes, expected less than {max_bytes}"));
    }
    Ok(())
}

/// What HTTP/2 counts for every field on top of its name and value (RFC 9113, 6.5.2), in bytes.
const FIELD_BYTES: usize = 32;
/// The same for `:method`, `:scheme`, `:authority` and `:path`, with their names.
const PSEUDO_HEADER_BYTES: usize = 4 * FIELD_BYTES + 29;
