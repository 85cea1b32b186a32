//! The first chunk of a body that has arrived with its head. Most bodies are whole by then, and
//! head and body go out in one write.
//!
//! The one rule: nothing is waited for but one turn of the runtime, in which the source of the body
//! can deliver what has arrived already.

use std::future::poll_fn;
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body and its first chunk, if that had arrived.
pub(crate) struct FirstChunk<P> {
    chunk: Option<Bytes>,
    rest: Pin<P>,
    /// True if `rest` has returned its end, and must not be polled again.
    has_ended: bool,
}

impl<P> FirstChunk<P>
where
    P: DerefMut + Unpin,
    P::Target: Body<Data = Bytes>,
{
    /// Takes the chunk that is ready now, or after one turn of the runtime.
    pub(crate) async fn ready_within_a_turn(
        body: Pin<P>,
    ) -> Result<Self, <P::Target as Body>::Error> {
        Self::ready_after(1, body).await
    }

    /// Takes the chunk that is ready now.
    pub(crate) async fn ready_now(body: Pin<P>) -> Result<Self, <P::Target as Body>::Error> {
        Self::ready_after(0, body).await
    }

    async fn ready_after(
        mut turns: usize,
        mut rest: Pin<P>,
    ) -> Result<Self, <P::Target as Body>::Error> {
        let mut has_ended = false;
        let first_frame = poll_fn(|cx| {
            if rest.is_end_stream() {
                return Poll::Ready(None);
            }
            match rest.as_mut().poll_frame(cx) {
                Poll::Ready(frame) => {
                    has_ended = frame.is_none();
                    Poll::Ready(frame)
                }
                Poll::Pending if turns == 0 => Poll::Ready(None),
                Poll::Pending => {
                    turns -= 1;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        });

        let frame = first_frame.await.transpose()?;
        Ok(Self {
            chunk: frame.and_then(|frame| frame.into_data().ok()),
            rest,
            has_ended,
        })
    }

    /// Returns the whole body if the first chunk is all of it and has at most `max_bytes`.
    pub(crate) fn whole_body(&self, max_bytes: usize) -> Option<Bytes> {
        self.chunk
            .clone()
            .filter(|chunk| chunk.len() <= max_bytes && self.rest.is_end_stream())
    }
}

impl<P> Body for FirstChunk<P>
where
    P: DerefMut + Unpin,
    P::Target: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = <P::Target as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.chunk.take() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None if self.has_ended => Poll::Ready(None),
            None => self.rest.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunk.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    /// An empty body that does not report its end before it is polled, like a chunked one.
    #[derive(Default)]
    struct EmptyChunked {
        has_ended: bool,
    }

    impl Body for EmptyChunked {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            let had_ended = std::mem::replace(&mut self.has_ended, true);
            assert!(!had_ended, "it is polled again behind its end");
            Poll::Ready(None)
        }
    }

    /// A body that is pending for some polls, and then yields its pieces.
    struct Late {
        pending_polls: usize,
        pieces: Vec<Result<&'static str, &'static str>>,
    }

    impl Body for Late {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            if self.pending_polls > 0 {
                self.pending_polls -= 1;
                return Poll::Pending;
            }
            let piece = (!self.pieces.is_empty()).then(|| self.pieces.remove(0));
            Poll::Ready(piece.map(|piece| piece.map(|text| Frame::data(text.into()))))
        }

        fn is_end_stream(&self) -> bool {
            self.pieces.is_empty()
        }
    }

    fn late(pending_polls: usize, pieces: &[Result<&'static str, &'static str>]) -> Pin<Box<Late>> {
        Box::pin(Late {
            pending_polls,
            pieces: pieces.to_vec(),
        })
    }

    #[tokio::test]
    async fn a_chunk_that_is_ready_within_a_turn_comes_first() {
        let cases = [
            (0, &[Ok("a")][..], Some("a")),
            (1, &[Ok("a")], Some("a")),
            (0, &[Ok("ab")], None),
            (1, &[Ok("a"), Ok("b")], None),
            (0, &[], None),
        ];
        for (pending_polls, pieces, whole) in cases {
            let body = FirstChunk::ready_within_a_turn(late(pending_polls, pieces))
                .await
                .unwrap();

            assert_eq!(
                body.whole_body(1).as_deref(),
                whole.map(str::as_bytes),
                "{pending_polls} {pieces:?}"
            );
            assert_eq!(body.is_end_stream(), pieces.is_empty());

            let expected: String = pieces.iter().map(|piece| piece.unwrap()).collect();
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }

    #[tokio::test]
    async fn a_later_chunk_is_not_waited_for() {
        let bodies = [
            FirstChunk::ready_within_a_turn(late(2, &[Ok("a")])).await,
            FirstChunk::ready_now(late(1, &[Ok("a")])).await,
        ];
        for body in bodies {
            let body = body.unwrap();

            assert!(body.whole_body(1).is_none());
            assert!(!body.is_end_stream());
            assert_eq!(body.collect().await.unwrap().to_bytes(), "a");
        }
    }

    #[test]
    fn a_pending_body_has_one_turn_or_none() {
        let never = || late(usize::MAX, &[Ok("a")]);

        let within_a_turn = FirstChunk::ready_within_a_turn(never()).now_or_never();
        let now = FirstChunk::ready_now(never()).now_or_never();

        assert!(within_a_turn.is_none());
        assert!(now.is_some());
    }

    #[tokio::test]
    async fn a_body_that_has_ended_is_not_polled_again() {
        let body = FirstChunk::ready_now(Box::pin(EmptyChunked::default()))
            .await
            .unwrap();

        assert!(body.whole_body(1).is_none());
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_at_once_is_an_error() {
        let result = FirstChunk::ready_now(late(0, &[Err("broken")])).await;

        assert_eq!(result.err(), Some("broken"));
    }
}
