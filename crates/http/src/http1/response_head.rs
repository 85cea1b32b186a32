//! Writes the heads of responses, and the frames of their bodies.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use llamapool_head::ResponseHead;

/// Room for the status line and the fields that are added.
const ADDED_BYTES: usize = 128;

/// The length of a body, before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// There is none, also where the head declares a length.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Unknown.
    Chunked,
}

/// The frames of the body that follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseFraming {
    /// No body follows.
    None,
    /// So many bytes follow.
    Length(u64),
    /// Chunks follow, and the last one.
    Chunks,
}

impl ResponseFraming {
    /// Appends the head of a response to a request that was no `HEAD`, and returns how its body follows. A length
    /// that the head declares goes before that of the body.
    pub(crate) fn write(
        head: &ResponseHead,
        body: BodyFraming,
        closes: bool,
        date: &mut DateText,
        out: &mut Vec<u8>,
    ) -> Self {
        out.reserve(ADDED_BYTES + head.fields.len() * 32);
        write_status(head.status, out);
        let mut declared = None;
        let mut has_date = false;
        for (name, value) in head.fields.iter_bytes() {
            match name {
                b"transfer-encoding" | b"connection" => continue,
                b"content-length" if body == BodyFraming::Empty || declared.is_some() => continue,
                b"content-length" => match parse_length(value) {
                    Some(length) => declared = Some(length),
                    None => continue,
                },
                b"date" => has_date = true,
                _ => {}
            }
            write_field(name, value, out);
        }

        if closes {
            write_field(b"connection", b"close", out);
        }

        // RFC 9110, 15.3.5 and 15.4.5: neither has content.
        let may_have_body = !matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        let framing = match (declared, body) {
            _ if !may_have_body => Self::None,
            (_, BodyFraming::Empty) => {
                write_field(b"content-length", b"0", out);
                Self::None
            }
            (Some(_), BodyFraming::Length(length)) => Self::Length(length),
            (Some(length), BodyFraming::Chunked) => Self::Length(length),
            (None, BodyFraming::Length(length)) => {
                let mut digits = itoa::Buffer::new();
                write_field(b"content-length", digits.format(length).as_bytes(), out);
                Self::Length(length)
            }
            (None, BodyFraming::Chunked) => {
                write_field(b"transfer-encoding", b"chunked", out);
                Self::Chunks
            }
        };
        if !has_date {
            write_field(b"date", date.now(), out);
        }
        out.extend_from_slice(b"\r\n");
        framing
    }
}

/// The text of the present second.
#[derive(Default)]
pub(crate) struct DateText {
    second: u64,
    text: String,
}

impl DateText {
    fn now(&mut self) -> &[u8] {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text = httpdate::fmt_http_date(now);
        }
        self.text.as_bytes()
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(value).ok()?.parse().ok())?
}

fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    if status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let reason = status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the size of a chunk.
pub(super) fn write_chunk_size(length: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(DIGITS[(length >> (4 * digit)) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}
