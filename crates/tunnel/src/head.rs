//! The head of a request or an answer, and its bytes in the tunnel.
//!
//! A request is its method and its target, each behind its length (2 and 4 bytes); an answer is its status (2 bytes). Then
//! come the fields, in their order: the lengths of name and value (2 and 4 bytes), name, value. Nothing is compressed: see
//! [docs/design/0001-tunnel.md](../../../docs/design/0001-tunnel.md).
//!
//! The one rule: what has no place in a tunnel is refused here, on its way in and on its way out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request,
    response,
};

use crate::server_end::SendError;

/// What counts for every field on top of its name and value, in bytes: what HTTP/2 counts (RFC 9113, 6.5.2), so that the
/// limit means what it means there.
const FIELD_BYTES: usize = 32;
/// The same for the method, scheme, authority and path of a request.
const LINE_BYTES: usize = 4 * FIELD_BYTES + 29;

/// What a head is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no head of a message")]
pub(crate) struct NoHead;

/// Whether the head of a request can be sent.
pub(crate) fn check_request(head: &request::Parts, max_bytes: u32) -> Result<(), SendError> {
    if head.headers.keys().any(is_of_one_connection) {
        return Err(SendError::Malformed(
            "a header belongs to one connection".into(),
        ));
    }
    if head.method.as_str().len() > usize::from(u16::MAX) {
        return Err(SendError::Malformed(format!(
            "its method has more than {} bytes",
            u16::MAX
        )));
    }
    check_size(
        &head.headers,
        head.method.as_str().len() + target_length(&head.uri),
        max_bytes,
    )
    .map_err(SendError::HeadTooLarge)
}

/// Whether the head of an answer can be sent.
pub(crate) fn fits_response(head: &response::Parts, max_bytes: u32) -> bool {
    check_size(&head.headers, 0, max_bytes).is_ok()
}

fn check_size(headers: &HeaderMap, line: usize, max_bytes: u32) -> Result<(), String> {
    let fields = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES)
        .sum::<usize>();
    let bytes = fields + line + LINE_BYTES;
    if bytes >= max_bytes as usize {
        return Err(format!(
            "its head has {bytes} bytes, expected less than {max_bytes}"
        ));
    }
    Ok(())
}

/// Writes the head of a request, which was checked.
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

/// Writes the head of an answer, without the fields that belong to one connection.
pub(crate) fn write_response(head: &response::Parts, out: &mut BytesMut) {
    out.put_u16(head.status.as_u16());
    write_fields(&head.headers, out);
}

fn write_fields(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        if is_of_one_connection(name) {
            continue;
        }
        let name = name.as_str().as_bytes();
        out.put_u16(name.len() as u16);
        out.put_u32(value.len() as u32);
        out.extend_from_slice(name);
        out.extend_from_slice(value.as_bytes());
    }
}

/// A target as it was given: a path, or a whole address.
fn target(uri: &Uri) -> [&str; 4] {
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    [
        scheme,
        if scheme.is_empty() { "" } else { "://" },
        authority,
        path,
    ]
}

fn target_length(uri: &Uri) -> usize {
    target(uri).iter().map(|part| part.len()).sum()
}

/// Reads the head of a request.
pub(crate) fn read_request(mut head: Bytes) -> Result<Request<()>, NoHead> {
    let length = head.try_get_u16().map_err(|_| NoHead)?;
    let method = Method::from_bytes(&take(&mut head, length.into())?).map_err(|_| NoHead)?;
    let length = head.try_get_u32().map_err(|_| NoHead)?;
    let uri = Uri::from_maybe_shared(take(&mut head, length as usize)?).map_err(|_| NoHead)?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = read_fields(head)?;
    Ok(request)
}

/// Reads the head of an answer, which is a last one: what only announces another (1xx) ends at the hop that gets it.
pub(crate) fn read_response(mut head: Bytes) -> Result<Response<()>, NoHead> {
    let status =
        StatusCode::from_u16(head.try_get_u16().map_err(|_| NoHead)?).map_err(|_| NoHead)?;
    if status.is_informational() {
        return Err(NoHead);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = read_fields(head)?;
    Ok(response)
}

fn read_fields(mut head: Bytes) -> Result<HeaderMap, NoHead> {
    let mut headers = HeaderMap::with_capacity(USUAL_FIELDS);
    while head.has_remaining() {
        let name = head.try_get_u16().map_err(|_| NoHead)?;
        let value = head.try_get_u32().map_err(|_| NoHead)?;
        let name =
            HeaderName::from_lowercase(&take(&mut head, name.into())?).map_err(|_| NoHead)?;
        let value =
            HeaderValue::from_maybe_shared(take(&mut head, value as usize)?).map_err(|_| NoHead)?;
        if is_of_one_connection(&name) {
            return Err(NoHead);
        }
        headers.try_append(name, value).map_err(|_| NoHead)?;
    }
    Ok(headers)
}

/// As many fields as most heads have; more cost another allocation.
const USUAL_FIELDS: usize = 16;

fn take(head: &mut Bytes, length: usize) -> Result<Bytes, NoHead> {
    if head.len() < length {
        return Err(NoHead);
    }
    Ok(head.split_to(length))
}

/// Headers that say something of one connection have no meaning in the tunnel (RFC 9113, 8.2.2).
fn is_of_one_connection(name: &HeaderName) -> bool {
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
    fn an_answer_has_the_bytes_of_the_table() {
        let answer = Response::builder()
            .status(202)
            .header("a-b", "")
            .body(())
            .unwrap();
        let mut bytes = BytesMut::new();
        write_response(&answer.into_parts().0, &mut bytes);
        assert_eq!(&bytes[..], b"\0\xca\0\x03\0\0\0\0a-b");
    }

    #[test]
    fn targets_come_back_as_they_were() {
        for target in [
            "/",
            "*",
            "/a?b=c",
            "http://relay/a?b",
            "http://relay:1/",
            "/%20//x?",
        ] {
            let request = Request::get(target).body(()).unwrap().into_parts().0;
            let mut bytes = BytesMut::new();
            write_request(&request, &mut bytes);
            assert_eq!(
                read_request(bytes.freeze()).unwrap().uri(),
                &request.uri,
                "{target}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_head() {
        for head in [
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
        ] {
            assert_eq!(
                read_request(Bytes::copy_from_slice(head)).err(),
                Some(NoHead),
                "{head:?}"
            );
        }
        for head in [
            &b""[..],
            b"\0",
            b"\0\x63",
            b"\0\x64",
            b"\0\x67",
            b"\x03\xe8",
            b"\0\xc8\0",
        ] {
            assert_eq!(
                read_response(Bytes::copy_from_slice(head)).err(),
                Some(NoHead),
                "{head:?}"
            );
        }
    }

    #[test]
    fn an_answer_loses_what_belongs_to_one_connection() {
        let answer = Response::builder()
            .header("connection", "close")
            .header("keep-alive", "1")
            .header("x", "1");
        let mut bytes = BytesMut::new();
        write_response(&answer.body(()).unwrap().into_parts().0, &mut bytes);
        assert_eq!(
            read_response(bytes.freeze())
                .unwrap()
                .headers()
                .keys()
                .collect::<Vec<_>>(),
            ["x"]
        );
    }

    proptest! {
        #[test]
        fn fields_come_back_in_their_order(fields in proptest::collection::vec(("[a-d]{1,3}", "[ -~]{0,20}"), 0..30)) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
            }
            let mut bytes = BytesMut::new();
            write_fields(&headers, &mut bytes);
            let again = read_fields(bytes.freeze()).unwrap();
            prop_assert_eq!(again.iter().collect::<Vec<_>>(), headers.iter().collect::<Vec<_>>());
        }

        #[test]
        fn whatever_comes_is_a_head_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_request(Bytes::from(bytes.clone()));
            let _ = read_response(Bytes::from(bytes));
        }
    }
}
