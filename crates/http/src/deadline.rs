//! The earlier of two points in time, of which either may be absent.

use std::time::Duration;

use tokio::time::Instant;

/// Returns when a wait that begins now ends, or the deadline if that is earlier. `None` if there is
/// neither.
pub(crate) fn after(wait: Option<Duration>, deadline: Option<Instant>) -> Option<Instant> {
    earlier(wait.map(|wait| Instant::now() + wait), deadline)
}

/// Returns the earlier of two points in time, `None` if there is neither.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
