//! Admits a call: through the server's gate, to one of the relays that could run it.

use std::sync::Arc;

use super::choose::{Candidate, Choice, Wish, choose};
use super::gate::DrainGate;
use super::permit::{Permit, Place, PlaceClaims, PlaceError, ShareOf};

/// Runs calls: a relay under an id.
pub(crate) trait Runner {
    /// Returns what the choice depends on, for a caller with this affinity.
    fn candidate(&self, affinity: u64) -> Candidate;

    /// Takes a place for one call.
    fn take_place(&self, claims: PlaceClaims) -> Result<Place, PlaceError>;
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
    /// A party of the call has used up its share of the places of every relay that has some.
    Share(ShareOf),
}

/// Admits a call to one of `runners`. Returns the relay and the right to run the call there.
pub(crate) fn admit<R: Runner>(
    server: &Arc<DrainGate>,
    runners: &[Arc<R>],
    wish: Wish,
    affinity: u64,
    claims: PlaceClaims,
) -> Result<(Arc<R>, Permit), AdmissionError> {
    let server = server.enter().ok_or(AdmissionError::ServerDraining)?;
    // Relays of whose places a party has its share: they count as full.
    let mut refused = Vec::new();
    let mut share = None;

    loop {
        let candidate = |(index, runner): (usize, &Arc<R>)| {
            let candidate = runner.candidate(affinity);
            if refused.contains(&index) {
                candidate.as_full()
            } else {
                candidate
            }
        };
        let candidates: Vec<_> = runners.iter().enumerate().map(candidate).collect();
        let index = match choose(&candidates, wish) {
            Choice::Run(index) => index,
            Choice::Offline => return Err(AdmissionError::Offline),
            Choice::Draining => return Err(AdmissionError::RelayDraining),
            Choice::Full => {
                return Err(share.map_or(AdmissionError::Full, AdmissionError::Share));
            }
        };

        let runner = &runners[index];
        match runner.take_place(claims) {
            Ok(place) => {
                let place = Box::new(place);
                return Ok((runner.clone(), Permit { place, server }));
            }
            // The next choice is another one.
            Err(PlaceError::Gone) => {}
            Err(PlaceError::Share(of)) => {
                share = Some(of);
                refused.push(index);
            }
        }
    }
}
