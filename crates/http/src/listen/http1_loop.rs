//! Serves the plain requests of one connection, most of all: a head that needs no interpretation, whose body
//! has arrived with it or follows within a moment.
//!
//! The first request that is anything else takes the connection to hyper, with every byte that is not
//! answered: what is unusual, large, slow or wrong is judged there, and nowhere else.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::{Answer, AnswerBody};
use crate::BoxError;
use crate::http1::{
    BodyFraming, DateText, HeadParser, Parsed, PlainHead, ResponseFraming, WriteQueue,
};

/// The room that is made for what comes next.
const READ_BYTES: usize = 8 * 1024;
/// Room below which more is made.
const MIN_READ_BYTES: usize = 1024;
/// The time in which the rest of a request arrives: many clients send head and body apart. A sender that
/// takes longer is one that hyper's limits are for, and its call begins without its body.
const REST_TIME: Duration = Duration::from_millis(20);
/// The time in which a peer is told that a connection ends.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// The end of a body in chunks, without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The plain requests of one connection.
pub(super) struct Http1Loop<S> {
    stream: S,
    received: BytesMut,
    parser: HeadParser,
    output: WriteQueue,
    date: DateText,
    /// The most bytes of a request that is read whole.
    max_bytes: usize,
}

/// The next request.
pub(super) enum Next {
    /// It has arrived whole.
    Plain(PlainHead),
    /// Something else has arrived.
    Unusual,
    /// The connection ends.
    End,
}

/// The connection after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It takes the next request.
    Open,
    /// It has ended.
    Closed,
}

/// The peer has gone, before it had its answer.
pub(super) struct PeerGone;

impl<S: AsyncRead + AsyncWrite + Unpin> Http1Loop<S> {
    pub(super) fn new(stream: S, max_bytes: usize) -> Self {
        Self {
            stream,
            received: BytesMut::new(),
            parser: HeadParser::default(),
            output: WriteQueue::default(),
            date: DateText::default(),
            max_bytes,
        }
    }

    /// Returns the connection.
    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the connection, and the bytes that were received and not answered.
    pub(super) fn into_parts(self) -> (Bytes, S) {
        (self.received.freeze(), self.stream)
    }

    /// Waits for the next request. Between two requests, `ending` ends the connection.
    pub(super) async fn next(&mut self, mut ending: Pin<&mut impl Future<Output = ()>>) -> Next {
        if self.received.is_empty() {
            // From the front of its buffer again, which is in the processor's cache: all of the last request is gone.
            let _ = self.received.try_reclaim(READ_BYTES);
            let is_there = poll_fn(|cx| {
                if let Poll::Ready(read) = self.poll_read(cx) {
                    return Poll::Ready(matches!(read, Ok(1..)));
                }
                ending.as_mut().poll(cx).map(|()| false)
            });
            if !is_there.await {
                return Next::End;
            }
        }
        match self.parser.parse(&self.received) {
            Parsed::Plain(head) if head.bytes() <= self.received.len() => Next::Plain(head),
            Parsed::Plain(head) if head.bytes() > self.max_bytes => Next::Unusual,
            Parsed::Unusual => Next::Unusual,
            // Boxed, as connections would carry its size along.
            parsed => Box::pin(tokio::time::timeout(REST_TIME, self.rest(parsed)))
                .await
                .unwrap_or(Next::Unusual),
        }
    }

    /// Waits for the rest of a request.
    async fn rest(&mut self, mut parsed: Parsed) -> Next {
        loop {
            match parsed {
                Parsed::Plain(head) if head.bytes() > self.max_bytes => return Next::Unusual,
                Parsed::Plain(head) if head.bytes() <= self.received.len() => {
                    return Next::Plain(head);
                }
                Parsed::Unusual => return Next::Unusual,
                Parsed::Partial if self.received.len() >= self.max_bytes => return Next::Unusual,
                Parsed::Plain(_) | Parsed::Partial => {}
            }
            let read = poll_fn(|cx| self.poll_read(cx)).await;
            if !matches!(read, Ok(1..)) {
                return Next::Unusual;
            }
            if let Parsed::Partial = parsed {
                parsed = self.parser.parse(&self.received);
            }
        }
    }

    /// Takes a request that has arrived whole. `None` if it is unusual after all.
    pub(super) fn take(&mut self, head: PlainHead) -> Option<(llamapool_head::RequestHead, Bytes)> {
        self.parser.take(head, &mut self.received)
    }

    /// Waits for an answer, for as long as the peer is there.
    pub(super) async fn answered<T>(
        &mut self,
        mut answering: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, PeerGone> {
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            self.poll_gone(cx).map(Err)
        })
        .await
    }

    /// Sends an answer. With `closes` it is the last one on the connection.
    ///
    /// # Errors
    ///
    /// The connection failed, or the body broke off. The connection must not be used any more.
    pub(super) async fn send<B>(&mut self, answer: Answer<B>, closes: bool) -> io::Result<After>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let Answer { head, body } = answer;
        let closes = closes || asks_to_close(&head);
        let (framing, whole, body) = match body {
            AnswerBody::Whole(bytes) => {
                let length = bytes.len() as u64;
                (BodyFraming::Length(length), Some(bytes), None)
            }
            AnswerBody::WholeInChunks(bytes) => (BodyFraming::Chunked, Some(bytes), None),
            AnswerBody::Stream(body) => (framing_of(&body), None, Some(body)),
        };
        let out = self.output.head();
        let framing = ResponseFraming::write(&head, framing, closes, &mut self.date, out);
        drop(head);

        // Without a place for it, a body is dropped.
        let streamed = body.filter(|_| framing != ResponseFraming::None);
        match streamed {
            Some(body) => self.send_body(framing, body).await?,
            None => {
                self.push_whole(framing, whole.unwrap_or_default())?;
                poll_fn(|cx| self.output.poll_write(&mut self.stream, cx)).await?;
            }
        }

        if !closes {
            return Ok(After::Open);
        }
        let shutdown = self.stream.shutdown();
        // The peer may be gone already.
        let _ = Box::pin(tokio::time::timeout(SHUTDOWN_TIME, shutdown)).await;
        Ok(After::Closed)
    }

    fn push_whole(&mut self, framing: ResponseFraming, bytes: Bytes) -> io::Result<()> {
        match framing {
            ResponseFraming::None => {}
            ResponseFraming::Length(length) if length == bytes.len() as u64 => {
                self.output.push(bytes, b"");
            }
            ResponseFraming::Length(_) => return Err(wrong_length()),
            ResponseFraming::Chunks => {
                self.output.push_chunk(bytes);
                self.output.push_end(LAST_CHUNK);
            }
        }
        Ok(())
    }

    /// Sends a body. It is dropped with its last piece, before that is sent: what ends with it has ended when
    /// the peer sees its end.
    async fn send_body<B>(&mut self, framing: ResponseFraming, body: B) -> io::Result<()>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let mut body = pin!(Some(body));
        let mut left = match framing {
            ResponseFraming::Length(length) => Some(length),
            ResponseFraming::None | ResponseFraming::Chunks => None,
        };
        poll_fn(|cx| {
            loop {
                let mut waits_for_body = false;
                while self.output.has_room() {
                    let Some(mut source) = body.as_mut().as_pin_mut() else {
                        break;
                    };
                    let Poll::Ready(frame) = source.as_mut().poll_frame(cx) else {
                        waits_for_body = true;
                        break;
                    };
                    let has_ended = match frame {
                        Some(Ok(frame)) => {
                            // Trailers end here: none of the peers gives them a meaning.
                            let data = frame.into_data().unwrap_or_default();
                            push(&mut self.output, data, &mut left)?;
                            source.is_end_stream()
                        }
                        Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                        None => true,
                    };
                    if has_ended {
                        body.set(None);
                    }
                    if has_ended && left.is_none() {
                        self.output.push_end(LAST_CHUNK);
                    }
                }

                ready!(self.output.poll_write(&mut self.stream, cx))?;
                if body.is_none() {
                    return Poll::Ready(match left {
                        None | Some(0) => Ok(()),
                        Some(_) => Err(wrong_length()),
                    });
                }
                if waits_for_body {
                    ready!(self.poll_gone(cx));
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
        })
        .await
    }

    /// Waits until the peer is gone. What it sends meanwhile is kept; then it is not looked for any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<PeerGone> {
        if !self.received.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_read(cx)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(PeerGone),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.received.capacity() - self.received.len() < MIN_READ_BYTES {
            self.received.reserve(READ_BYTES);
        }
        pin!(self.stream.read_buf(&mut self.received)).poll(cx)
    }
}

/// Appends a piece of a body. `left` is how much of a declared length is left, `None` in chunks.
fn push(output: &mut WriteQueue, data: Bytes, left: &mut Option<u64>) -> io::Result<()> {
    let Some(left) = left else {
        output.push_chunk(data);
        return Ok(());
    };
    *left = left
        .checked_sub(data.len() as u64)
        .ok_or_else(wrong_length)?;
    output.push(data, b"");
    Ok(())
}

fn framing_of<B: Body>(body: &B) -> BodyFraming {
    if body.is_end_stream() {
        return BodyFraming::Empty;
    }
    body.size_hint()
        .exact()
        .map_or(BodyFraming::Chunked, BodyFraming::Length)
}

fn asks_to_close(head: &llamapool_head::ResponseHead) -> bool {
    let asked = head.fields.get(&CONNECTION);
    asked.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn wrong_length() -> io::Error {
    io::Error::other("the body has another length than its head declares")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::CONTENT_LENGTH;
    use http::{HeaderValue, StatusCode};
    use http_body::Frame;
    use llamapool_head::ResponseHead;

    use super::*;

    /// A body of one piece, which holds something.
    struct Holding {
        piece: Option<Bytes>,
        _held: Arc<()>,
    }

    impl Body for Holding {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
            Poll::Ready(self.piece.take().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// The peer must not take what follows for a part of it, nor miss that something is missing.
    #[tokio::test]
    async fn a_body_of_another_length_than_declared_is_an_error() {
        for (length, is_sent) in [(2, false), (3, true), (4, false)] {
            let (near, _far) = tokio::io::duplex(1024);
            let declared = (CONTENT_LENGTH, HeaderValue::from_static("3"));
            let mut head = ResponseHead::new(StatusCode::OK);
            head.fields = [declared].into_iter().collect();
            let body = Holding {
                piece: Some(Bytes::from(vec![b'a'; length])),
                _held: Arc::default(),
            };
            let body = AnswerBody::Stream(body);

            let sent = Http1Loop::new(near, 1024)
                .send(Answer { head, body }, false)
                .await;

            assert_eq!(sent.is_ok(), is_sent, "{length} of 3");
        }
    }

    /// A call is counted by then, and its place is free.
    #[tokio::test]
    async fn a_body_is_dropped_before_its_end_is_sent() {
        let (near, _far) = tokio::io::duplex(16);
        let held = Arc::new(());
        let body = Holding {
            piece: Some(Bytes::from_static(&[b'a'; 100])),
            _held: held.clone(),
        };
        let answer = Answer {
            head: ResponseHead::new(StatusCode::OK),
            body: AnswerBody::Stream(body),
        };
        let mut requests = Http1Loop::new(near, 1024);

        let sending = pin!(requests.send(answer, false));
        let is_sent = futures_util::poll!(sending).is_ready();

        assert!(!is_sent, "the peer has taken nothing");
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
