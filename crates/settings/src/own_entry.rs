//! An entry that is in no table of the settings file: a reader of another format has made it.

use std::collections::HashMap;
use std::path::Path;

use toml::Table;

use crate::error::SettingsError;
use crate::file::{Entry, Reading};
use crate::key_lines::{KeyLines, Line};
use crate::sources::Sources;

/// An entry that is in no table of the settings file. Errors do not show its values: the reader may
/// have replaced variables in them. Not `Debug`: there may be secrets among the
/// values.
pub struct OwnEntry(pub(crate) Entry);

/// The place where a reader has found an entry.
pub struct EntryPlace<'a> {
    /// The entry for readers, such as `server "notes"`.
    pub name: String,
    /// The file.
    pub file: &'a Path,
    /// The line where the entry begins.
    pub line: Line,
    /// The lines of its keys.
    pub keys: HashMap<String, Line>,
}

impl OwnEntry {
    /// Reads an entry as if it were an entry table with this name.
    ///
    /// # Errors
    ///
    /// The first problem, unless the sources collect them.
    pub fn read(
        sources: &Sources,
        table: &'static str,
        document: &Table,
        place: EntryPlace<'_>,
    ) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let mut reading = Reading {
            schema: sources.schema(),
            path: place.file,
            environment: sources.environment(),
            problems: &mut problems,
        };

        let lines = KeyLines::from_parts(Some(place.line), place.keys);
        let mut entry = reading.entry(table, place.name, document, &lines);
        entry.layer.hide();
        sources.refuse_all(problems)?;
        Ok(Self(entry))
    }
}
