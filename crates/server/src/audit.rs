//! The audit log of a server: who was let in or refused, and what was changed, in lines that hold each
//! other together (`llamapool_identity`'s `audit`). It is evidence and not prevention.
//!
//! Any part of the server gives its events to [`Audit`], which never waits; `keeper` writes them.

mod certificates;
mod counts;
mod events;
mod expiry;
mod feed;
mod files;
mod keeper;
mod log;

use std::path::PathBuf;
use std::time::Duration;

use llamapool_identity::AddressForm;

pub(crate) use certificates::CertificateEvents;
pub(crate) use counts::Refused;
pub(crate) use events::{ConsentStep, DeniedCall, EndedCallLine, EndedLlmCall};
pub(crate) use expiry::ExpiredKeys;
pub(crate) use feed::StoredEvents;
pub(crate) use keeper::AuditKeeper;
pub(crate) use log::{Audit, AuditStatus};

/// What is written of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditCalls {
    /// Nothing.
    None,
    /// The calls that a policy of messages denies.
    #[default]
    Denied,
    /// Every call as well.
    All,
}

/// The audit log of a server that has a data directory.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Whether it is written.
    pub is_on: bool,
    /// Whether sign-ins and changes through the server are refused while it cannot be written.
    pub is_required: bool,
    /// What is written of calls.
    pub calls: AuditCalls,
    /// How addresses are written.
    pub address: AddressForm,
    /// How long files are kept.
    pub keep: Duration,
    /// The bytes of a file at which the next one is begun.
    pub file_bytes: u64,
    /// The bytes of all files; beyond them the oldest are removed.
    pub max_bytes: u64,
}

/// The reason for refusing a sign-in or a change while the log cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written, and AUDIT_REQUIRED is on")]
pub(crate) struct AuditError;

/// The place and the bounds of the files.
#[derive(Debug, Clone)]
struct FileSettings {
    folder: PathBuf,
    form: AddressForm,
    keep: Duration,
    file_bytes: u64,
    max_bytes: u64,
}

impl AuditCalls {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::None, Self::Denied, Self::All];

    /// Returns the word for it in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Denied => "denied",
            Self::All => "all",
        }
    }
}

impl AuditConfig {
    /// The smallest [`AuditConfig::file_bytes`]: room for the longest line and what belongs to a file.
    pub const MIN_FILE_BYTES: u64 = 64 * 1024;

    fn files(&self, folder: PathBuf) -> FileSettings {
        FileSettings {
            folder,
            form: self.address,
            keep: self.keep,
            file_bytes: self.file_bytes,
            max_bytes: self.max_bytes,
        }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            is_on: true,
            is_required: false,
            calls: AuditCalls::default(),
            address: AddressForm::default(),
            keep: Duration::from_secs(400 * 24 * 60 * 60),
            file_bytes: 64 << 20,
            max_bytes: 4 << 30,
        }
    }
}
