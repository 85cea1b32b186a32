//! The streams that are open in one tunnel, by their numbers.
//!
//! The one rule: a number that is not here was never given, or is over. The newest number tells the two apart.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::stream::Stream;

/// The open streams.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<HashMap<u32, Arc<Stream>, BuildHasherDefault<Spread>>>);

impl Streams {
    pub(crate) fn insert(&self, number: u32, stream: Arc<Stream>) {
        self.lock().insert(number, stream);
    }

    pub(crate) fn get(&self, number: u32) -> Option<Arc<Stream>> {
        self.lock().get(&number).cloned()
    }

    pub(crate) fn remove(&self, number: u32) {
        let removed = self.lock().remove(&number);
        // Not under the lock.
        drop(removed);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes all of them out.
    pub(crate) fn take_all(&self) -> Vec<Arc<Stream>> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Stream>, BuildHasherDefault<Spread>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
