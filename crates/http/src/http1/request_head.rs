//! Reads the heads of requests that need no interpretation.
//!
//! A head is *plain* if every recipient reads it in the same way: HTTP/1.1, one of three methods, a path of
//! unreserved characters, at most one length that is a number, no other framing, no expectation, no
//! upgrade, nothing about the connection but that it is kept. Everything else is not judged here.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{Method, Uri};
use llamapool_head::{FieldSpan, Fields, RequestHead};

/// The most fields of a plain head.
const MAX_FIELDS: usize = 64;
/// The most digits of a length: more than any body has that is read whole.
const LENGTH_DIGITS: usize = 9;

/// Reads heads from a buffer. What a head consists of stays in here until it is taken, as its body may
/// arrive later.
#[derive(Default)]
pub(crate) struct HeadParser {
    fields: Vec<FieldSpan>,
    /// The last target and what was parsed of it: most requests on a connection have the same.
    target: Option<(Bytes, Uri)>,
}

/// The beginning of a buffer.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Not a whole head yet.
    Partial,
    /// A plain head.
    Plain(PlainHead),
    /// Something else.
    Unusual,
}

/// The places of a plain head in the buffer that it begins.
#[derive(Debug)]
pub(crate) struct PlainHead {
    method: Method,
    target: Range<usize>,
    head_bytes: usize,
    /// The length of the body that follows.
    pub(crate) body_bytes: usize,
}

impl PlainHead {
    /// Returns the length of the head and the body that follows.
    pub(crate) fn bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }
}

impl HeadParser {
    /// Reads the head at the beginning of `buffer`.
    pub(crate) fn parse(&mut self, buffer: &[u8]) -> Parsed {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let head_bytes = match request.parse_with_uninit_headers(buffer, &mut headers) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) => return Parsed::Partial,
            Err(_) => return Parsed::Unusual,
        };
        let method = match request.method {
            Some("POST") => Method::POST,
            Some("GET") => Method::GET,
            Some("DELETE") => Method::DELETE,
            _ => return Parsed::Unusual,
        };
        let path = request.path.unwrap_or_default();
        if !is_plain_path(path) || request.version != Some(1) {
            return Parsed::Unusual;
        }

        self.fields.clear();
        let mut length = None;
        for header in request.headers.iter() {
            match role(header.name) {
                Role::Other => {}
                Role::Connection if header.value.eq_ignore_ascii_case(b"keep-alive") => {}
                Role::Length if length.is_none() => match parse_length(header.value) {
                    Some(bytes) => length = Some(bytes),
                    None => return Parsed::Unusual,
                },
                Role::Connection | Role::Length | Role::Framing => return Parsed::Unusual,
            }
            self.fields.push(FieldSpan {
                name: place(buffer, header.name.as_bytes()),
                value: place(buffer, header.value),
            });
        }
        Parsed::Plain(PlainHead {
            method,
            target: place(buffer, path.as_bytes()),
            head_bytes,
            body_bytes: length.unwrap_or_default(),
        })
    }

    /// Takes the head that [`parse`](Self::parse) has found last, and its body, from the buffer. `None` if
    /// the target is no URI, which leaves the buffer as it was.
    pub(crate) fn take(
        &mut self,
        head: PlainHead,
        buffer: &mut BytesMut,
    ) -> Option<(RequestHead, Bytes)> {
        let uri = self.uri(buffer.get(head.target)?)?;
        let mut head_bytes = buffer.split_to(head.head_bytes);
        for field in &self.fields {
            if let Some(name) = head_bytes.get_mut(field.name.clone()) {
                name.make_ascii_lowercase();
            }
        }

        let mut fields = Fields::of_received(head_bytes.freeze());
        for field in self.fields.drain(..) {
            fields.push_parsed(field);
        }
        let request = RequestHead {
            method: head.method,
            uri,
            fields,
        };
        Some((request, buffer.split_to(head.body_bytes).freeze()))
    }

    fn uri(&mut self, target: &[u8]) -> Option<Uri> {
        if let Some((bytes, uri)) = &self.target
            && bytes == target
        {
            return Some(uri.clone());
        }
        let bytes = Bytes::copy_from_slice(target);
        let uri = Uri::from_maybe_shared(bytes.clone()).ok()?;
        self.target = Some((bytes, uri.clone()));
        Some(uri)
    }
}

/// The meaning of a field for the framing of a message and for its connection.
enum Role {
    Connection,
    Length,
    /// One that makes the head unusual.
    Framing,
    Other,
}

fn role(name: &str) -> Role {
    // By the length first: most names have another one.
    match name.len() {
        10 if name.eq_ignore_ascii_case("connection") => Role::Connection,
        14 if name.eq_ignore_ascii_case("content-length") => Role::Length,
        6 if name.eq_ignore_ascii_case("expect") => Role::Framing,
        7 if name.eq_ignore_ascii_case("upgrade") => Role::Framing,
        17 if name.eq_ignore_ascii_case("transfer-encoding") => Role::Framing,
        14 if name.eq_ignore_ascii_case("http2-settings") => Role::Framing,
        _ => Role::Other,
    }
}

/// Returns whether a target is an absolute path with or without a query, of characters that no recipient
/// takes for anything else.
fn is_plain_path(path: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'/' | b'-'
                    | b'_'
                    | b'.'
                    | b'~'
                    | b'%'
                    | b'?'
                    | b'='
                    | b'&'
                    | b':'
                    | b','
                    | b'+'
                    | b'@'
                    | b'!'
                    | b'$'
                    | b'*'
                    | b';'
                    | b'('
                    | b')'
                    | b'\''
            )
    };
    path.starts_with('/') && path.bytes().all(is_plain)
}

fn parse_length(value: &[u8]) -> Option<usize> {
    let is_number = value.iter().all(u8::is_ascii_digit);
    if !is_number || value.is_empty() || value.len() > LENGTH_DIGITS {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Returns the place of a part of a buffer in it.
fn place(buffer: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(buffer.as_ptr().addr());
    start..start + part.len()
}
