//! The gates that every call goes through, the server's and its relay's: a gate counts who is inside, and once closed
//! lets nobody in.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The gate. Closing it is draining; it never opens again.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    running: AtomicUsize,
    left: Notify,
}

impl Gate {
    /// Lets nobody in from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// How many calls are inside.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// A call goes in, if the gate is open. Every call that went in must [`Gate::leave`].
    pub(crate) fn enter(&self) -> bool {
        // Counted first and looked at second, so that whoever closes the gate and then counts misses nobody.
        self.running.fetch_add(1, Ordering::SeqCst);
        let is_open = !self.is_closed();
        if !is_open {
            self.leave();
        }
        is_open
    }

    /// A call that went in is over.
    pub(crate) fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        if self.is_closed() {
            self.left.notify_waiters();
        }
    }

    /// Waits until nobody is inside.
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
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_closed_gate_lets_nobody_in_and_waits_for_the_last_to_leave() {
        let gate = Arc::new(Gate::default());
        assert!(gate.enter());
        gate.close();
        assert!(!gate.enter());
        assert_eq!(gate.running(), 1);
        let mut empty = tokio_test_pin(gate.clone());
        assert!(futures_util::poll!(empty.as_mut()).is_pending());
        gate.leave();
        empty.await;
    }

    fn tokio_test_pin(gate: Arc<Gate>) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { gate.empty().await })
    }
}
