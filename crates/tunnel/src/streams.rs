//! The streams that are open in one tunnel, by their numbers.
//!
//! The one rule: a number that is not here was never given, or is over. The newest number tells the two apart.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::stream::Stream;

/// The open streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<Table>,
    /// How many there are, to be read without the lock.
    count: AtomicUsize,
}

type Table = HashMap<u32, Arc<Stream>, BuildHasherDefault<Spread>>;

impl Streams {
    pub(crate) fn insert(&self, number: u32, stream: Arc<Stream>) {
        let mut open = self.lock();
        open.insert(number, stream);
        self.count.store(open.len(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self, number: u32) -> Option<Arc<Stream>> {
        self.lock().get(&number).cloned()
    }

    pub(crate) fn remove(&self, number: u32) {
        let mut open = self.lock();
        let removed = open.remove(&number);
        self.count.store(open.len(), Ordering::Relaxed);
        drop(open);
        // Not under the lock.
        drop(removed);
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes all of them out.
    pub(crate) fn take_all(&self) -> Vec<Arc<Stream>> {
        self.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spreads numbers that follow each other. The server gives them itself and a relay serves one server, so nobody can
/// choose numbers that collide.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        // The golden ratio: the numbers lie far apart in the upper bits, which the table uses too.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
