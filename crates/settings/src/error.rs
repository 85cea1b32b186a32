//! Errors of settings, in words for the person who set them.
//!
//! Every text is one line, names the setting and its source, and contains a value only if it cannot
//! be a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::key_lines::Line;
use crate::setting::Setting;
use crate::value::Syntax;

/// Most characters of a wrong value that are shown.
const MAX_SHOWN_CHARS: usize = 80;

/// A reason why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A key of the file that belongs to no setting.
    #[error(
        "unknown key {key:?} in {table}the file {file:?}{}{}",
        OnLine(*line),
        Suggestion(suggestion.as_deref())
    )]
    UnknownKey {
        /// The key.
        key: String,
        /// Its entry table with `of` behind it, such as `provider 2 of `; empty outside of entry
        /// tables.
        table: String,
        /// The file.
        file: PathBuf,
        /// Its line; `None` if there is none.
        line: Option<Line>,
        /// The existing key that may be meant.
        suggestion: Option<String>,
    },
    /// A file that cannot be read.
    #[error("cannot read the file {file:?}: {error}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// A file that was to contain a value and cannot be read.
    #[error("{location} names the file {file:?}, which cannot be read: {error}")]
    UnreadableValue {
        /// Location of the path.
        location: Location,
        /// The file.
        file: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// A file that is not TOML. The line is not shown: there may be a secret in it.
    #[error("the file {file:?} is not valid TOML, line {line}: {}", message.escape_debug())]
    InvalidToml {
        /// The file.
        file: PathBuf,
        /// The line.
        line: Line,
        /// The problem there.
        message: String,
    },
    /// A value that the setting cannot have.
    #[error("invalid {setting} ({location}): {shown}, expected {expected}")]
    InvalidValue {
        /// Canonical name of the setting.
        setting: &'static str,
        /// Location of the value.
        location: Location,
        /// The part of the value that may be shown.
        shown: ShownValue,
        /// The expected form.
        expected: String,
    },
    /// Two names of one setting with different values in one source.
    #[error("{one} and {other} are the same setting but have different values: use only one")]
    ConflictingNames {
        /// Location of the stronger name.
        one: Location,
        /// Location of the other name.
        other: Location,
    },
    /// A value that is invalid together with another setting.
    #[error("invalid {setting}: {value}, expected {expected}")]
    Contradiction {
        /// Canonical name of the setting.
        setting: &'static str,
        /// Its value, which is no secret.
        value: String,
        /// The expected value, with the name of the other setting.
        expected: String,
    },
    /// A setting that each entry table must have for itself, set outside of them.
    #[error("{location} cannot be combined with [[{table}]] tables: use {key} in each table")]
    OutsideEntries {
        /// Location of the value.
        location: Location,
        /// Name of the entry tables.
        table: &'static str,
        /// Key in the entry tables.
        key: &'static str,
    },
    /// An entry table that lacks a key.
    #[error("{table} of the file {file:?}{} is incomplete: expected {key}", OnLine(*line))]
    MissingKey {
        /// The entry table, such as `alias 2`.
        table: String,
        /// The file.
        file: PathBuf,
        /// The line of the table; `None` if there is none.
        line: Option<Line>,
        /// The key.
        key: &'static str,
    },
    /// An entry table that lacks both of two keys.
    #[error("{table} of the file {file:?}{} is incomplete: expected {key} or {or}", OnLine(*line))]
    IncompleteEntry {
        /// The entry table, such as `provider 2`.
        table: String,
        /// The file.
        file: PathBuf,
        /// The line of the table; `None` if there is none.
        line: Option<Line>,
        /// One of the keys.
        key: &'static str,
        /// The other key.
        or: &'static str,
    },
    /// Two settings that exclude each other.
    #[error("{one} and {other} cannot be combined: use only one")]
    Exclusive {
        /// Location of the one.
        one: Location,
        /// Location of the other.
        other: Location,
    },
}

/// The location of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A flag, with its dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A key of a file.
    Key {
        /// The key.
        key: String,
        /// The file.
        file: PathBuf,
        /// Its line; `None` if there is none.
        line: Option<Line>,
    },
    /// The content of a file.
    File {
        /// The file.
        file: PathBuf,
        /// Location of the path of the file.
        named_by: Box<Location>,
    },
    /// The default in the declaration.
    Default,
}

/// The part of a wrong value that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownValue {
    /// The value, cut to a bounded length.
    Value(String),
    /// Only its type.
    Type(&'static str),
    /// Nothing, as it may be a secret.
    Hidden,
}

impl ShownValue {
    /// Returns the part of a setting's value that may be shown.
    pub fn of(setting: &Setting, value: &str) -> Self {
        match setting.syntax {
            syntax if syntax.is_secret() => Self::Hidden,
            Syntax::Url if value.contains(['@', '#']) => Self::Hidden,
            Syntax::Url => Self::cut(value.split('?').next().unwrap_or_default()),
            _ => Self::cut(value),
        }
    }

    fn cut(value: &str) -> Self {
        match value.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((end, _)) => Self::Value(format!("{}…", &value[..end])),
            None => Self::Value(value.to_owned()),
        }
    }
}

impl Location {
    /// Returns the location of a key of a file, with its line, if there is one.
    pub fn key(key: &str, file: &Path, line: Option<Line>) -> Self {
        Self::Key {
            key: key.to_owned(),
            file: file.to_owned(),
            line,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Key { key, file, line } => {
                write!(f, "key {key} of the file {file:?}{}", OnLine(*line))
            }
            Self::File { file, named_by } => write!(f, "the file {file:?} of {named_by}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for ShownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{value:?}"),
            Self::Type(name) => f.write_str(name),
            Self::Hidden => f.write_str("value not shown"),
        }
    }
}

/// The line of a file behind the file's name; empty for `None`.
pub struct OnLine(pub Option<Line>);

impl fmt::Display for OnLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(line) => write!(f, ", line {line}"),
            None => Ok(()),
        }
    }
}

/// The end of an error that suggests a word; empty for `None`.
pub struct Suggestion<'a>(pub Option<&'a str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(word) => write!(f, ", did you mean {word}?"),
            None => Ok(()),
        }
    }
}
