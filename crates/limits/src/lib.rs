//! Fair shares of what callers, ids and addresses have in common: places for calls, connections,
//! sessions, bytes of memory.
//!
//! The crate does no input or output and depends on no other crate of llamapool, so that both
//! sides, the bridge and `llamapool-http` count by the same rule.

mod fair_share;
mod memory;
mod network;
mod owner;

pub use fair_share::{Claim, FairShare, Share, ShareError};
pub use memory::{MemoryAccount, MemoryBudget, MemoryClaims, MemoryShare};
pub use network::{Network, network_of};
pub use owner::Owner;
