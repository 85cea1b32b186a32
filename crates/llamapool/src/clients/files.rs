//! The files of clients: what an entry looks like, and the edit that adds it.
//!
//! Everything else of a file stays byte for byte, comments included: only the entry is written. A file that cannot
//! be parsed as its client parses it is left alone.

mod json;
mod toml;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Asks, Place};

/// A file of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientFile {
    /// The path as people write it.
    pub(crate) shown: &'static str,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// JSON with the servers below this member.
    Json(&'static str, Flavor),
    /// The `config.toml` of Codex.
    CodexToml,
}

/// The members of an entry, which differ between clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavor {
    ClaudeCode,
    Cursor,
    VsCode,
    Gemini,
}

pub(crate) const CLAUDE_CODE: ClientFile = ClientFile {
    shown: ".mcp.json",
    format: Format::Json("mcpServers", Flavor::ClaudeCode),
};
pub(crate) const CURSOR: ClientFile = ClientFile {
    shown: "~/.cursor/mcp.json",
    format: Format::Json("mcpServers", Flavor::Cursor),
};
pub(crate) const VSCODE: ClientFile = ClientFile {
    shown: ".vscode/mcp.json",
    format: Format::Json("servers", Flavor::VsCode),
};
pub(crate) const CODEX: ClientFile = ClientFile {
    shown: "~/.codex/config.toml",
    format: Format::CodexToml,
};
pub(crate) const GEMINI: ClientFile = ClientFile {
    shown: "~/.gemini/settings.json",
    format: Format::Json("mcpServers", Flavor::Gemini),
};

/// A file that is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// It is not what its client reads.
    #[error("line {line}, column {column}: {what}")]
    Syntax {
        line: usize,
        column: usize,
        what: String,
    },
    /// It is not of the expected shape.
    #[error("{0}")]
    Shape(String),
}

impl ClientFile {
    /// Returns where the file is, below this home or from this directory.
    pub(crate) fn path(self, home: Option<&Path>) -> Option<PathBuf> {
        match self.shown.strip_prefix("~/") {
            Some(below) => home.map(|home| home.join(below)),
            None => Some(PathBuf::from(self.shown)),
        }
    }

    /// Returns the language of the file, for documents.
    pub(crate) fn language(self) -> &'static str {
        match self.format {
            Format::Json(..) => "json",
            Format::CodexToml => "toml",
        }
    }

    /// Returns the file with nothing but the entry.
    pub(crate) fn alone(self, place: &Place) -> String {
        self.edited("", place)
            .unwrap_or_default()
            .trim_end()
            .to_owned()
    }

    /// Returns the text of the file with the entry in it, in place of one of the same name.
    pub(crate) fn edited(self, text: &str, place: &Place) -> Result<String, EditError> {
        match self.format {
            Format::Json(servers, flavor) => {
                let mut edits = vec![json::Edit::Set {
                    below: servers,
                    name: &place.name,
                    value: flavor.entry(place),
                }];
                if flavor == Flavor::VsCode && place.asks == Asks::Key {
                    edits.insert(0, json::Edit::Input(input(place)));
                }
                json::edited(text, &edits)
            }
            Format::CodexToml => toml::edited(text, place),
        }
    }
}

impl Flavor {
    fn entry(self, place: &Place) -> Value {
        let variable = place.variable();
        let key = match self {
            Self::ClaudeCode => format!("${{{variable}}}"),
            Self::Cursor => format!("${{env:{variable}}}"),
            Self::VsCode => format!("${{input:{}}}", input_id(place)),
            Self::Gemini => format!("${variable}"),
        };
        let mut entry = match self {
            Self::ClaudeCode | Self::VsCode => json!({"type": "http", "url": place.url}),
            Self::Cursor => json!({"url": place.url}),
            Self::Gemini => json!({"httpUrl": place.url}),
        };
        if place.asks == Asks::Key {
            entry["headers"] = json!({"Authorization": format!("Bearer {key}")});
        }
        entry
    }
}

fn input_id(place: &Place) -> String {
    format!("{}-token", place.name)
}

/// Returns the question by which VS Code asks for the key.
fn input(place: &Place) -> Value {
    json!({
        "type": "promptString",
        "id": input_id(place),
        "description": format!("Key for {}", place.name),
        "password": true,
    })
}

#[cfg(test)]
mod tests;
