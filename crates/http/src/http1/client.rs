//! A connection to a server: one request after the other, each with its response.
//!
//! No task belongs to it: the task that wants a response drives the connection. A request that was begun
//! is never sent again, as the server may have it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body::Body;
use llamapool_head::ResponseHead;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::body_decoder::{BodyDecoder, BodyError, Decoded};
use super::received_head::{HeadReader, ResponseHeadError};
use super::request::{OutgoingRequest, RequestBody, SendingBody};
use super::write_queue::WriteQueue;
use crate::BoxError;

/// The room for what is read at once, in bytes: at first, and at most, where all of it was used.
const MIN_READ_BYTES: usize = 8 * 1024;
const MAX_READ_BYTES: usize = 64 * 1024;
/// The least room with which a read begins.
const LEAST_ROOM_BYTES: usize = 4 * 1024;

/// A connection to a server over `S`. The bodies of requests that are not here in whole are `B`.
pub struct ClientConnection<S, B> {
    stream: S,
    /// What was read and not taken.
    arrived: BytesMut,
    read_bytes: usize,
    heads: HeadReader,
    queue: WriteQueue,
    /// True until a part of the request can have been sent.
    is_unsent: bool,
    /// The rest of the request's body.
    sending: Option<SendingBody<B>>,
    receiving: Receiving,
    /// True if another request may follow the one that is answered.
    keeps_alive: bool,
}

/// The part of a response that is expected.
enum Receiving {
    /// None: no request was sent, or the response was read to its end.
    Nothing,
    /// The head, of the response to a request with this method.
    Head(Method),
    Body(BodyDecoder),
    /// None any more: the connection is lost.
    Lost,
}

/// A request has no response, or its response broke off.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The bytes that have arrived are not the head of a response.
    #[error("the head of the response is malformed")]
    Head(#[from] ResponseHeadError),
    /// The bytes that have arrived are not the body of the response.
    #[error("the body of the response broke off")]
    Body(#[from] BodyError),
    /// The connection ended before the head of the response.
    #[error("the connection ended before the response")]
    Closed,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The body of the request broke off.
    #[error("the body of the request broke off")]
    RequestBody(#[source] BoxError),
    /// The body of the request has another length than its head.
    #[error("the body of the request has another length than its head")]
    BodyLength,
}

impl ClientError {
    /// Returns whether the peer does not send HTTP, or sends a head that is too large.
    pub fn is_not_http(&self) -> bool {
        matches!(self, Self::Head(_))
    }
}

impl<S, B> ClientConnection<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Returns a connection on a byte stream on which nothing was sent.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            arrived: BytesMut::new(),
            read_bytes: MIN_READ_BYTES,
            heads: HeadReader::default(),
            queue: WriteQueue::default(),
            is_unsent: false,
            sending: None,
            receiving: Receiving::Nothing,
            keeps_alive: true,
        }
    }

    /// Begins a request, on a connection that is [free](Self::is_free) or new.
    ///
    /// # Errors
    ///
    /// The body is not the one that the head announces. Nothing of the request is sent.
    pub fn begin(
        &mut self,
        request: OutgoingRequest<'_>,
        body: RequestBody<B>,
    ) -> Result<(), ClientError> {
        // From the front of its buffer again, which is in the processor's cache, if all of the last response is gone.
        let _ = self.arrived.try_reclaim(MIN_READ_BYTES);
        self.sending = request.write(body, &mut self.queue)?;
        self.receiving = Receiving::Head(request.method.clone());
        self.is_unsent = true;
        Ok(())
    }

    /// Sends the request and waits for the head of its response. The rest of the request may still be
    /// on its way then, see [`is_request_sent`](Self::is_request_sent).
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, ClientError>> {
        if std::mem::take(&mut self.is_unsent) {
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return self.note_loss(Poll::Ready(Err(error)));
            }
            let read = self.poll_read_head(cx);
            return self.note_loss(read);
        }

        // A server that has answered may read no more of the request.
        match self.poll_read_head(cx) {
            Poll::Pending => {}
            read => return self.note_loss(read),
        }
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => self.note_loss(Poll::Ready(Err(error))),
            _ => Poll::Pending,
        }
    }

    /// Waits for the next piece of the response's body. `None` is its end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ClientError>>> {
        loop {
            let Receiving::Body(decoder) = &mut self.receiving else {
                return Poll::Ready(None);
            };
            match decoder.decode(&mut self.arrived) {
                Ok(Decoded::Data(data)) => {
                    self.end_if_complete();
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Decoded::End) => {
                    self.end_if_complete();
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedsMore) => {}
                Err(error) => return self.break_off(error.into()),
            }

            let closed = match ready!(self.poll_read(cx)) {
                Ok(0) => decoder_of(&mut self.receiving).map_or(Ok(()), BodyDecoder::close),
                Ok(_) => continue,
                Err(error) => return self.break_off(error.into()),
            };
            if let Err(error) = closed {
                return self.break_off(error.into());
            }
            self.keeps_alive = false;
        }
    }

    /// Returns the next piece of the response's body if it has arrived, without reading more. `None` also
    /// at its end.
    pub fn arrived_body(&mut self) -> Option<Result<Bytes, ClientError>> {
        let decoded = decoder_of(&mut self.receiving)?.decode(&mut self.arrived);
        match decoded {
            Ok(decoded) => {
                self.end_if_complete();
                match decoded {
                    Decoded::Data(data) => Some(Ok(data)),
                    Decoded::NeedsMore | Decoded::End => None,
                }
            }
            Err(error) => {
                self.receiving = Receiving::Lost;
                Some(Err(error.into()))
            }
        }
    }

    /// Sends the rest of the request. Ready when all of it is sent.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        while let Some(sending) = &mut self.sending {
            match sending.poll_fill(&mut self.queue, cx) {
                Poll::Ready(Ok(true)) => self.sending = None,
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.queue.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    ready!(self.queue.poll_write(&mut self.stream, cx))?;
                    return Poll::Pending;
                }
            }
            ready!(self.queue.poll_write(&mut self.stream, cx))?;
        }
        self.queue
            .poll_write(&mut self.stream, cx)
            .map_err(ClientError::from)
    }

    /// Returns whether all of the request was sent.
    pub fn is_request_sent(&self) -> bool {
        self.sending.is_none() && self.queue.is_empty()
    }

    /// Returns whether the response was read to its end.
    pub fn is_response_read(&self) -> bool {
        matches!(self.receiving, Receiving::Nothing)
    }

    /// Returns how many bytes of the response's body are still to be read, `None` if that is not known.
    pub fn body_bytes_left(&self) -> Option<u64> {
        match &self.receiving {
            Receiving::Body(decoder) => decoder.bytes_left(),
            Receiving::Nothing => Some(0),
            Receiving::Head(_) | Receiving::Lost => None,
        }
    }

    /// Returns whether the connection takes another request, as far as the bytes show that have arrived:
    /// they are read here.
    pub fn is_free(&mut self) -> bool {
        let is_at_rest = self.keeps_alive && self.is_response_read() && self.is_request_sent();
        if !is_at_rest || !self.arrived.is_empty() {
            return false;
        }
        // No task need be woken: the one that takes the connection drives it. Whatever has arrived is
        // the end of the connection, or belongs to no request.
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_read(&mut cx).is_pending()
    }

    fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, ClientError>> {
        loop {
            let Receiving::Head(method) = &self.receiving else {
                return Poll::Ready(Err(ClientError::Closed));
            };
            if let Some(response) = self.heads.read(&mut self.arrived, method)? {
                self.keeps_alive &= response.keeps_alive;
                self.receiving = Receiving::Body(response.body);
                self.end_if_complete();
                return Poll::Ready(Ok(response.head));
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(ClientError::Closed));
            }
        }
    }

    /// Reads what has arrived. Returns how many bytes, 0 at the end of the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.arrived.capacity() - self.arrived.len() < LEAST_ROOM_BYTES {
            self.arrived.reserve(self.read_bytes);
        }
        let room = self.arrived.capacity() - self.arrived.len();
        let bytes = ready!(poll_read_buf(
            Pin::new(&mut self.stream),
            cx,
            &mut self.arrived
        ))?;
        if bytes == room {
            self.read_bytes = (2 * self.read_bytes).min(MAX_READ_BYTES);
        }
        Poll::Ready(Ok(bytes))
    }

    fn end_if_complete(&mut self) {
        if decoder_of(&mut self.receiving).is_some_and(|decoder| decoder.is_ended()) {
            self.receiving = Receiving::Nothing;
            self.read_bytes = MIN_READ_BYTES;
        }
    }

    fn note_loss<T>(
        &mut self,
        result: Poll<Result<T, ClientError>>,
    ) -> Poll<Result<T, ClientError>> {
        if matches!(result, Poll::Ready(Err(_))) {
            self.receiving = Receiving::Lost;
        }
        result
    }

    fn break_off(&mut self, error: ClientError) -> Poll<Option<Result<Bytes, ClientError>>> {
        self.receiving = Receiving::Lost;
        Poll::Ready(Some(Err(error)))
    }
}

fn decoder_of(receiving: &mut Receiving) -> Option<&mut BodyDecoder> {
    match receiving {
        Receiving::Body(decoder) => Some(decoder),
        Receiving::Nothing | Receiving::Head(_) | Receiving::Lost => None,
    }
}

#[cfg(test)]
mod tests;
