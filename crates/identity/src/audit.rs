//! The audit log, as values: an event, the line that it becomes, and the chain that holds the lines
//! together. Which events there are, and what each of them contains, is decided where they happen.
//!
//! A line never has a body, an argument, a token, a secret or a header. Text of others is cut, and is
//! escaped to printable ASCII.

mod chain;
mod event;
mod files;
mod kind;
mod line;
mod read;
mod verify;

pub use chain::{ChainKey, Checkpoint, CheckpointError, Link, LinkError};
pub use event::{AddressForm, AuditEvent};
pub use files::{AUDIT_FOLDER, AuditFile, audit_files};
pub use kind::{EventKind, EventKindError};
pub use line::{AuditLine, MAX_LINE_BYTES};
pub use read::{LineReader, RawLine};
pub use verify::{ChainVerifier, Finding, LineError, LogError, Verified, verify_folder};
