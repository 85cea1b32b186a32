//! The directories: what calls find the relays by, with the statistics of each entry. Today there
//! is one, by the id in a call's URL.
//!
//! Registration is not here: `relays` decides which relay may hold an id, and enters it.

mod absent;
mod by_id;
mod holds;
mod member;
mod relay_tag;

pub(crate) use absent::{Absence, EndNote};
pub(crate) use by_id::{Directory, Listing, McpCallStats};
pub(crate) use holds::{HoldError, HoldTarget};
pub(crate) use member::{CurrentOffer, Member, RelayTunnel};
pub(crate) use relay_tag::RelayTag;
