//! The head of a request or a response, and its bytes in the tunnel.
//!
//! A request is its method and its target, each behind its length (2 and 4 bytes); a response is
//! its status (2 bytes). The header fields follow in their order: the lengths of name and value (2
//! and 4 bytes), name, value. Nothing is compressed: see
//! [docs/design/0001-tunnel.md](../../../../docs/design/0001-tunnel.md).
//!
//! The one rule: a header without a place in a tunnel is refused here, in both directions.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Uri};
use llamapool_head::{Fields, NameSet, RequestHead, ResponseHead};

/// Bytes counted for each header field on top of its name and value: as HTTP/2 counts (RFC 9113,
/// 6.5.2), so that the limit means the same here.
const FIELD_BYTES: usize = 32;
/// The same for the method, scheme, authority and path of a request.
const LINE_BYTES: usize = 4 * FIELD_BYTES + 29;
/// Size of what precedes each field: the lengths of its name and of its value.
const FIELD_PRELUDE_BYTES: usize = 6;
/// Headers that belong to one connection, and so have no meaning in the tunnel (RFC 9113, 8.2.2).
const OF_CONNECTION: NameSet = NameSet::new(&[
    "connection",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "proxy-connection",
]);
/// Maximum number of fields in a received head: as many as a map of the crate `http` holds.
const MAX_FIELDS: usize = 24 * 1024;

/// The reason why the head of a message cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("a header belongs to one connection")]
    ConnectionHeader,
    #[error("its method has more than {} bytes", u16::MAX)]
    MethodTooLong,
    #[error("its head has {bytes} bytes, expected less than {max_bytes}")]
    TooLarge { bytes: usize, max_bytes: u32 },
}

/// The error of received bytes that are no head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no head of a message")]
pub(crate) struct MalformedHeadError;

/// Checks that the head of a request can be sent to a peer that accepts less than `max_bytes`.
pub(crate) fn check_request(head: &RequestHead, max_bytes: u32) -> Result<(), HeadError> {
    if head.fields.contains_any(&OF_CONNECTION) {
        return Err(HeadError::ConnectionHeader);
    }
    let method_length = head.method.as_str().len();
    if method_length > usize::from(u16::MAX) {
        return Err(HeadError::MethodTooLong);
    }

    let line_length = method_length + target_length(&head.uri);
    check_size(&head.fields, line_length, max_bytes)
}

/// Checks that the head of a response can be sent to a peer that accepts less than `max_bytes`.
pub(crate) fn check_response(head: &ResponseHead, max_bytes: u32) -> Result<(), HeadError> {
    check_size(&head.fields, 0, max_bytes)
}

/// Returns the size of headers as the limit of [`TunnelConfig`](crate::TunnelConfig) counts them.
pub fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES)
        .sum()
}

/// Returns the size of fields as the limit of [`TunnelConfig`](crate::TunnelConfig) counts them.
pub fn field_bytes(fields: &Fields) -> usize {
    fields.content_bytes() + fields.len() * FIELD_BYTES
}

fn check_size(fields: &Fields, line_length: usize, max_bytes: u32) -> Result<(), HeadError> {
    let bytes = field_bytes(fields) + line_length + LINE_BYTES;

    if bytes >= max_bytes as usize {
        return Err(HeadError::TooLarge { bytes, max_bytes });
    }
    Ok(())
}

/// Appends the head of a request that [`check_request`] has accepted.
pub(crate) fn write_request(head: &RequestHead, out: &mut BytesMut) {
    let method = head.method.as_str().as_bytes();
    let target = target(&head.uri);
    let target_length = target_length(&head.uri);

    let length = 2 + method.len() + 4 + target_length + fields_length(&head.fields);
    write_within(out, length, |room| {
        let room = put(room, &(method.len() as u16).to_be_bytes());
        let room = put(room, method);
        let room = put(room, &(target_length as u32).to_be_bytes());
        let room = target
            .into_iter()
            .fold(room, |room, part| put(room, part.as_bytes()));
        write_fields(&head.fields, room)
    });
}

/// Appends the head of a response, without the headers that belong to one connection.
pub(crate) fn write_response(head: &ResponseHead, out: &mut BytesMut) {
    let length = 2 + fields_length(&head.fields);
    write_within(out, length, |room| {
        let room = put(room, &head.status.as_u16().to_be_bytes());
        write_fields(&head.fields, room)
    });
}

/// Returns the length of fields in a head.
fn fields_length(fields: &Fields) -> usize {
    fields.content_bytes() + fields.len() * FIELD_PRELUDE_BYTES
}

/// Writes fields to the beginning of a slice, and returns what is left of it.
fn write_fields<'a>(fields: &Fields, mut room: &'a mut [u8]) -> &'a mut [u8] {
    let has_of_connection = fields.contains_any(&OF_CONNECTION);
    for (name, value) in fields.iter_bytes() {
        if has_of_connection && OF_CONNECTION.contains(name) {
            continue;
        }
        let [n0, n1] = (name.len() as u16).to_be_bytes();
        let [v0, v1, v2, v3] = (value.len() as u32).to_be_bytes();
        room = put(room, &[n0, n1, v0, v1, v2, v3]);
        room = put(room, name);
        room = put(room, value);
    }
    room
}

/// Appends what `write` writes to a slice of at most `length` bytes, so that the buffer grows once.
/// `write` returns what it leaves of the slice.
fn write_within(
    out: &mut BytesMut,
    length: usize,
    write: impl for<'a> FnOnce(&'a mut [u8]) -> &'a mut [u8],
) {
    let end = out.len() + length;
    let start = out.len();
    out.resize(end, 0);
    let unused = write(out.get_mut(start..).unwrap_or_default()).len();
    out.truncate(end - unused);
}

/// Writes bytes to the beginning of a slice that has room for them, and returns what is left of it.
#[inline]
fn put<'a>(room: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let Some((place, rest)) = room.split_at_mut_checked(bytes.len()) else {
        return Default::default();
    };
    place.copy_from_slice(bytes);
    rest
}

/// Returns the parts of a target as it was given: a path, or an absolute URI.
fn target(uri: &Uri) -> [&str; 4] {
    let scheme = uri.scheme_str().unwrap_or_default();
    // A scheme can be empty, as in `://host/`.
    let separator = uri.scheme().map_or("", |_| "://");
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    [scheme, separator, authority, path]
}

fn target_length(uri: &Uri) -> usize {
    target(uri).iter().map(|part| part.len()).sum()
}

/// Parses the head of a request.
pub(crate) fn read_request(bytes: Bytes) -> Result<RequestHead, MalformedHeadError> {
    let mut reader = HeadReader::new(&bytes);
    let method_length = reader.u16()?;
    let method = reader.take(usize::from(method_length))?;
    let target_length = reader.u32()?;
    let target = reader.take(target_length as usize)?;

    let method = bytes.get(method).ok_or(MalformedHeadError)?;
    Ok(RequestHead {
        method: Method::from_bytes(method).map_err(|_| MalformedHeadError)?,
        uri: Uri::from_maybe_shared(bytes.slice(target)).map_err(|_| MalformedHeadError)?,
        fields: read_fields(&bytes, reader)?,
    })
}

/// Parses the head of a final response. Informational ones (1xx) end at the hop that receives them,
/// so one of those is an error.
pub(crate) fn read_response(bytes: Bytes) -> Result<ResponseHead, MalformedHeadError> {
    let mut reader = HeadReader::new(&bytes);
    let status = StatusCode::from_u16(reader.u16()?).map_err(|_| MalformedHeadError)?;
    if status.is_informational() {
        return Err(MalformedHeadError);
    }
    let fields = read_fields(&bytes, reader)?;
    Ok(ResponseHead { status, fields })
}

/// Parses the fields in the rest of a head.
fn read_fields(bytes: &Bytes, mut reader: HeadReader<'_>) -> Result<Fields, MalformedHeadError> {
    let mut fields = Fields::of_received(bytes.clone());
    while !reader.is_at_end() {
        let [n0, n1, v0, v1, v2, v3] = reader.array()?;
        let name_length = usize::from(u16::from_be_bytes([n0, n1]));
        let value_length = u32::from_be_bytes([v0, v1, v2, v3]) as usize;
        if !fields.push_adjacent(reader.at, name_length, value_length) {
            return Err(MalformedHeadError);
        }
        reader.at += name_length + value_length;
    }

    if fields.len() > MAX_FIELDS || fields.contains_any(&OF_CONNECTION) {
        return Err(MalformedHeadError);
    }
    Ok(fields)
}

/// Reads lengths and what they announce from the bytes of a head.
struct HeadReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> HeadReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn u16(&mut self) -> Result<u16, MalformedHeadError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, MalformedHeadError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedHeadError> {
        let rest = self.bytes.get(self.at..).ok_or(MalformedHeadError)?;
        self.at += N;
        rest.first_chunk().copied().ok_or(MalformedHeadError)
    }

    /// Takes so many bytes, and returns their place.
    #[inline]
    fn take(&mut self, length: usize) -> Result<Range<usize>, MalformedHeadError> {
        let start = self.at;
        if self.bytes.len() - start < length {
            return Err(MalformedHeadError);
        }
        self.at += length;
        Ok(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request, Response};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_has_the_bytes_of_the_table() {
        let request = Request::post("/mcp/a?b")
            .header("x", "1")
            .header("x", "2")
            .body(())
            .unwrap();

        let mut bytes = BytesMut::new();
        write_request(&RequestHead::of(&request), &mut bytes);

        assert_eq!(
            &bytes[..],
            b"\0\x04POST\0\0\0\x08/mcp/a?b\0\x01\0\0\0\x01x1\0\x01\0\0\0\x01x2"
        );
    }

    #[test]
    fn a_response_has_the_bytes_of_the_table() {
        let response = Response::builder()
            .status(202)
            .header("a-b", "")
            .body(())
            .unwrap();

        let mut bytes = BytesMut::new();
        write_response(&ResponseHead::of(&response), &mut bytes);

        assert_eq!(&bytes[..], b"\0\xca\0\x03\0\0\0\0a-b");
    }

    #[test]
    fn targets_survive_a_round_trip() {
        let targets = [
            "/",
            "*",
            "/a?b=c",
            "http://relay/a?b",
            "http://relay:1/",
            "/%20//x?",
            "://relay/?",
        ];
        for target in targets {
            let request = RequestHead::of(&Request::get(target).body(()).unwrap());

            let mut bytes = BytesMut::new();
            write_request(&request, &mut bytes);
            let parsed = read_request(bytes.freeze()).unwrap();

            assert_eq!(parsed.uri, request.uri, "{target}");
        }
    }

    #[test]
    fn malformed_request_heads_are_refused() {
        let heads = [
            &b""[..],
            b"\0\x04POS",
            b"\0\x01 \0\0\0\x01/",
            b"\0\x03GET\0\0\0\x02/",
            b"\0\x03GET\0\0\0\x01 ",
            b"\0\x03GET\0\0\0\x01/\0",
            b"\0\x03GET\0\0\0\x01/\0\x01\0\0\0\x02x1",
            b"\0\x03GET\0\0\0\x01/\0\x01\0\0\0\x01X1",
            b"\0\x03GET\0\0\0\x01/\0\x01\0\0\0\x01x\n",
            b"\0\x03GET\0\0\0\x01/\0\0\0\0\0\x011",
            b"\0\x03GET\0\0\0\x01/\0\x0a\0\0\0\x01connectionx",
            b"\0\x03GET\0\0\0\x01/\0\x11\0\0\0\x01transfer-encodingx",
        ];
        for head in heads {
            let result = read_request(Bytes::copy_from_slice(head));

            assert_eq!(result.err(), Some(MalformedHeadError), "{head:?}");
        }
    }

    #[test]
    fn malformed_response_heads_are_refused() {
        let heads = [
            &b""[..],
            b"\0",
            b"\0\x63",
            b"\0\x64",
            b"\0\x67",
            b"\x03\xe8",
            b"\0\xc8\0",
        ];
        for head in heads {
            let result = read_response(Bytes::copy_from_slice(head));

            assert_eq!(result.err(), Some(MalformedHeadError), "{head:?}");
        }
    }

    #[test]
    fn a_head_with_more_fields_than_a_map_holds_is_refused() {
        let field = b"\0\x01\0\0\0\0x";
        for (count, is_accepted) in [(MAX_FIELDS, true), (MAX_FIELDS + 1, false)] {
            let mut bytes = BytesMut::from(&b"\0\xc8"[..]);
            (0..count).for_each(|_| bytes.extend_from_slice(field));

            let result = read_response(bytes.freeze());

            assert_eq!(result.is_ok(), is_accepted, "{count}");
        }
    }

    #[test]
    fn a_response_loses_its_connection_headers() {
        let response = Response::builder()
            .header("connection", "close")
            .header("keep-alive", "1")
            .header("x", "1")
            .body(())
            .unwrap();

        let mut bytes = BytesMut::new();
        write_response(&ResponseHead::of(&response), &mut bytes);
        let parsed = read_response(bytes.freeze()).unwrap();

        let names: Vec<_> = parsed.fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x"]);
    }

    proptest! {
        #[test]
        fn fields_survive_a_round_trip_in_order(
            fields in proptest::collection::vec(("[a-d]{1,3}", "[ -~]{0,20}"), 0..30),
        ) {
            let mut head = ResponseHead::default();
            for (name, value) in &fields {
                let name = HeaderName::try_from(name).unwrap();
                head.fields.append(&name, &HeaderValue::try_from(value).unwrap());
            }

            let mut bytes = BytesMut::new();
            write_response(&head, &mut bytes);
            let parsed = read_response(bytes.freeze()).unwrap();

            let parsed: Vec<_> = parsed.fields.iter().collect();
            prop_assert_eq!(parsed, head.fields.iter().collect::<Vec<_>>());
        }

        #[test]
        fn random_bytes_are_a_head_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read_request(Bytes::from(bytes.clone()));
            let _ = read_response(Bytes::from(bytes));
        }
    }
}
