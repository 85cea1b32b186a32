//! What can be wrong with settings, in words for the person who gave them.
//!
//! Where it is found out is not here. The one rule: every text is one line, names the setting and its source, and
//! shows a value only where it cannot be a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use llamapool_wire::MAX_PROVIDERS;

use super::kind::Form;
use super::setting::Setting;

/// How much of a wrong value is shown.
const SHOWN_CHARS: usize = 80;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A key of the file that no setting has.
    #[error("unknown key {key:?} in {table}the file {file:?}{}", Meant(nearest.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// Nothing, or in which table it stands, such as `provider 2 of `.
        table: String,
        /// The file.
        file: PathBuf,
        /// The known key that may be meant.
        nearest: Option<String>,
    },
    /// A file that cannot be read.
    #[error("the file {file:?} cannot be read: {error}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A file that is not TOML. What stands in the line is not shown: it may be a key.
    #[error("the file {file:?} is not TOML in line {line}: {}", message.escape_debug())]
    NotToml {
        /// The file.
        file: PathBuf,
        /// The number of the line.
        line: usize,
        /// What TOML expects there.
        message: String,
    },
    /// A value that does not mean anything.
    #[error("{setting}, from the {place}, {shown}, expected {expected}")]
    Bad {
        /// The canonical name of the setting.
        setting: &'static str,
        /// Where the value stands.
        place: Place,
        /// What may be shown of the value.
        shown: Shown,
        /// What was expected.
        expected: String,
    },
    /// Two names of one setting in one source that do not agree.
    #[error(
        "the {one} and the {other} are two names of one setting, expected only one of them or the same value"
    )]
    TwoNames {
        /// The name that counts first.
        one: Place,
        /// The other one.
        other: Place,
    },
    /// A value that another setting rules out.
    #[error("{setting} is {value}, expected {expected}")]
    Contradiction {
        /// The canonical name of the setting.
        setting: &'static str,
        /// Its value, which is no secret.
        value: String,
        /// What was expected, naming the other setting.
        expected: String,
    },
    /// A setting that is each provider's own, outside of the tables of providers.
    #[error(
        "the {place} is for a single provider and the file has tables of providers, expected {key} in each of them"
    )]
    BesideProviders {
        /// Where the value stands.
        place: Place,
        /// The key in the tables.
        key: &'static str,
    },
    /// A provider's table that does not say what the provider is.
    #[error("{table} of the file {file:?} has neither {key} nor {or}, expected one of them")]
    Incomplete {
        /// Which table.
        table: String,
        /// The file.
        file: PathBuf,
        /// One key that would.
        key: &'static str,
        /// The other one.
        or: &'static str,
    },
    /// One id for two providers.
    #[error(
        "provider {one} and provider {other} of the file both have the id {id:?}, expected another one for each"
    )]
    SameId {
        /// The id.
        id: String,
        /// The place of one of them, counted from 1.
        one: usize,
        /// The place of the other.
        other: usize,
    },
    /// More providers than one relay may have.
    #[error(
        "the file has {0} providers, expected at most {MAX_PROVIDERS}: the others need a relay of their own"
    )]
    TooManyProviders(usize),
    /// Two settings of which only one can be meant.
    #[error("the {one} and the {other} contradict each other, expected only one of them")]
    OnlyOne {
        /// The one.
        one: Place,
        /// The other.
        other: Place,
    },
    /// A key of llamapool's own that a program would see.
    #[error("PROVIDER_ENV names {0}, a secret of llamapool's own that no provider may see")]
    OwnSecret(String),
    /// The executable that would guard a program cannot be found.
    #[error("a PROVIDER_COMMAND needs the path of this executable, and it cannot be found: {0}")]
    NoGuard(std::io::Error),
    /// A system on which nobody would end a program with the relay.
    #[error("a PROVIDER_COMMAND works on Unix alone, expected a PROVIDER_URL")]
    NoPrograms,
    /// A program that is not there.
    #[error(
        "the program {program:?} of PROVIDER_COMMAND is not found in PATH, or is no file that can be executed"
    )]
    NoProgram {
        /// The program.
        program: String,
    },
    /// No keys wanted, and a key given.
    #[error("NO_AUTH is on and {0} is set, expected only one of them")]
    KeyWithoutAuth(&'static str),
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
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
    },
    /// The table of settings.
    Default,
}

/// What may be shown of a wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// This much of it.
    Value(String),
    /// That it is this kind of thing.
    Kind(&'static str),
    /// Nothing.
    Hidden,
}

impl Shown {
    /// What may be shown of a setting's value.
    pub fn of(setting: &Setting, value: &str) -> Self {
        let cut = |value: &str| match value.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value.to_owned(),
        };
        match setting.form {
            form if form.is_secret() => Self::Hidden,
            Form::Url if value.contains(['@', '#']) => Self::Hidden,
            Form::Url => Self::Value(cut(value.split('?').next().unwrap_or_default())),
            _ => Self::Value(cut(value)),
        }
    }
}

impl Place {
    /// A key of a file.
    pub fn key(key: &str, file: &Path) -> Self {
        Self::Key {
            key: key.to_owned(),
            file: file.to_owned(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Key { key, file } => write!(f, "key {key} of the file {file:?}"),
            Self::Default => f.write_str("table of defaults"),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "is {value:?}"),
            Self::Kind(kind) => write!(f, "is {kind}"),
            Self::Hidden => f.write_str("has a value that is not shown"),
        }
    }
}

/// The part of an error that says what may be meant, if anything.
pub(crate) struct Meant<'a>(pub(crate) Option<&'a str>);

impl fmt::Display for Meant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |nearest| write!(f, ", did you mean {nearest}?"))
    }
}
