//! A file of MCP servers as TOML: the `[[provider]]` tables with the same meaning.

use std::fmt::Write;

use toml::Table;

use super::ServersFile;
use super::error::Shown;

/// The keys of a table, in the order in which they are printed.
const KEYS: &[&str] = &["id", "command", "args", "cwd", "url", "headers", "env"];
/// The keys with values that can be secrets.
const SECRET_KEYS: &[&str] = &["headers", "env"];
/// The most keys that a message lists.
const MAX_LISTED: usize = 20;

impl ServersFile {
    /// Returns the servers as TOML, with all values: as `CONFIG_FILE` they are the same providers.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# The MCP servers of {:?} as providers of `llamapool mcp --config-file`.\n",
            self.path
        );
        for table in &self.tables {
            text.push_str("\n[[provider]]\n");
            for key in KEYS {
                if let Some(value) = table.get(*key) {
                    // Writing into a `String` cannot fail.
                    let _ = writeln!(text, "{key} = {value}");
                }
            }
        }
        text
    }

    /// Returns the notes for the person who prints the file.
    pub fn notes_on_printing(&self) -> Vec<String> {
        let has_secrets = |table: &Table| SECRET_KEYS.iter().any(|key| table.contains_key(*key));
        let mut notes: Vec<String> = self.notes();
        let count = self
            .tables
            .iter()
            .filter(|table| has_secrets(table))
            .count();
        if count > 0 {
            notes.push(format!(
                "the values of env and headers of {count} servers are printed, which may be secrets: \
                 keep the output where only you can read it (umask 077)"
            ));
        }
        notes
    }

    /// Returns the notes for an operator: the keys that mean nothing here.
    pub fn notes(&self) -> Vec<String> {
        if self.unused.is_empty() {
            return Vec::new();
        }
        let shown: Vec<String> = self
            .unused
            .iter()
            .take(MAX_LISTED)
            .map(|key| Shown(key).to_string())
            .collect();
        let more = self.unused.len().saturating_sub(MAX_LISTED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        vec![format!(
            "keys of {:?} that mean nothing to llamapool: {}{more}",
            self.path,
            shown.join(", ")
        )]
    }
}
