//! Requests as they are sent: the head in one buffer, the body whole or as its pieces arrive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http_body::Body;
use llamapool_head::{FieldLookup, Fields};

use super::client::ClientError;
use super::response_head::write_chunk_size;
use super::write_queue::WriteQueue;
use crate::BoxError;
use crate::content_length::{common_length, parse};

/// Room for a line of a head besides name and value, and for what is added to a head, in bytes.
const LINE_BYTES: usize = 4;
const ADDED_BYTES: usize = 128;

/// The head of a request that is sent.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, as on the first line.
    pub target: &'a str,
    /// The fields. A length among them is that of the body.
    pub fields: &'a Fields,
    /// The value of `Host`, where the fields have none.
    pub host: Option<&'a [u8]>,
}

/// The body of a request that is sent.
#[derive(Debug)]
pub enum RequestBody<B> {
    /// There is none.
    Empty,
    /// All of it is here.
    Whole(Bytes),
    /// All of it is here. It is sent in chunks unless the head has its length, as it would be if it were not
    /// here yet.
    WholeUnannounced(Bytes),
    /// It arrives piece by piece. Its trailers are not sent.
    Stream(B),
}

/// The rest of a body that is sent piece by piece.
pub(super) struct SendingBody<B> {
    body: B,
    framing: SentFraming,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SentFraming {
    /// So many bytes are still to be sent.
    Length(u64),
    Chunked,
}

impl OutgoingRequest<'_> {
    /// Writes the head, and a body that is here. Returns what is to be sent of the body later.
    ///
    /// A body of unknown length is sent in chunks, except with methods that have none by their
    /// definition: there it is left out.
    pub(super) fn write<B>(
        &self,
        body: RequestBody<B>,
        queue: &mut WriteQueue,
    ) -> Result<Option<SendingBody<B>>, ClientError>
    where
        B: Body<Data = Bytes>,
    {
        let declared = common_length(self.fields.all_values(&CONTENT_LENGTH)).ok();
        let has_none_of_unknown_length =
            matches!(*self.method, Method::GET | Method::HEAD | Method::CONNECT);
        let of_unknown_length = || (!has_none_of_unknown_length).then_some(SentFraming::Chunked);
        let framing = match &body {
            RequestBody::Empty => None,
            RequestBody::Whole(data) | RequestBody::WholeUnannounced(data) if data.is_empty() => {
                None
            }
            RequestBody::Stream(body) if body.is_end_stream() => None,
            RequestBody::WholeUnannounced(_) if declared.is_none() => of_unknown_length(),
            RequestBody::Whole(data) | RequestBody::WholeUnannounced(data) => {
                Some(SentFraming::Length(data.len() as u64))
            }
            RequestBody::Stream(body) => match declared.or(body.size_hint().exact()) {
                Some(length) => Some(SentFraming::Length(length)),
                None => of_unknown_length(),
            },
        };
        let length = match framing {
            Some(SentFraming::Length(length)) => length,
            _ => 0,
        };
        if declared.is_some_and(|declared| declared != length) {
            return Err(ClientError::BodyLength);
        }

        self.write_head(framing, declared, queue.head());
        let Some(framing) = framing else {
            return Ok(None);
        };
        match body {
            RequestBody::Whole(data) | RequestBody::WholeUnannounced(data) => {
                framing.push_whole(data, queue);
                Ok(None)
            }
            RequestBody::Stream(body) if framing != SentFraming::Length(0) => {
                Ok(Some(SendingBody { body, framing }))
            }
            RequestBody::Stream(_) | RequestBody::Empty => Ok(None),
        }
    }

    fn write_head(&self, framing: Option<SentFraming>, declared: Option<u64>, out: &mut Vec<u8>) {
        let fields = self.fields.iter_bytes();
        let bytes = fields.map(|(name, value)| name.len() + value.len() + LINE_BYTES);
        out.reserve(bytes.sum::<usize>() + self.target.len() + ADDED_BYTES);

        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if let Some(host) = self.host
            && !self.fields.contains_key(&HOST)
        {
            write_field(HOST.as_str().as_bytes(), host, out);
        }

        let mut length = match framing {
            Some(SentFraming::Length(length)) => Some(length),
            Some(SentFraming::Chunked) => None,
            None => declared,
        };
        for (name, value) in self.fields.iter_bytes() {
            if name == CONTENT_LENGTH.as_str().as_bytes() {
                // As it came, if it is one number. Several equal ones become one.
                if parse(value).is_ok() && length.take().is_some() {
                    write_field(name, value, out);
                }
            } else if name != TRANSFER_ENCODING.as_str().as_bytes() {
                write_field(name, value, out);
            }
        }
        if let Some(length) = length {
            write_field(
                CONTENT_LENGTH.as_str().as_bytes(),
                length.to_string().as_bytes(),
                out,
            );
        }
        if framing == Some(SentFraming::Chunked) {
            write_field(TRANSFER_ENCODING.as_str().as_bytes(), b"chunked", out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl SentFraming {
    /// Adds a whole body to a queue.
    fn push_whole(self, data: Bytes, queue: &mut WriteQueue) {
        match self {
            Self::Length(_) => queue.push(data, b""),
            Self::Chunked => {
                write_chunk_size(data.len(), queue.head());
                queue.push(data, b"\r\n0\r\n\r\n");
            }
        }
    }
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

impl<B> SendingBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Adds the pieces that are there to a queue. Ready with true once the last one is in it, and with
    /// false if the queue is to be written first.
    pub(super) fn poll_fill(
        &mut self,
        queue: &mut WriteQueue,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, ClientError>> {
        while queue.has_room() {
            let (data, is_last) = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => (Bytes::new(), true),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => (data, self.body.is_end_stream()),
                    // Trailers: no peer gives them a meaning.
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    return Poll::Ready(Err(ClientError::RequestBody(error.into())));
                }
            };
            if self.push(data, is_last, queue)? {
                return Poll::Ready(Ok(true));
            }
        }
        Poll::Ready(Ok(false))
    }

    /// Adds one piece to a queue. Returns whether the body is complete with it.
    fn push(
        &mut self,
        data: Bytes,
        is_last: bool,
        queue: &mut WriteQueue,
    ) -> Result<bool, ClientError> {
        match &mut self.framing {
            SentFraming::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                *left = rest.ok_or(ClientError::BodyLength)?;
                let is_complete = *left == 0;
                if is_last && !is_complete {
                    return Err(ClientError::BodyLength);
                }
                queue.push(data, b"");
                Ok(is_complete)
            }
            SentFraming::Chunked => {
                if !data.is_empty() {
                    write_chunk_size(data.len(), queue.head());
                    queue.push(data, b"\r\n");
                }
                if is_last {
                    queue.push_end(b"0\r\n\r\n");
                }
                Ok(is_last)
            }
        }
    }
}
