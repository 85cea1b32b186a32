//! A call that runs now, as the state API and the log show it.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use llamapool_wire::RelayId;

use super::label::LabelSet;
use crate::auth::Principal;

/// A call that runs now.
#[derive(Debug)]
pub(crate) struct ActiveCall<L> {
    /// The id that is called.
    pub(super) id: RelayId,
    /// The id of the call in the logs of every hop.
    pub(crate) req_id: String,
    /// The party that calls.
    pub(super) principal: Principal,
    pub(crate) started: SystemTime,
    since: Instant,
    label: AtomicU8,
    labels: PhantomData<L>,
}

impl<L: LabelSet> ActiveCall<L> {
    /// Returns a call to an id that begins now.
    pub(crate) fn new(id: RelayId, req_id: String, principal: Principal) -> Self {
        Self {
            id,
            req_id,
            principal,
            started: SystemTime::now(),
            since: Instant::now(),
            label: AtomicU8::new(L::UNKNOWN.index()),
            labels: PhantomData,
        }
    }

    /// Sets the label of the call, once its method is found.
    pub(crate) fn set_label(&self, label: L) {
        self.label.store(label.index(), Ordering::Relaxed);
    }

    /// Returns the label of the call.
    pub(crate) fn label(&self) -> L {
        L::from_index(self.label.load(Ordering::Relaxed))
    }

    /// Returns the time since the call began.
    pub(crate) fn duration(&self) -> Duration {
        self.since.elapsed()
    }

    /// Returns the moment at which the call has lasted so long.
    pub(super) fn moment_after(&self, duration: Duration) -> Instant {
        self.since + duration
    }
}
