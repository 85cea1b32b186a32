//! The beginning of a body that has come with its head, as most bodies have as a whole: both then go in one write.
//!
//! The one rule: nothing is waited for but one turn, in which what has arrived already is handed over.

use std::future::poll_fn;
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body and its first piece, if that was there.
pub(crate) struct HeadStart<P> {
    first: Option<Bytes>,
    rest: Pin<P>,
    /// The rest has said that nothing more comes, and is not to be asked again.
    has_ended: bool,
}

impl<P> HeadStart<P>
where
    P: DerefMut + Unpin,
    P::Target: Body<Data = Bytes>,
{
    /// Gives the body a turn to hand over what has arrived.
    pub(crate) async fn after_a_turn(body: Pin<P>) -> Result<Self, <P::Target as Body>::Error> {
        Self::after(1, body).await
    }

    /// Takes what is there.
    pub(crate) async fn at_once(body: Pin<P>) -> Result<Self, <P::Target as Body>::Error> {
        Self::after(0, body).await
    }

    async fn after(mut turns: usize, mut rest: Pin<P>) -> Result<Self, <P::Target as Body>::Error> {
        let mut has_ended = false;
        let first = poll_fn(|cx| {
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
        let first = first
            .await
            .transpose()?
            .and_then(|frame| frame.into_data().ok());
        Ok(Self {
            first,
            rest,
            has_ended,
        })
    }

    /// All of it, if nothing comes behind the first piece and that is no longer than so many bytes.
    pub(crate) fn all_within(&self, bytes: usize) -> Option<Bytes> {
        self.first
            .clone()
            .filter(|first| first.len() <= bytes && self.rest.is_end_stream())
    }
}

impl<P> Body for HeadStart<P>
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
            assert!(
                !std::mem::replace(&mut self.0, true),
                "it is asked again behind its end"
            );
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

    fn late(turns: usize, pieces: &[Result<&'static str, &'static str>]) -> Pin<Box<Late>> {
        Box::pin(Late(turns, pieces.to_vec()))
    }

    #[tokio::test]
    async fn what_is_there_within_a_turn_comes_first_and_nothing_is_lost() {
        for (turns, pieces, all) in [
            (0, &[Ok("a")][..], Some("a")),
            (1, &[Ok("a")], Some("a")),
            (0, &[Ok("ab")], None),
            (1, &[Ok("a"), Ok("b")], None),
            (0, &[], None),
        ] {
            let body = HeadStart::after_a_turn(late(turns, pieces)).await.unwrap();
            assert_eq!(
                body.all_within(1).as_deref(),
                all.map(str::as_bytes),
                "{turns} {pieces:?}"
            );
            assert_eq!(body.is_end_stream(), pieces.is_empty());
            let whole: String = pieces.iter().map(|piece| piece.unwrap()).collect();
            assert_eq!(body.collect().await.unwrap().to_bytes(), whole);
        }
    }

    #[tokio::test]
    async fn what_comes_later_is_not_waited_for() {
        for body in [
            HeadStart::after_a_turn(late(2, &[Ok("a")])).await,
            HeadStart::at_once(late(1, &[Ok("a")])).await,
        ] {
            let body = body.unwrap();
            assert!(body.all_within(1).is_none());
            assert!(!body.is_end_stream());
            assert_eq!(body.collect().await.unwrap().to_bytes(), "a");
        }
        let never = || late(usize::MAX, &[Ok("a")]);
        assert!(
            HeadStart::after_a_turn(never()).now_or_never().is_none(),
            "it has one turn"
        );
        assert!(
            HeadStart::at_once(never()).now_or_never().is_some(),
            "it has none"
        );
    }

    #[tokio::test]
    async fn a_body_that_has_said_its_end_is_not_asked_again() {
        let body = HeadStart::at_once(Box::pin(Unknowing(false)))
            .await
            .unwrap();
        assert!(body.all_within(1).is_none());
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_at_once_has_no_head_start() {
        assert_eq!(
            HeadStart::at_once(late(0, &[Err("broken")])).await.err(),
            Some("broken")
        );
    }
}
