//! The open streams of one tunnel, by their numbers.
//!
//! The one rule: a number that is missing here was never given, or its stream is over. The newest
//! number separates the two.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::state::SharedState;

type StreamMap = HashMap<u32, SharedState, BuildHasherDefault<NumberHasher>>;

/// The table of open streams. It holds their states, which hold nothing of the tunnel: so the table
/// and the tunnel around it are freed although streams are still open.
#[derive(Debug, Default)]
pub(crate) struct StreamTable {
    streams: Mutex<StreamMap>,
    /// Number of streams, to be read without the lock.
    count: AtomicUsize,
}

impl StreamTable {
    /// Adds a stream under its number.
    pub(crate) fn insert(&self, number: u32, state: SharedState) {
        let mut streams = self.streams.lock();
        streams.insert(number, state);
        self.count.store(streams.len(), Ordering::Relaxed);
    }

    /// Returns the state of an open stream, or `None`.
    pub(crate) fn get(&self, number: u32) -> Option<SharedState> {
        self.streams.lock().get(&number).cloned()
    }

    /// Removes a stream, if it is there.
    pub(super) fn remove(&self, number: u32) {
        let mut streams = self.streams.lock();
        let removed = streams.remove(&number);
        self.count.store(streams.len(), Ordering::Relaxed);

        // The state is dropped outside the lock.
        drop(streams);
        drop(removed);
    }

    /// Returns the states of all open streams.
    pub(super) fn all(&self) -> Vec<SharedState> {
        self.streams.lock().values().cloned().collect()
    }

    /// Returns the number of open streams.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Removes and returns all streams.
    pub(super) fn take_all(&self) -> Vec<SharedState> {
        self.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut *self.streams.lock())
            .into_values()
            .collect()
    }
}

/// A hasher that spreads consecutive numbers. The server gives the numbers itself and a relay
/// serves one server, so no caller can choose numbers that collide.
#[derive(Debug, Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        // The golden ratio: consecutive numbers lie far apart in the upper bits, which the table
        // uses, too.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
