//! The beginning of a body that has come with its head, as most bodies have as a whole: both then go in one write.
//!
//! The one rule: nothing is waited for but one turn, in which what has arrived already is handed over.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body and its first piece, if that was there.
pub(crate) struct HeadStart<B> {
    first: Option<Bytes>,
    rest: Pin<Box<B>>,
    /// The rest has said that nothing more comes, and is not to be asked again.
    has_ended: bool,
}

impl<B: Body<Data = Bytes>> HeadStart<B> {
    /// Gives the body its turn.
    pub(crate) async fn new(body: B) -> Result<Self, B::Error> {
        let mut rest = Box::pin(body);
        let (mut had_its_turn, mut has_ended) = (false, false);
        let first = poll_fn(|cx| {
            if rest.is_end_stream() {
                return Poll::Ready(None);
            }
            match rest.as_mut().poll_frame(cx) {
                Poll::Ready(frame) => {
                    has_ended = frame.is_none();
                    Poll::Ready(frame)
                }
                Poll::Pending if had_its_turn => Poll::Ready(None),
                Poll::Pending => {
                    had_its_turn = true;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        });
        let first = first.await.transpose()?.and_then(|frame| frame.into_data().ok());
        Ok(Self { first, rest, has_ended })
    }

    /// All of it, if nothing comes behind the first piece.
    pub(crate) fn all(&self) -> Option<&Bytes> {
        self.first.as_ref().filter(|_| self.rest.is_end_stream())
    }
}

impl<B: Body<Data = Bytes>> Body for HeadStart<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None if self.has_ended => Poll::Ready(None),
            None => self.rest.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
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

    /// A body that is empty, and does not know it before it is asked, as one in chunks.
    struct Unknowing(bool);

    impl Body for Unknowing {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            assert!(!std::mem::replace(&mut self.0, true), "it is asked again behind its end");
            Poll::Ready(None)
        }
    }

    /// A body that has nothing for so many turns, and then these pieces.
    struct Late(usize, Vec<Result<&'static str, &'static str>>);

    impl Body for Late {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            if self.0 > 0 {
                self.0 -= 1;
                return Poll::Pending;
            }
            let piece = (!self.1.is_empty()).then(|| self.1.remove(0));
            Poll::Ready(piece.map(|piece| piece.map(|text| Frame::data(text.into()))))
        }

        fn is_end_stream(&self) -> bool {
            self.1.is_empty()
        }
    }

    #[tokio::test]
    async fn what_is_there_within_a_turn_comes_first_and_nothing_is_lost() {
        for (turns, pieces, all) in
            [(0, vec!["a"], Some("a")), (1, vec!["a"], Some("a")), (1, vec!["a", "b"], None), (0, vec![], None)]
        {
            let body = HeadStart::new(Late(turns, pieces.iter().copied().map(Ok).collect())).await.unwrap();
            assert_eq!(body.all().map(|all| &all[..]), all.map(str::as_bytes), "{turns} {pieces:?}");
            assert_eq!(body.is_end_stream(), pieces.is_empty());
            assert_eq!(body.collect().await.unwrap().to_bytes(), pieces.concat());
        }
    }

    #[tokio::test]
    async fn what_comes_later_is_not_waited_for() {
        let body = HeadStart::new(Late(2, vec![Ok("a")])).await.unwrap();
        assert!(body.all().is_none());
        assert!(!body.is_end_stream());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "a");
        assert!(HeadStart::new(Late(usize::MAX, vec![Ok("a")])).now_or_never().is_none(), "it has one turn");
    }

    #[tokio::test]
    async fn a_body_that_has_said_its_end_is_not_asked_again() {
        let body = HeadStart::new(Unknowing(false)).await.unwrap();
        assert!(body.all().is_none());
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_at_once_has_no_head_start() {
        assert_eq!(HeadStart::new(Late(0, vec![Err("broken")])).await.err(), Some("broken"));
    }
}
