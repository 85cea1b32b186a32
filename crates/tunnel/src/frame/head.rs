//! The head of a request or a response, and its bytes in the tunnel.
//!
//! A request is its method and its target, each behind its length (2 and 4 bytes); a response is
//! its status (2 bytes). The header fields follow in their order: the lengths of name and value (2
//! and 4 bytes), name, value. Nothing is compressed: see
//! [docs/design/0001-tunnel.md](../../../../docs/design/0001-tunnel.md).
//!
//! The one rule: a header without a place in a tunnel is refused here, in both directions.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request,
    response,
};

/// Bytes counted for each header field on top of its name and value: as HTTP/2 counts (RFC 9113,
/// 6.5.2), so that the limit means the same here.
const FIELD_BYTES: usize = 32;
/// The same for the method, scheme, authority and path of a request.
const LINE_BYTES: usize = 4 * FIELD_BYTES + 29;
/// Capacity for header fields that most heads stay within. More fields cost another allocation.
const USUAL_FIELDS: usize = 16;

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
pub(crate) fn check_request(head: &request::Parts, max_bytes: u32) -> Result<(), HeadError> {
    if head.headers.keys().any(is_connection_header) {
        return Err(HeadError::ConnectionHeader);
    }
    let method_length = head.method.as_str().len();
    if method_length > usize::from(u16::MAX) {
        return Err(HeadError::MethodTooLong);
    }

    let line_length = method_length + target_length(&head.uri);
    check_size(&head.headers, line_length, max_bytes)
}

/// Checks that the head of a response can be sent to a peer that accepts less than `max_bytes`.
pub(crate) fn check_response(head: &response::Parts, max_bytes: u32) -> Result<(), HeadError> {
    check_size(&head.headers, 0, max_bytes)
}

/// Returns the size of headers as the limit of [`TunnelConfig`](crate::TunnelConfig) counts them.
pub fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES)
        .sum()
}

fn check_size(headers: &HeaderMap, line_length: usize, max_bytes: u32) -> Result<(), HeadError> {
    let bytes = header_bytes(headers) + line_length + LINE_BYTES;

    if bytes >= max_bytes as usize {
        return Err(HeadError::TooLarge { bytes, max_bytes });
    }
    Ok(())
}

/// Appends the head of a request that [`check_request`] has accepted.
pub(crate) fn write_request(head: &request::Parts, out: &mut BytesMut) {
    let method = head.method.as_str();
    out.put_u16(method.len() as u16);
    out.extend_from_slice(method.as_bytes());

    out.put_u32(target_length(&head.uri) as u32);
    for part in target(&head.uri) {
        out.extend_from_slice(part.as_bytes());
    }

    write_fields(&head.headers, out);
}

/// Appends the head of a response, without the headers that belong to one connection.
pub(crate) fn write_response(head: &response::Parts, out: &mut BytesMut) {
    out.put_u16(head.status.as_u16());
    write_fields(&head.headers, out);
}

fn write_fields(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        if is_connection_header(name) {
            continue;
        }
        let name = name.as_str().as_bytes();
        out.put_u16(name.len() as u16);
        out.put_u32(value.len() as u32);
        out.extend_from_slice(name);
        out.extend_from_slice(value.as_bytes());
    }
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
pub(crate) fn read_request(mut head: Bytes) -> Result<Request<()>, MalformedHeadError> {
    let method_length = read_u16(&mut head)?;
    let method = take(&mut head, method_length)?;
    let target_length = read_u32(&mut head)?;
    let target = take(&mut head, target_length)?;

    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&method).map_err(|_| MalformedHeadError)?;
    *request.uri_mut() = Uri::from_maybe_shared(target).map_err(|_| MalformedHeadError)?;
    *request.headers_mut() = read_fields(head)?;
    Ok(request)
}

/// Parses the head of a final response. Informational ones (1xx) end at the hop that receives them,
/// so one of those is an error.
pub(crate) fn read_response(mut head: Bytes) -> Result<Response<()>, MalformedHeadError> {
    let code = head.try_get_u16().map_err(|_| MalformedHeadError)?;
    let status = StatusCode::from_u16(code).map_err(|_| MalformedHeadError)?;
    if status.is_informational() {
        return Err(MalformedHeadError);
    }

    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = read_fields(head)?;
    Ok(response)
}

fn read_fields(mut head: Bytes) -> Result<HeaderMap, MalformedHeadError> {
    let mut headers = HeaderMap::with_capacity(USUAL_FIELDS);
    while head.has_remaining() {
        let name_length = read_u16(&mut head)?;
        let value_length = read_u32(&mut head)?;
        let name = take(&mut head, name_length)?;
        let value = take(&mut head, value_length)?;

        let name = HeaderName::from_lowercase(&name).map_err(|_| MalformedHeadError)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| MalformedHeadError)?;
        if is_connection_header(&name) {
            return Err(MalformedHeadError);
        }
        headers
            .try_append(name, value)
            .map_err(|_| MalformedHeadError)?;
    }
    Ok(headers)
}

fn read_u16(head: &mut Bytes) -> Result<usize, MalformedHeadError> {
    head.try_get_u16()
        .map(usize::from)
        .map_err(|_| MalformedHeadError)
}

fn read_u32(head: &mut Bytes) -> Result<usize, MalformedHeadError> {
    head.try_get_u32()
        .map(|length| length as usize)
        .map_err(|_| MalformedHeadError)
}

fn take(head: &mut Bytes, length: usize) -> Result<Bytes, MalformedHeadError> {
    if head.len() < length {
        return Err(MalformedHeadError);
    }
    Ok(head.split_to(length))
}

/// Returns whether a header belongs to one connection, and so has no meaning in the tunnel (RFC
/// 9113, 8.2.2).
fn is_connection_header(name: &HeaderName) -> bool {
    name == CONNECTION
        || name == TRANSFER_ENCODING
        || name == UPGRADE
        || name == "keep-alive"
        || name == "proxy-connection"
}

#[cfg(test)]
mod tests {
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
        write_request(&request.into_parts().0, &mut bytes);

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
        write_response(&response.into_parts().0, &mut bytes);

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
            let request = Request::get(target).body(()).unwrap().into_parts().0;

            let mut bytes = BytesMut::new();
            write_request(&request, &mut bytes);
            let parsed = read_request(bytes.freeze()).unwrap();

            assert_eq!(parsed.uri(), &request.uri, "{target}");
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
    fn a_response_loses_its_connection_headers() {
        let response = Response::builder()
            .header("connection", "close")
            .header("keep-alive", "1")
            .header("x", "1")
            .body(())
            .unwrap();

        let mut bytes = BytesMut::new();
        write_response(&response.into_parts().0, &mut bytes);
        let parsed = read_response(bytes.freeze()).unwrap();

        let names: Vec<_> = parsed.headers().keys().collect();
        assert_eq!(names, ["x"]);
    }

    proptest! {
        #[test]
        fn fields_survive_a_round_trip_in_order(
            fields in proptest::collection::vec(("[a-d]{1,3}", "[ -~]{0,20}"), 0..30),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                let name = HeaderName::try_from(name).unwrap();
                headers.append(name, HeaderValue::try_from(value).unwrap());
            }

            let mut bytes = BytesMut::new();
            write_fields(&headers, &mut bytes);
            let parsed = read_fields(bytes.freeze()).unwrap();

            let parsed: Vec<_> = parsed.iter().collect();
            prop_assert_eq!(parsed, headers.iter().collect::<Vec<_>>());
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
