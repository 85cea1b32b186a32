//! The places that a stream holds until it is over for both ends.

use llamapool_limits::MemoryAccount;
use tokio::sync::OwnedSemaphorePermit;

/// What a stream takes along: a place that its owner counts, and the parties that its unread bytes
/// count for.
#[derive(Default)]
pub struct StreamLease {
    /// Dropped when the stream is over for both ends, whether or not its response was read.
    pub place: Option<Box<dyn Send + Sync>>,
    /// The parties that unread bytes of the response count for. `None`: they are not counted.
    pub memory: Option<MemoryAccount>,
}

/// The places of a stream. Dropping it frees them.
#[derive(Default)]
pub(super) struct Held {
    /// One of the streams that the peer serves at once.
    _permit: Option<OwnedSemaphorePermit>,
    _place: Option<Box<dyn Send + Sync>>,
}

impl Held {
    pub(super) fn new(permit: OwnedSemaphorePermit, place: Option<Box<dyn Send + Sync>>) -> Self {
        Self {
            _permit: Some(permit),
            _place: place,
        }
    }
}
