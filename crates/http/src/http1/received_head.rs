//! The head of a response: its fields, the framing of its body, and whether the connection goes on.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use httparse::{ParserConfig, Status};
use llamapool_head::{FieldLookup, FieldSpan, FieldValue, Fields, ResponseHead};

use super::body_decoder::BodyDecoder;
use crate::content_length::common_length;

/// The longest head that is waited for, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 408 * 1024;
/// The most fields of a head or of trailers.
pub(super) const MAX_FIELDS: usize = 100;
/// The longest name of a field, in bytes.
const MAX_NAME_BYTES: usize = u16::MAX as usize;
/// The longest body, in bytes: the two lengths above it have meanings of their own in other programs.
const MAX_LENGTH: u64 = u64::MAX - 2;

/// Bytes are not the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseHeadError {
    /// They are not HTTP.
    #[error("the response is not HTTP: {0}")]
    Malformed(httparse::Error),
    /// The status is no number of three digits that begins with 1 to 9.
    #[error("the response has no valid status")]
    Status,
    /// The head is too long, or has too many fields.
    #[error("the head of the response is too large")]
    TooLarge,
    /// The length of the body is not one number.
    #[error("the response has a Content-Length that is not one number")]
    Length,
    /// A response of HTTP/1.0 has a coding that HTTP/1.0 has not.
    #[error("a response of HTTP/1.0 has a Transfer-Encoding")]
    Coding,
}

/// The head of a response, and what follows it.
pub(super) struct ReceivedResponse {
    pub(super) head: ResponseHead,
    pub(super) body: BodyDecoder,
    /// False if the connection is of no use after the response.
    pub(super) keeps_alive: bool,
}

/// Reads heads from what has arrived.
#[derive(Default)]
pub(super) struct HeadReader {
    spans: Vec<FieldSpan>,
    /// The bytes of a part of a head that were looked at.
    searched: usize,
}

/// The first line of a response, and the length of its head.
struct StatusLine {
    status: StatusCode,
    is_http_1_1: bool,
    head_bytes: usize,
}

impl HeadReader {
    /// Takes the head of a response to a request with this method off the front of `buffer`. Interim
    /// responses before it are dropped. `None` while it is not there in whole.
    pub(super) fn read(
        &mut self,
        buffer: &mut BytesMut,
        method: &Method,
    ) -> Result<Option<ReceivedResponse>, ResponseHeadError> {
        while !buffer.is_empty() {
            let is_whole = self.searched == 0 || has_end_of_head(buffer, self.searched);
            let line = if is_whole { self.parse(buffer)? } else { None };
            let Some(line) = line else {
                if buffer.len() >= MAX_HEAD_BYTES {
                    return Err(ResponseHeadError::TooLarge);
                }
                self.searched = buffer.len();
                return Ok(None);
            };

            self.searched = 0;
            let fields = self.take_fields(buffer, line.head_bytes)?;
            let is_interim =
                line.status.is_informational() && line.status != StatusCode::SWITCHING_PROTOCOLS;
            if !is_interim {
                return response(&line, fields, method).map(Some);
            }
        }
        Ok(None)
    }

    /// Finds the first line and the places of the fields. `None` while the head is not there in whole.
    fn parse(&mut self, buffer: &[u8]) -> Result<Option<StatusLine>, ResponseHeadError> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let config = ParserConfig::default();
        let parsed = config.parse_response_with_uninit_headers(&mut response, buffer, &mut headers);
        let head_bytes = match parsed {
            Ok(Status::Complete(bytes)) => bytes,
            Ok(Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(ResponseHeadError::TooLarge),
            Err(error) => return Err(ResponseHeadError::Malformed(error)),
        };

        let status = StatusCode::from_u16(response.code.unwrap_or_default());
        let start = buffer.as_ptr() as usize;
        let place = |part: &[u8]| {
            let at = part.as_ptr() as usize - start;
            at..at + part.len()
        };
        self.spans.clear();
        for header in response.headers.iter() {
            if header.name.len() > MAX_NAME_BYTES {
                return Err(ResponseHeadError::TooLarge);
            }
            self.spans.push(FieldSpan {
                name: place(header.name.as_bytes()),
                value: place(header.value),
            });
        }
        Ok(Some(StatusLine {
            status: status.map_err(|_| ResponseHeadError::Status)?,
            is_http_1_1: response.version == Some(1),
            head_bytes,
        }))
    }

    /// Takes a head off the front of `buffer`, as its fields.
    fn take_fields(
        &mut self,
        buffer: &mut BytesMut,
        head_bytes: usize,
    ) -> Result<Fields, ResponseHeadError> {
        for span in &self.spans {
            if let Some(name) = buffer.get_mut(span.name.clone()) {
                name.make_ascii_lowercase();
            }
        }
        let mut fields = Fields::of_received(buffer.split_to(head_bytes).freeze());
        for span in self.spans.drain(..) {
            if !fields.push_received(span) {
                return Err(ResponseHeadError::Malformed(httparse::Error::HeaderName));
            }
        }
        Ok(fields)
    }
}

/// Returns whether there is an empty line in bytes of which so many were looked at before.
fn has_end_of_head(buffer: &[u8], searched: usize) -> bool {
    // One more than an empty line can have begun with: garbage behind one is found at once.
    let start = searched.saturating_sub(b"\r\n\r".len());
    let bytes = buffer.get(start..).unwrap_or_default();
    memchr::memchr_iter(b'\n', bytes).any(|at| {
        let rest = bytes.get(at + 1..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

/// Decides how the body of a response is framed (RFC 9112, section 6.3).
fn response(
    line: &StatusLine,
    fields: Fields,
    method: &Method,
) -> Result<ReceivedResponse, ResponseHeadError> {
    let status = line.status;
    let is_switching = status == StatusCode::SWITCHING_PROTOCOLS;
    let is_tunnel = *method == Method::CONNECT && status.is_success();
    let is_without_body = is_switching
        || is_tunnel
        || *method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);

    // HTTP/1.0 has keep-alive by agreement alone, and some of its servers take a body without a length
    // for none: such a connection gets no second request.
    let mut keeps_alive = line.is_http_1_1
        && !is_switching
        && !is_tunnel
        && !has_token(fields.all_values(&CONNECTION), "close");

    let body = if is_without_body {
        BodyDecoder::empty()
    } else if fields.contains_key(&TRANSFER_ENCODING) {
        if !line.is_http_1_1 {
            return Err(ResponseHeadError::Coding);
        }
        // One program may go by the length, the next by the coding (RFC 9112, section 6.3).
        keeps_alive &= !fields.contains_key(&CONTENT_LENGTH);
        if is_chunked(&fields) {
            BodyDecoder::chunked()
        } else {
            BodyDecoder::until_close()
        }
    } else if fields.contains_key(&CONTENT_LENGTH) {
        let length = common_length(fields.all_values(&CONTENT_LENGTH));
        match length.map_err(|_| ResponseHeadError::Length)? {
            length if length <= MAX_LENGTH => BodyDecoder::of_length(length),
            _ => return Err(ResponseHeadError::TooLarge),
        }
    } else {
        BodyDecoder::until_close()
    };

    let head = ResponseHead { status, fields };
    Ok(ReceivedResponse {
        head,
        body,
        keeps_alive,
    })
}

/// Returns whether one of the lists in these values has a token.
fn has_token<'a>(mut values: impl Iterator<Item = FieldValue<'a>>, token: &str) -> bool {
    values.any(|value| {
        let text = value.to_str().unwrap_or_default();
        text.split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    })
}

/// Returns whether the last coding is `chunked`: by it alone a body has an end of its own.
fn is_chunked(fields: &Fields) -> bool {
    let last = fields.all_values(&TRANSFER_ENCODING).next_back();
    let text = last.and_then(|value| value.to_str().ok());
    let coding = text.and_then(|text| text.rsplit(',').next());
    coding.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}
