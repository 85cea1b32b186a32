//! The journals: what providers and programs record before they answer, one JSON object a line.
//!
//! Each record is one `write` to a file that is open for appending, so that records of several
//! processes do not mix and none is lost when its process is killed behind it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::history::{Cancellation, Execution};

/// A record of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// It executes a call.
    Execution(Execution),
    /// It received a cancellation.
    Cancellation(Cancellation),
}

/// The journal of a provider, open for appending.
pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Opens a journal, and creates it if there is none.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("the journal {}", path.display()))?;
        Ok(Self { file })
    }

    /// Appends a record.
    pub(crate) fn record(&self, record: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        (&self.file).write_all(&line)
    }
}

/// Takes all records out of a journal. Writers append to the emptied file.
pub(crate) fn take<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    file.rewind()?;
    file.set_len(0)?;

    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("a record: {line}")))
        .collect()
}
