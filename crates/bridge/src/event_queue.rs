//! The bounded queue from a program's reader task to one response body.
//!
//! The stream ends cleanly only by [`EventSender::finish`]. A sender that is dropped breaks the
//! stream off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use llamapool_http::CountedMemory;
use llamapool_limits::MemoryAccount;
use llamapool_wire::{CallError, Cause};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::event_id::EventId;

/// One part of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResponsePart {
    /// The whole response, for a caller that receives no event stream, and its JSON-RPC error code.
    Whole(Bytes, Option<i64>),
    /// An event with a message.
    Event(Option<EventId>, Bytes),
    /// An event without a message, after which a caller can resume the stream.
    Primer(EventId),
}

/// The end of the queue that the program's messages enter.
pub(crate) struct EventSender(Arc<Shared>);

/// The end of the queue that a response body reads.
pub(crate) struct EventReceiver(Arc<Shared>);

/// Why the queue did not accept a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum QueueError {
    /// The caller has disconnected.
    Disconnected,
    /// The caller did not read for as long as the sender was ready to wait.
    TooSlow,
}

#[derive(Debug, Clone)]
enum StreamEnd {
    Clean,
    Broken(CallError, Vec<Bytes>),
}

struct Shared {
    queue: Mutex<Queue>,
    /// Notified when the receiver has taken a part or was dropped.
    room: Notify,
    max_bytes: usize,
}

struct Queue {
    parts: VecDeque<ResponsePart>,
    bytes: usize,
    memory: CountedMemory,
    end: Option<StreamEnd>,
    reader: Option<Waker>,
    is_disconnected: bool,
}

/// Creates a queue that holds up to `max_bytes`, or one message of any size, and what there is
/// `memory` for.
pub(crate) fn event_queue(
    max_bytes: usize,
    memory: &MemoryAccount,
) -> (EventSender, EventReceiver) {
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue::new(memory)),
        room: Notify::new(),
        max_bytes,
    });
    (EventSender(shared.clone()), EventReceiver(shared))
}

impl EventSender {
    /// Sends a part. Waits up to `patience` for room.
    pub(crate) async fn send(
        &self,
        part: ResponsePart,
        patience: Duration,
    ) -> Result<(), QueueError> {
        let Err((part, error)) = self.try_send(part) else {
            return Ok(());
        };
        if error == QueueError::Disconnected {
            return Err(error);
        }
        tokio::time::timeout(patience, self.send_when_there_is_room(part))
            .await
            .unwrap_or(Err(QueueError::TooSlow))
    }

    /// Sends a part regardless of the bound. For parts that are small or are already in memory.
    pub(crate) fn push(&self, part: ResponsePart) {
        self.0.lock().add(part);
    }

    /// Ends the stream cleanly. Later ends and parts are ignored.
    pub(crate) fn finish(&self) {
        self.0.close(StreamEnd::Clean);
    }

    /// Breaks the stream off. `unanswered` are the ids of the requests that get no response.
    pub(crate) fn fail(&self, failure: CallError, unanswered: Vec<Bytes>) {
        self.0.close(StreamEnd::Broken(failure, unanswered));
    }

    /// Returns whether the caller has disconnected.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.0.lock().is_disconnected
    }

    async fn send_when_there_is_room(&self, mut part: ResponsePart) -> Result<(), QueueError> {
        loop {
            // Registered before the attempt, so that room made in between is not missed.
            let room = self.0.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();

            match self.try_send(part) {
                Ok(()) => return Ok(()),
                Err((_, QueueError::Disconnected)) => return Err(QueueError::Disconnected),
                Err((refused, QueueError::TooSlow)) => part = refused,
            }
            room.await;
        }
    }

    fn try_send(&self, part: ResponsePart) -> Result<(), (ResponsePart, QueueError)> {
        let mut queue = self.0.lock();
        if queue.is_disconnected {
            return Err((part, QueueError::Disconnected));
        }

        let bytes = queue.bytes + part.len();
        let has_room = bytes <= self.0.max_bytes && queue.memory.fit(bytes).is_ok();
        // A single message of any size is counted by its reader.
        if !has_room && !queue.parts.is_empty() {
            return Err((part, QueueError::TooSlow));
        }
        queue.add(part);
        Ok(())
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let message =
            "the MCP server was given up before it had answered; it may have executed the call";
        let failure = CallError::new(Cause::ProviderExited, message);
        self.0.close(StreamEnd::Broken(failure, Vec::new()));
    }
}

/// The stream broke off.
#[derive(Debug, thiserror::Error)]
#[error("the stream broke off: {}", .failure.message)]
pub(crate) struct BrokenStreamError {
    pub(crate) failure: CallError,
    /// The ids of the requests that get no response, as their caller wrote them. Requests that only
    /// listen are not among them.
    pub(crate) unanswered: Vec<Bytes>,
}

impl EventReceiver {
    /// Polls for the next part. `None` at the clean end.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<ResponsePart>, BrokenStreamError>> {
        let mut queue = self.0.lock();
        if let Some(part) = queue.parts.pop_front() {
            queue.remove_bytes(part.len());
            drop(queue);
            self.0.room.notify_one();
            return Poll::Ready(Ok(Some(part)));
        }

        match &queue.end {
            Some(StreamEnd::Clean) => Poll::Ready(Ok(None)),
            Some(StreamEnd::Broken(failure, unanswered)) => Poll::Ready(Err(BrokenStreamError {
                failure: failure.clone(),
                unanswered: unanswered.clone(),
            })),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits for the next part. `None` at the clean end.
    pub(crate) async fn next(&mut self) -> Result<Option<ResponsePart>, BrokenStreamError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Returns the receiver with a part that was taken at its front again.
    pub(crate) fn unread(self, part: ResponsePart) -> Self {
        let mut queue = self.0.lock();
        queue.bytes += part.len();
        queue.parts.push_front(part);
        drop(queue);
        self
    }

    /// Waits until there is a part or an end, and takes neither.
    pub(crate) async fn ready(&mut self) {
        std::future::poll_fn(|cx| {
            let mut queue = self.0.lock();
            if !queue.parts.is_empty() || queue.end.is_some() {
                return Poll::Ready(());
            }
            queue.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Returns whether every part was taken and the end is clean.
    pub(crate) fn is_finished(&self) -> bool {
        let queue = self.0.lock();
        queue.parts.is_empty() && matches!(queue.end, Some(StreamEnd::Clean))
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.is_disconnected = true;
        queue.parts.clear();
        queue.remove_bytes(usize::MAX);
        drop(queue);
        self.0.room.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// Sets the end, unless there is one already.
    fn close(&self, end: StreamEnd) {
        let mut queue = self.lock();
        queue.end.get_or_insert(end);
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }
}

impl Queue {
    fn new(memory: &MemoryAccount) -> Self {
        Self {
            parts: VecDeque::new(),
            bytes: 0,
            memory: CountedMemory::new(memory),
            end: None,
            reader: None,
            is_disconnected: false,
        }
    }

    fn remove_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        // Less is always granted.
        let _ = self.memory.fit(self.bytes);
    }

    fn add(&mut self, part: ResponsePart) {
        if self.is_disconnected || self.end.is_some() {
            return;
        }
        self.bytes += part.len();
        self.parts.push_back(part);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl ResponsePart {
    fn len(&self) -> usize {
        match self {
            Self::Whole(message, _) | Self::Event(_, message) => message.len(),
            Self::Primer(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn event(length: usize) -> ResponsePart {
        ResponsePart::Event(None, Bytes::from(vec![b'x'; length]))
    }

    #[tokio::test]
    async fn parts_are_received_in_order_and_then_the_end() {
        let (sender, mut receiver) = event_queue(100, &MemoryAccount::default());
        for length in [1, 2, 3] {
            sender.send(event(length), NOW).await.unwrap();
        }
        sender.finish();
        drop(sender);
        for length in [1, 2, 3] {
            assert_eq!(receiver.next().await.unwrap(), Some(event(length)));
        }

        assert!(receiver.is_finished());
        assert_eq!(receiver.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_dropped_sender_breaks_the_stream_off() {
        let (sender, mut receiver) = event_queue(100, &MemoryAccount::default());
        sender.send(event(1), NOW).await.unwrap();
        drop(sender);

        assert_eq!(receiver.next().await.unwrap(), Some(event(1)));
        assert_eq!(
            receiver.next().await.unwrap_err().failure.cause,
            Cause::ProviderExited
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_caller_holds_the_sender_back() {
        let (sender, mut receiver) = event_queue(10, &MemoryAccount::default());
        sender.send(event(1000), NOW).await.unwrap();

        assert_eq!(
            sender.send(event(1), Duration::from_secs(30)).await,
            Err(QueueError::TooSlow)
        );

        let (sent, taken) = tokio::join!(sender.send(event(1), Duration::from_secs(30)), async {
            tokio::time::sleep(Duration::from_secs(29)).await;
            receiver.next().await
        });

        assert_eq!((sent, taken.unwrap()), (Ok(()), Some(event(1000))));
    }

    #[tokio::test]
    async fn a_disconnected_caller_keeps_no_sender_waiting() {
        let (sender, receiver) = event_queue(10, &MemoryAccount::default());
        sender.send(event(10), NOW).await.unwrap();
        let mut waiting = Box::pin(sender.send(event(10), Duration::from_secs(3600)));

        assert!(futures_util::poll!(waiting.as_mut()).is_pending());

        drop(receiver);

        assert_eq!(waiting.await, Err(QueueError::Disconnected));
        assert!(sender.is_disconnected());
    }
}
