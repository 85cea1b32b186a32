//! Admits a call: through the server's gate, to one of the relays that could run it.

use std::sync::Arc;

use super::choose::{Candidate, Choice, Wish, choose};
use super::gate::DrainGate;
use super::permit::{Permit, Place};

/// Runs calls: a relay under an id.
pub(crate) trait Runner {
    /// Returns what the choice depends on, for a caller with this affinity.
    fn candidate(&self, affinity: u64) -> Candidate;

    /// Takes a place for one call. Returns `None` if all are taken or the relay has left.
    fn take_place(&self) -> Option<Place>;
}

/// The reasons for not admitting a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdmissionError {
    /// The server is draining.
    ServerDraining,
    /// There is no relay.
    Offline,
    /// All relays are draining.
    RelayDraining,
    /// Those that are not draining are full.
    Full,
}

/// Admits a call to one of `runners`. Returns the relay and the right to run the call there.
pub(crate) fn admit<R: Runner>(
    server: &Arc<DrainGate>,
    runners: &[Arc<R>],
    wish: Wish,
    affinity: u64,
) -> Result<(Arc<R>, Permit), AdmissionError> {
    let pass = server.enter().ok_or(AdmissionError::ServerDraining)?;

    loop {
        let candidates: Vec<_> = runners
            .iter()
            .map(|runner| runner.candidate(affinity))
            .collect();
        let index = match choose(&candidates, wish) {
            Choice::Run(index) => index,
            Choice::Offline => return Err(AdmissionError::Offline),
            Choice::Draining => return Err(AdmissionError::RelayDraining),
            Choice::Full => return Err(AdmissionError::Full),
        };

        // Without a place, another call has taken the last one meanwhile, or the relay has left:
        // the next choice is another one.
        let runner = &runners[index];
        if let Some(place) = runner.take_place() {
            return Ok((runner.clone(), Permit::new(place, pass)));
        }
    }
}
