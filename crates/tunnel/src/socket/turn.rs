//! Turns of the senders that wait for room in the outbox.

use std::sync::Arc;
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// One sender's turn, shared by the sender and the queue. It has no reference to a stream.
///
/// Its state changes only under the outbox's lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(Arc<Mutex<TurnCell>>);

#[derive(Debug, Default)]
struct TurnCell {
    state: TurnState,
    sender: Option<Waker>,
}

/// State of a sender towards the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TurnState {
    /// Not in the queue.
    #[default]
    Idle,
    /// In the queue.
    Queued,
    /// Out of the queue: the sender is the next to enqueue.
    Granted,
}

impl Turn {
    pub(super) fn state(&self) -> TurnState {
        self.0.lock().state
    }

    /// Marks the sender as not queued.
    pub(super) fn reset(&self) {
        self.0.lock().state = TurnState::Idle;
    }

    /// Marks the sender as queued, and registers its task.
    pub(super) fn wait(&self, cx: &mut Context<'_>) {
        let mut cell = self.0.lock();
        cell.state = TurnState::Queued;
        match &mut cell.sender {
            Some(waker) => waker.clone_from(cx.waker()),
            None => cell.sender = Some(cx.waker().clone()),
        }
    }

    /// Makes the sender the next one, and returns the waker of its task.
    pub(super) fn grant(&self) -> Option<Waker> {
        let mut cell = self.0.lock();
        cell.state = TurnState::Granted;
        cell.sender.take()
    }
}
