//! The gates that every call passes, the server's and its relay's: a gate counts the calls inside
//! and, once closed, admits no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A counted gate. Closing it is draining; it never opens again.
#[derive(Debug, Default)]
pub(crate) struct DrainGate {
    closed: AtomicBool,
    running: AtomicUsize,
    left: Notify,
}

/// The admission of one call through a [`DrainGate`]. Dropping it is leaving.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass(Arc<DrainGate>);

impl DrainGate {
    /// Admits no call from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Returns whether the gate is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Returns the number of calls inside.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Admits a call. Returns `None` if the gate is closed.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        // Increment before checking `closed`, so that `close` followed by `running` sees every
        // call.
        self.running.fetch_add(1, Ordering::SeqCst);

        if self.is_closed() {
            self.leave();
            return None;
        }
        Some(Pass(self.clone()))
    }

    /// Waits until no call is inside.
    pub(crate) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();

            if self.running() == 0 {
                return;
            }
            left.await;
        }
    }

    fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        if self.is_closed() {
            self.left.notify_waiters();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_admits_no_call_and_waits_for_the_last() {
        let gate = Arc::new(DrainGate::default());
        let pass = gate.enter().unwrap();

        gate.close();

        assert!(gate.enter().is_none());
        assert_eq!(gate.running(), 1);

        let mut empty = Box::pin(gate.empty());
        assert!(futures_util::poll!(empty.as_mut()).is_pending());
        drop(pass);
        empty.await;
    }
}
