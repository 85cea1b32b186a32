//! The audit log in the state. The field names are a contract with users.

use serde::Serialize;

use super::snapshot::time;
use crate::audit::Audit;

/// The state of the audit log.
#[derive(Serialize)]
pub(super) struct AuditState {
    /// `ok`, or `failing` while it cannot be written.
    status: &'static str,
    /// The number of the last line.
    seq: u64,
    /// The line that was noted last, which others may keep.
    checkpoint: Option<CheckpointState>,
    lost_total: u64,
    write_failures_total: u64,
}

#[derive(Serialize)]
struct CheckpointState {
    seq: u64,
    hash: String,
    at: String,
}

/// Returns the state of the log; `None` if there is none.
pub(super) fn audit(audit: &Audit) -> Option<AuditState> {
    let status = audit.status()?;
    Some(AuditState {
        status: if status.is_failing { "failing" } else { "ok" },
        seq: status.sequence,
        checkpoint: status.checkpoint.map(|(checkpoint, at)| CheckpointState {
            seq: checkpoint.sequence,
            hash: checkpoint.link.to_string(),
            at: time(at),
        }),
        lost_total: status.lost,
        write_failures_total: status.failures,
    })
}
