//! A request's body that can be sent once more from its beginning, while little of it has been
//! sent: for a provider that redirects, and so has not executed the call.
//!
//! The pieces that were sent are stored up to a bound, and while there is memory for them. While it is unknown whether the provider
//! redirects, a body pauses after its beginning until the provider's first response, for a moment.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use llamapool_http::http1::RequestBody;
use llamapool_http::{BoxError, CountedMemory};
use llamapool_limits::MemoryAccount;
use parking_lot::Mutex;
use tokio::time::Sleep;

use super::connection::StreamedBody;

/// After how many bytes a body waits for the provider's first response: as many as a socket takes
/// at once. A provider that redirects without reading may hang up, and a sender that still writes
/// then loses the response with the connection.
const BEGINNING_BYTES: usize = 64 * 1024;
/// How long it waits.
const PAUSE: Duration = Duration::from_millis(500);

/// More of the body was sent than is stored.
#[derive(Debug)]
pub(super) struct ReplayLimitError;

/// A body that can be sent again. Its bodies are sent one after the other.
pub(super) enum Replay {
    /// All of it is here.
    Here(HereBody),
    /// It arrives piece by piece.
    Arriving(Arc<Mutex<ReplayState>>),
}

/// A body that is here.
pub(super) struct HereBody {
    data: Bytes,
    /// False if it is sent in chunks where its head has no length.
    is_announced: bool,
    is_replayable: bool,
    was_sent: AtomicBool,
}

pub(super) struct ReplayState {
    source: StreamedBody,
    stored: VecDeque<Bytes>,
    stored_bytes: usize,
    max_bytes: usize,
    memory: CountedMemory,
    /// True if everything that was sent is stored.
    is_complete: bool,
    is_ended: bool,
    /// The number of bodies made; only the newest may read on.
    turn: usize,
    pause: Pause,
}

enum Pause {
    /// No pause, or no more.
    Over,
    /// After its beginning, the body waits for the provider's first response.
    AfterBeginning(Option<Waker>),
}

impl Replay {
    /// A body of which up to `max_bytes` are stored. With `pauses`, it waits after its beginning for
    /// [`release`](Self::release).
    pub(super) fn new(
        body: RequestBody<StreamedBody>,
        max_bytes: usize,
        pauses: bool,
        memory: &MemoryAccount,
    ) -> Self {
        let here = |data, is_announced| Self::Here(HereBody::new(data, is_announced, max_bytes));
        let source = match body {
            RequestBody::Whole(data) => return here(data, true),
            RequestBody::WholeUnannounced(data) => return here(data, false),
            RequestBody::Empty => return here(Bytes::new(), true),
            RequestBody::Stream(source) if source.is_end_stream() => {
                return here(Bytes::new(), true);
            }
            RequestBody::Stream(source) => source,
        };
        let pause = if pauses {
            Pause::AfterBeginning(None)
        } else {
            Pause::Over
        };
        Self::Arriving(Arc::new(Mutex::new(ReplayState {
            source,
            stored: VecDeque::new(),
            stored_bytes: 0,
            max_bytes,
            memory: CountedMemory::new(memory),
            is_complete: true,
            is_ended: false,
            turn: 0,
            pause,
        })))
    }

    /// Returns the body from its beginning. Bodies that were returned before end with an error.
    pub(super) fn body(&self) -> Result<RequestBody<StreamedBody>, ReplayLimitError> {
        let shared = match self {
            Self::Here(here) => return here.body(),
            Self::Arriving(shared) => shared,
        };
        let mut state = shared.lock();
        if !state.is_complete {
            return Err(ReplayLimitError);
        }
        if state.is_ended && state.stored.is_empty() {
            return Ok(RequestBody::Empty);
        }

        state.turn += 1;
        let rest = state.source.size_hint().exact();
        let attempt = Attempt {
            state: shared.clone(),
            turn: state.turn,
            next: 0,
            size: rest.map(|rest| rest + state.stored_bytes as u64),
            pause: None,
        };
        Ok(RequestBody::Stream(attempt.boxed_unsync()))
    }

    /// Returns whether all of the body was sent.
    pub(super) fn is_sent(&self) -> bool {
        match self {
            Self::Here(here) => here.was_sent.load(Ordering::Relaxed),
            Self::Arriving(state) => state.lock().is_ended,
        }
    }

    /// Ends the pause: the provider has responded.
    pub(super) fn release(&self) {
        let Self::Arriving(state) = self else {
            return;
        };
        let pause = std::mem::replace(&mut state.lock().pause, Pause::Over);
        if let Pause::AfterBeginning(Some(waker)) = pause {
            waker.wake();
        }
    }
}

impl HereBody {
    fn new(data: Bytes, is_announced: bool, max_bytes: usize) -> Self {
        Self {
            is_replayable: data.len() <= max_bytes,
            data,
            is_announced,
            was_sent: AtomicBool::new(false),
        }
    }

    fn body(&self) -> Result<RequestBody<StreamedBody>, ReplayLimitError> {
        let was_sent = self.was_sent.swap(true, Ordering::Relaxed);
        if was_sent && !self.is_replayable {
            return Err(ReplayLimitError);
        }
        let data = self.data.clone();
        Ok(if data.is_empty() {
            RequestBody::Empty
        } else if self.is_announced {
            RequestBody::Whole(data)
        } else {
            RequestBody::WholeUnannounced(data)
        })
    }
}

/// One attempt to send the body.
struct Attempt {
    state: Arc<Mutex<ReplayState>>,
    turn: usize,
    /// The next stored piece that is sent.
    next: usize,
    size: Option<u64>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Attempt {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut state = this.state.lock();
        if state.turn != this.turn {
            return Poll::Ready(Some(Err("the request is sent another way".into())));
        }

        if state.is_complete && this.next < state.stored.len() {
            this.next += 1;
            let piece = state.stored[this.next - 1].clone();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if state.is_ended {
            return Poll::Ready(None);
        }

        if state.stored_bytes >= state.max_bytes.min(BEGINNING_BYTES)
            && let Pause::AfterBeginning(waker) = &mut state.pause
        {
            let pause = this
                .pause
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
            if pause.as_mut().poll(cx).is_pending() {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            state.pause = Pause::Over;
        }

        let polled = Pin::new(&mut state.source).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref().cloned() {
                    state.store(data);
                    this.next += 1;
                }
                state.is_ended = state.source.is_end_stream();
            }
            Poll::Ready(None | Some(Err(_))) => state.is_ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock();
        state.is_ended && (!state.is_complete || self.next >= state.stored.len())
    }

    fn size_hint(&self) -> SizeHint {
        self.size
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl ReplayState {
    fn store(&mut self, data: Bytes) {
        let bytes = self.stored_bytes + data.len();
        let has_room = self.is_complete && self.stored_bytes < self.max_bytes;
        if has_room && self.memory.cover(bytes).is_ok() {
            self.stored_bytes = bytes;
            self.stored.push_back(data);
        } else {
            self.is_complete = false;
            self.stored.clear();
            // Nothing is always granted.
            let _ = self.memory.fit(0);
        }
    }
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
            RequestBody::Stream(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync()),
            max_bytes,
            holds,
            &MemoryAccount::default(),
        )
    }

    fn stream(replay: &Replay) -> StreamedBody {
        match replay.body() {
            Ok(RequestBody::Stream(body)) => body,
            _ => panic!("it is no stream"),
        }
    }

    async fn whole(body: StreamedBody) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_small_body_is_sent_twice_even_if_the_first_was_cut() {
        let replay = replay(&["ab", "cd", "ef"], 100, true);
        let mut first = stream(&replay);

        assert_eq!(
            first.frame().await.unwrap().unwrap().into_data().unwrap(),
            "ab"
        );

        let second = stream(&replay);

        assert!(
            first.frame().await.unwrap().is_err(),
            "the first body has ended"
        );
        assert_eq!(whole(second).await, "abcdef");
        assert_eq!(whole(stream(&replay)).await, "abcdef");
    }

    #[tokio::test]
    async fn a_long_body_is_sent_once() {
        let replay = replay(&["ab", "cd", "ef"], 3, false);

        assert_eq!(whole(stream(&replay)).await, "abcdef");
        assert!(replay.body().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_beginning_a_body_waits_but_not_for_long() {
        let held = replay(&["ab", "cd", "ef"], 3, true);
        let mut body = stream(&held);
        for _ in 0..2 {
            body.frame().await.unwrap().unwrap();
        }
        let mut third = Box::pin(body.frame());

        assert!(futures_util::poll!(third.as_mut()).is_pending());

        held.release();

        assert!(futures_util::poll!(third.as_mut()).is_ready());

        let held = replay(&["ab", "cd", "ef"], 3, true);

        assert_eq!(whole(stream(&held)).await, "abcdef");
    }

    #[tokio::test]
    async fn an_empty_body_is_empty() {
        let empty = http_body_util::Empty::new()
            .map_err(|never| match never {})
            .boxed_unsync();
        let empty = RequestBody::Stream(empty);
        let replay = Replay::new(empty, 10, true, &MemoryAccount::default());

        assert!(matches!(replay.body(), Ok(RequestBody::Empty)));
        assert!(replay.is_sent());
    }

    #[test]
    fn a_body_that_is_here_is_sent_twice_within_the_bound() {
        for (max_bytes, is_sent_twice) in [(6, true), (5, false)] {
            let body = RequestBody::Whole(Bytes::from_static(b"abcdef"));
            let replay = Replay::new(body, max_bytes, true, &MemoryAccount::default());

            assert!(matches!(replay.body(), Ok(RequestBody::Whole(body)) if body == "abcdef"));
            assert_eq!(replay.body().is_ok(), is_sent_twice);
        }
    }
}
