//! What goes to one caller: a queue of messages with a bound, from whoever hears a program to the body of an answer.
//!
//! The one rule: an end is only what [`Inlet::end`] says; an inlet that is dropped breaks the stream off.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use llamapool_wire::{CallError, Cause};
use tokio::sync::Notify;

use crate::event_id::EventId;

/// One message on its way to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// The whole answer, for a caller who gets no event stream, and the code of its error, if it is one.
    Whole(Bytes, Option<i64>),
    /// An event with a message.
    Event(Option<EventId>, Bytes),
    /// An event without one, from which a caller can resume already.
    Start(EventId),
}

/// Where messages go in.
pub(crate) struct Inlet(Arc<Shared>);

/// Where they come out.
pub(crate) struct Outlet(Arc<Shared>);

/// The caller takes nothing more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// It has left.
    Left,
    /// It has not read for so long that it is given up.
    Slow,
}

#[derive(Debug, Clone)]
enum End {
    Clean,
    Broken(CallError, Vec<Bytes>),
}

struct Shared {
    queue: Mutex<Queue>,
    room: Notify,
    max_bytes: usize,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    end: Option<End>,
    reader: Option<Waker>,
    has_left: bool,
}

/// A pipe that holds up to `max_bytes`, or one message of any size.
pub(crate) fn pipe(max_bytes: usize) -> (Inlet, Outlet) {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        room: Notify::new(),
        max_bytes,
    });
    (Inlet(shared.clone()), Outlet(shared))
}

impl Inlet {
    /// Puts an item in, as soon as there is room within `patience`.
    pub(crate) async fn put(&self, item: Item, patience: Duration) -> Result<(), NotTaken> {
        let Err((item, taken)) = self.try_put(item) else {
            return Ok(());
        };
        if taken == NotTaken::Left {
            return Err(taken);
        }
        tokio::time::timeout(patience, self.put_when_there_is_room(item))
            .await
            .unwrap_or(Err(NotTaken::Slow))
    }

    /// Puts an item in whatever the bound says, for what is small or was kept already.
    pub(crate) fn push(&self, item: Item) {
        self.0.lock().add(item);
    }

    /// Nothing more comes, and that is all there was.
    pub(crate) fn end(&self) {
        self.0.close(End::Clean);
    }

    /// Nothing more comes, because of this, and the requests with these ids have no response.
    pub(crate) fn fail(&self, failure: CallError, unanswered: Vec<Bytes>) {
        self.0.close(End::Broken(failure, unanswered));
    }

    /// Whether the caller has left.
    pub(crate) fn is_left(&self) -> bool {
        self.0.lock().has_left
    }

    async fn put_when_there_is_room(&self, mut item: Item) -> Result<(), NotTaken> {
        loop {
            let room = self.0.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.try_put(item) {
                Ok(()) => return Ok(()),
                Err((_, NotTaken::Left)) => return Err(NotTaken::Left),
                Err((refused, NotTaken::Slow)) => item = refused,
            }
            room.await;
        }
    }

    fn try_put(&self, item: Item) -> Result<(), (Item, NotTaken)> {
        let mut queue = self.0.lock();
        if queue.has_left {
            return Err((item, NotTaken::Left));
        }
        if !queue.items.is_empty() && queue.bytes + item.len() > self.0.max_bytes {
            return Err((item, NotTaken::Slow));
        }
        queue.add(item);
        Ok(())
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let message =
            "the MCP server was given up before it had answered; it may have executed the call";
        self.0.close(End::Broken(
            CallError::new(Cause::ProviderExited, message),
            Vec::new(),
        ));
    }
}

/// The stream has broken off, for this reason.
#[derive(Debug, thiserror::Error)]
#[error("the stream broke off: {}", .failure.message)]
pub(crate) struct Broken {
    pub(crate) failure: CallError,
    /// The ids of the requests that will get no response, as their caller wrote them; none of those that only listen.
    pub(crate) unanswered: Vec<Bytes>,
}

impl Outlet {
    /// The next item; none at the clean end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Item>, Broken>> {
        let mut queue = self.0.lock();
        if let Some(item) = queue.items.pop_front() {
            queue.bytes -= item.len();
            drop(queue);
            self.0.room.notify_one();
            return Poll::Ready(Ok(Some(item)));
        }
        match &queue.end {
            Some(End::Clean) => Poll::Ready(Ok(None)),
            Some(End::Broken(failure, unanswered)) => Poll::Ready(Err(Broken {
                failure: failure.clone(),
                unanswered: unanswered.clone(),
            })),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next item; none at the clean end.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, Broken> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Puts an item back that was taken.
    pub(crate) fn with(self, item: Item) -> Self {
        let mut queue = self.0.lock();
        queue.bytes += item.len();
        queue.items.push_front(item);
        drop(queue);
        self
    }

    /// Waits until there is something to take, be it the end, and takes nothing.
    pub(crate) async fn something(&mut self) {
        std::future::poll_fn(|cx| {
            let mut queue = self.0.lock();
            if !queue.items.is_empty() || queue.end.is_some() {
                return Poll::Ready(());
            }
            queue.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Whether everything was taken and the end is clean.
    pub(crate) fn is_over(&self) -> bool {
        let queue = self.0.lock();
        queue.items.is_empty() && matches!(queue.end, Some(End::Clean))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.has_left = true;
        queue.items.clear();
        queue.bytes = 0;
        drop(queue);
        self.0.room.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end counts.
    fn close(&self, end: End) {
        let mut queue = self.lock();
        queue.end.get_or_insert(end);
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }
}

impl Queue {
    fn add(&mut self, item: Item) {
        if self.has_left || self.end.is_some() {
            return;
        }
        self.bytes += item.len();
        self.items.push_back(item);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Whole(message, _) | Self::Event(_, message) => message.len(),
            Self::Start(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn event(length: usize) -> Item {
        Item::Event(None, Bytes::from(vec![b'x'; length]))
    }

    #[tokio::test]
    async fn items_come_out_in_order_and_then_the_end() {
        let (inlet, mut outlet) = pipe(100);
        for length in [1, 2, 3] {
            inlet.put(event(length), NOW).await.unwrap();
        }
        inlet.end();
        drop(inlet);
        for length in [1, 2, 3] {
            assert_eq!(outlet.next().await.unwrap(), Some(event(length)));
        }
        assert!(outlet.is_over());
        assert_eq!(outlet.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_inlet_that_is_dropped_breaks_off_behind_what_it_had() {
        let (inlet, mut outlet) = pipe(100);
        inlet.put(event(1), NOW).await.unwrap();
        drop(inlet);
        assert_eq!(outlet.next().await.unwrap(), Some(event(1)));
        assert_eq!(
            outlet.next().await.unwrap_err().failure.cause,
            Cause::ProviderExited
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_caller_holds_back_for_as_long_as_there_is_patience() {
        let (inlet, mut outlet) = pipe(10);
        inlet.put(event(1000), NOW).await.unwrap();
        assert_eq!(
            inlet.put(event(1), Duration::from_secs(30)).await,
            Err(NotTaken::Slow)
        );
        let (put, taken) = tokio::join!(inlet.put(event(1), Duration::from_secs(30)), async {
            tokio::time::sleep(Duration::from_secs(29)).await;
            outlet.next().await
        });
        assert_eq!((put, taken.unwrap()), (Ok(()), Some(event(1000))));
    }

    #[tokio::test]
    async fn a_caller_who_has_left_takes_nothing_and_keeps_nobody_waiting() {
        let (inlet, outlet) = pipe(10);
        inlet.put(event(10), NOW).await.unwrap();
        let mut waiting = Box::pin(inlet.put(event(10), Duration::from_secs(3600)));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(outlet);
        assert_eq!(waiting.await, Err(NotTaken::Left));
        assert!(inlet.is_left());
    }
}
