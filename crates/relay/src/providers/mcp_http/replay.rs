//! A request's body that can be sent once more, from its beginning, as long as little of it has gone by: for a
//! provider that answers with a redirect, and so has not executed the call.
//!
//! What has gone by is kept up to a bound. While it is not known whether the provider redirects, a body waits for the
//! provider's first answer, for a moment, as soon as its beginning has gone.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use llamapool_http::BoxError;
use tokio::time::Sleep;

/// After how many bytes a body waits for the provider's first answer: so many a socket takes at once. A provider that
/// redirects without reading may hang up, and a sender that still writes then loses the answer with the connection.
const BEGINNING_BYTES: usize = 64 * 1024;
/// How long it waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// More has gone by than was kept.
#[derive(Debug)]
pub(super) struct NotReplayable;

/// A body that can be sent again. Clones of it are handed out one after the other.
pub(super) struct Replay(Arc<Mutex<Shared>>);

struct Shared {
    source: UnsyncBoxBody<Bytes, BoxError>,
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    max_bytes: usize,
    /// Whether all that has gone by is kept.
    whole: bool,
    ended: bool,
    /// Counts the bodies handed out; only the newest may read on.
    turn: usize,
    hold: Hold,
}

enum Hold {
    /// Nothing waits.
    No,
    /// Behind its beginning, the body waits for the provider's first answer.
    BehindTheBeginning(Option<Waker>),
}

impl Replay {
    pub(super) fn new(
        source: UnsyncBoxBody<Bytes, BoxError>,
        max_bytes: usize,
        holds: bool,
    ) -> Self {
        let hold = if holds {
            Hold::BehindTheBeginning(None)
        } else {
            Hold::No
        };
        let ended = source.is_end_stream();
        let shared = Shared {
            source,
            kept: VecDeque::new(),
            kept_bytes: 0,
            max_bytes,
            whole: true,
            ended,
            turn: 0,
            hold,
        };
        Self(Arc::new(Mutex::new(shared)))
    }

    /// The body from its beginning. Bodies that were handed out before end.
    pub(super) fn body(&self) -> Result<UnsyncBoxBody<Bytes, BoxError>, NotReplayable> {
        let mut shared = lock(&self.0);
        if !shared.whole {
            return Err(NotReplayable);
        }
        if shared.ended && shared.kept.is_empty() {
            return Ok(http_body_util::Empty::new()
                .map_err(|never| match never {})
                .boxed_unsync());
        }
        shared.turn += 1;
        let (turn, size) = (shared.turn, shared.source.size_hint().exact());
        let size = size.map(|rest| rest + shared.kept_bytes as u64);
        Ok(Attempt {
            shared: self.0.clone(),
            turn,
            at: 0,
            size,
            patience: None,
        }
        .boxed_unsync())
    }

    /// Whether all of the body has gone by.
    pub(super) fn is_through(&self) -> bool {
        lock(&self.0).ended
    }

    /// The provider has answered: nothing needs to wait any more.
    pub(super) fn verdict(&self) {
        let hold = std::mem::replace(&mut lock(&self.0).hold, Hold::No);
        if let Hold::BehindTheBeginning(Some(waker)) = hold {
            waker.wake();
        }
    }
}

/// One way of the body to the provider.
struct Attempt {
    shared: Arc<Mutex<Shared>>,
    turn: usize,
    /// How many of the kept pieces have gone this way.
    at: usize,
    size: Option<u64>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Body for Attempt {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut shared = lock(&this.shared);
        if shared.turn != this.turn {
            return Poll::Ready(Some(Err("the request goes another way".into())));
        }
        if shared.whole && this.at < shared.kept.len() {
            this.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(shared.kept[this.at - 1].clone()))));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        if shared.kept_bytes >= shared.max_bytes.min(BEGINNING_BYTES)
            && let Hold::BehindTheBeginning(waker) = &mut shared.hold
        {
            let patience = this
                .patience
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
            if patience.as_mut().poll(cx).is_pending() {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            shared.hold = Hold::No;
        }
        let polled = Pin::new(&mut shared.source).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref().cloned() {
                    shared.keep(data);
                    this.at += 1;
                }
                shared.ended = shared.source.is_end_stream();
            }
            Poll::Ready(None | Some(Err(_))) => shared.ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        shared.ended && (!shared.whole || self.at >= shared.kept.len())
    }

    fn size_hint(&self) -> SizeHint {
        self.size
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Shared {
    fn keep(&mut self, data: Bytes) {
        if self.whole && self.kept_bytes < self.max_bytes {
            self.kept_bytes += data.len();
            self.kept.push_back(data);
        } else {
            self.whole = false;
            self.kept.clear();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn replay(pieces: &[&'static str], max_bytes: usize, holds: bool) -> Replay {
        let pieces: Vec<Result<_, BoxError>> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        Replay::new(
            StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync(),
            max_bytes,
            holds,
        )
    }

    async fn whole(body: UnsyncBoxBody<Bytes, BoxError>) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_small_body_goes_twice_from_its_beginning_even_if_it_was_cut_the_first_time() {
        let replay = replay(&["ab", "cd", "ef"], 100, true);
        let mut first = replay.body().unwrap();
        assert_eq!(
            first.frame().await.unwrap().unwrap().into_data().unwrap(),
            "ab"
        );
        let second = replay.body().unwrap();
        assert!(
            first.frame().await.unwrap().is_err(),
            "the first way is closed"
        );
        assert_eq!(whole(second).await, "abcdef");
        assert_eq!(whole(replay.body().unwrap()).await, "abcdef");
    }

    #[tokio::test]
    async fn a_long_body_goes_once() {
        let replay = replay(&["ab", "cd", "ef"], 3, false);
        assert_eq!(whole(replay.body().unwrap()).await, "abcdef");
        assert!(replay.body().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn behind_its_beginning_a_body_waits_for_the_verdict_but_not_for_long() {
        let held = replay(&["ab", "cd", "ef"], 3, true);
        let mut body = held.body().unwrap();
        for _ in 0..2 {
            body.frame().await.unwrap().unwrap();
        }
        let mut third = Box::pin(body.frame());
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        held.verdict();
        assert!(futures_util::poll!(third.as_mut()).is_ready());

        let held = replay(&["ab", "cd", "ef"], 3, true);
        assert_eq!(whole(held.body().unwrap()).await, "abcdef");
    }

    #[tokio::test]
    async fn an_empty_body_is_empty() {
        let empty = http_body_util::Empty::new()
            .map_err(|never| match never {})
            .boxed_unsync();
        assert!(Replay::new(empty, 10, true).body().unwrap().is_end_stream());
    }
}
