//! Decides which relay runs a call, and admits the call there. It contains no HTTP.

mod admission;
mod choose;
mod gate;
mod permit;

pub(crate) use admission::{AdmissionError, Runner, admit};
pub(crate) use choose::{Candidate, Wish};
pub(crate) use gate::{DrainGate, Pass};
pub(crate) use permit::{CallKind, IdClaim, Permit, Place, PlaceClaims, PlaceError, ShareOf};
