//! Decides which relay runs a call, and lets it in.

mod choose;
mod permit;

pub(crate) use choose::{Candidate, Choice, Wish, choose};
pub(crate) use permit::Permit;
