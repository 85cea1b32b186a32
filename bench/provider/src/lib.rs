//! The responses of an MCP server that does as little as possible. Both echo programs use them, so
//! that a call costs the same behind HTTP and behind a pipe.
//!
//! The id of a request is copied from its text. Of the rest, only the method is looked for.

pub mod server;

use memchr::memmem;

/// The size of the bodies of calls to an LLM, and of the MCP calls beside them.
pub const BODY_BYTES: usize = 1024;

/// Appends the response to `message` to `out`, without a line end. Appends nothing if `message` is a
/// notification.
pub fn answer(message: &[u8], out: &mut Vec<u8>) {
    let Some(id) = id(message) else { return };

    let result: &[u8] = if memmem::find(message, b"\"tools/call\"").is_some() {
        br#"{"content":[{"type":"text","text":"ok"}],"resultType":"complete"}"#
    } else if memmem::find(message, b"\"initialize\"").is_some() {
        br#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"0"}}"#
    } else if memmem::find(message, b"\"server/discover\"").is_some() {
        br#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete"}"#
    } else if memmem::find(message, b"\"tools/list\"").is_some() {
        br#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}],"resultType":"complete"}"#
    } else if let Some(list) = other_list(message) {
        list
    } else {
        b"{}"
    };

    for part in [
        br#"{"jsonrpc":"2.0","id":"#,
        id,
        br#","result":"#,
        result,
        b"}",
    ] {
        out.extend_from_slice(part);
    }
}

/// Appends the response to a `tools/call` to `out`, of so many bytes in total.
pub fn answer_of_size(message: &[u8], bytes: usize, out: &mut Vec<u8>) {
    let Some(id) = id(message) else { return };

    const HEAD: &[u8] = br#","result":{"content":[{"type":"text","text":""#;
    const TAIL: &[u8] = br#""}],"resultType":"complete"}}"#;
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id);
    out.extend_from_slice(HEAD);
    out.resize(out.len().max(bytes.saturating_sub(TAIL.len())), b'w');
    out.extend_from_slice(TAIL);
}

/// Returns an empty list for the methods that gateways call when they make an inventory, although
/// the capabilities do not contain them.
fn other_list(message: &[u8]) -> Option<&'static [u8]> {
    let lists: [(&[u8], &[u8]); 3] = [
        (
            b"\"resources/list\"",
            br#"{"resources":[],"resultType":"complete"}"#,
        ),
        (
            b"\"resources/templates/list\"",
            br#"{"resourceTemplates":[],"resultType":"complete"}"#,
        ),
        (
            b"\"prompts/list\"",
            br#"{"prompts":[],"resultType":"complete"}"#,
        ),
    ];
    lists
        .into_iter()
        .find(|(method, _)| memmem::find(message, method).is_some())
        .map(|(_, list)| list)
}

/// Returns the text of the id. A client that writes it behind `params` must have no key of that name
/// in there.
fn id(message: &[u8]) -> Option<&[u8]> {
    let start = memmem::find(message, b"\"id\":")? + 5;
    let end = memchr::memchr2(b',', b'}', &message[start..])?;
    Some(message[start..start + end].trim_ascii())
}
