//! The receive window of one body: it begins small, and doubles while its reader reads and there is
//! memory for it.
//!
//! So a reader that never reads costs little, a body on a long link soon has the window that it
//! needs, and what all windows hold together stays within the memory of the process: every byte of
//! a window beyond [`UNCOUNTED_BYTES`] is taken before the peer may send it, or, of the initial
//! window, before it is kept. A window that gets no memory stays as it is, and is slower.

use llamapool_limits::{MemoryAccount, MemoryShare, ShareError};

use crate::config::UNCOUNTED_BYTES;

/// The receive window of one body.
pub(super) struct ReceiveWindow {
    /// Bytes of the body that may be on their way or unread.
    size: u32,
    max: u32,
    /// Used bytes: unread, or read and not yet given back.
    used: u32,
    /// The parties that the memory counts for. `None`: it is not counted.
    account: Option<MemoryAccount>,
    /// In a box of its own: few bodies ever take memory.
    memory: Option<Box<MemoryShare>>,
}

impl ReceiveWindow {
    /// Creates a window of `size` bytes that may grow to `max`, whose memory counts for an account.
    #[inline]
    pub(super) fn new(size: u32, max: u32, account: Option<MemoryAccount>) -> Self {
        Self {
            size,
            max,
            used: 0,
            account,
            memory: None,
        }
    }

    /// Sets the parties that the memory counts for.
    pub(super) fn set_account(&mut self, account: Option<MemoryAccount>) {
        self.account = account;
    }

    /// Returns whether so many more bytes may arrive.
    pub(super) fn has_room(&self, bytes: u32) -> bool {
        self.used.saturating_add(bytes) <= self.size
    }

    /// Uses bytes that have arrived. There must be room for them.
    pub(super) fn use_up(&mut self, bytes: u32) {
        self.used += bytes;
    }

    /// Takes the memory of the window as it is, unless that was done before.
    pub(super) fn cover(&mut self) -> Result<(), ShareError> {
        if self.memory.is_none()
            && let Some(account) = &self.account
        {
            let bytes = self.size.saturating_sub(UNCOUNTED_BYTES);
            self.memory = Some(Box::new(account.take(bytes as usize)?));
        }
        Ok(())
    }

    /// Gives the memory back: nothing is unread, and nothing more arrives.
    pub(super) fn release_memory(&mut self) {
        self.memory = None;
        self.account = None;
    }

    /// Gives read bytes back when half of the window was read. Returns how many more bytes the peer
    /// may send: those, and those by which the window grows.
    pub(super) fn give_back(&mut self, unread: u32) -> Option<u32> {
        let read = self.used - unread;
        if read < self.size / 2 {
            return None;
        }
        self.used -= read;
        Some(read + self.grow())
    }

    /// Doubles the window, if there is memory for it. Returns by how many bytes it has grown.
    fn grow(&mut self) -> u32 {
        let more = self.size.min(self.max - self.size);
        if more == 0 || self.cover().is_err() {
            return 0;
        }
        let is_granted = match &mut self.memory {
            Some(memory) => memory.grow(more as usize).is_ok(),
            None => true,
        };
        if !is_granted {
            return 0;
        }
        self.size += more;
        more
    }
}

#[cfg(test)]
mod tests {
    use llamapool_limits::{Claim, MemoryBudget, Owner};

    use super::*;

    const KIB: u32 = 1024;

    fn account(budget: &MemoryBudget) -> Option<MemoryAccount> {
        let claim = |name: &str| Claim {
            owner: Owner::of(&name),
            factor: usize::MAX,
        };
        Some(budget.account([claim("caller"), claim("address"), claim("id")]))
    }

    /// Reads all that may arrive, again and again. Returns the sizes of the window.
    fn sizes_while_reading(window: &mut ReceiveWindow) -> Vec<u32> {
        let mut room = window.size;
        (0..5)
            .map(|_| {
                window.use_up(room);
                room = window.give_back(0).unwrap();
                window.size
            })
            .collect()
    }

    #[test]
    fn a_window_doubles_while_its_reader_reads() {
        let budget = MemoryBudget::new(1 << 30);
        let mut window = ReceiveWindow::new(64 * KIB, 500 * KIB, account(&budget));

        let sizes = sizes_while_reading(&mut window);

        assert_eq!(sizes, [128, 256, 500, 500, 500].map(|size| size * KIB));
        assert_eq!(budget.used() as u32, 500 * KIB - UNCOUNTED_BYTES);

        drop(window);

        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_window_without_memory_keeps_its_size() {
        let budget = MemoryBudget::new((300 * KIB) as usize);
        let mut window = ReceiveWindow::new(64 * KIB, 512 * KIB, account(&budget));

        let sizes = sizes_while_reading(&mut window);

        assert_eq!(sizes, [128, 256, 256, 256, 256].map(|size| size * KIB));
    }

    #[test]
    fn a_window_that_is_not_read_gives_nothing_back() {
        let mut window = ReceiveWindow::new(64 * KIB, 512 * KIB, None);
        window.use_up(64 * KIB);

        assert_eq!(window.give_back(33 * KIB), None);
        assert!(!window.has_room(1));
    }
}
