//! The calls that run on the runtime, within its number of slots.
//!
//! The server keeps the same number. It can be ahead of this side by a moment, when a call has ended
//! there and not yet here, which is what the short wait is for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long a call waits for a slot that its server takes for free.
const WAIT: Duration = Duration::from_millis(250);

/// The slots of a runtime. Clones share them.
#[derive(Clone, Default)]
pub(super) struct CallGate(Arc<Slots>);

#[derive(Default)]
struct Slots {
    state: Mutex<SlotState>,
    freed: Notify,
}

#[derive(Default)]
struct SlotState {
    running: u32,
    abandoned: u32,
    most: u32,
}

/// The slot of one call, free again when it is dropped.
#[must_use]
pub(super) struct Slot(Arc<Slots>);

impl CallGate {
    /// Sets how many calls may run at once.
    pub(super) fn set_most(&self, most: u32) {
        self.0.state.lock().most = most;
        self.0.freed.notify_waiters();
    }

    /// Sets the number of slots that compute answers of callers that have left.
    pub(super) fn set_abandoned(&self, abandoned: u32) {
        self.0.state.lock().abandoned = abandoned;
        self.0.freed.notify_waiters();
    }

    /// Returns how many calls run.
    pub(super) fn running(&self) -> u32 {
        self.0.state.lock().running
    }

    /// Takes a slot, waits a moment for one, or returns `None` if all are in use.
    pub(super) async fn enter(&self) -> Option<Slot> {
        let waiting = async {
            loop {
                let freed = self.0.freed.notified();
                tokio::pin!(freed);
                freed.as_mut().enable();
                if let Some(slot) = self.try_enter() {
                    return slot;
                }
                freed.await;
            }
        };
        tokio::time::timeout(WAIT, waiting).await.ok()
    }

    fn try_enter(&self) -> Option<Slot> {
        let mut state = self.0.state.lock();
        if state.running.saturating_add(state.abandoned) >= state.most {
            return None;
        }
        state.running += 1;
        Some(Slot(self.0.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
        self.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_run_than_there_are_slots() {
        let gate = CallGate::default();
        gate.set_most(2);

        let first = gate.enter().await.unwrap();
        let _second = gate.enter().await.unwrap();
        assert!(gate.enter().await.is_none());
        drop(first);
        assert!(gate.enter().await.is_some());

        gate.set_abandoned(1);
        assert!(gate.enter().await.is_none());
        assert_eq!(gate.running(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_becomes_free_in_a_moment_is_taken() {
        let gate = CallGate::default();
        gate.set_most(1);
        let slot = gate.enter().await.unwrap();

        let later = async {
            tokio::time::sleep(WAIT / 2).await;
            drop(slot);
        };
        let entered = tokio::join!(gate.enter(), later).0;

        assert!(entered.is_some());
    }
}
