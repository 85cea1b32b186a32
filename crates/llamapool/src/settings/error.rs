//! Errors of the settings as a whole: values that are valid each for itself, and not together.

use std::fmt;
use std::path::PathBuf;

use llamapool_settings::SettingsError;
use llamapool_wire::MAX_PROVIDERS;

/// A reason why a role cannot be configured. Every text is one line without a secret, and that of
/// several reasons a line for each.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Several reasons at once.
    #[error("{} errors in the settings:{}", .0.len(), Lines(.0))]
    Several(Vec<ConfigError>),
    /// A wrong value, name or file.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Two providers with one id.
    #[error("provider {one} and provider {other} have the same id {id:?}: ids must be unique")]
    DuplicateId {
        /// The id.
        id: String,
        /// Number of the first provider, from 1.
        one: usize,
        /// Number of the other provider.
        other: usize,
    },
    /// More providers than a relay can have.
    #[error("{0} providers, expected at most {MAX_PROVIDERS} for one relay: use another relay")]
    TooManyProviders(usize),
    /// One of several LLM runtimes has no URL: only a single one is looked for.
    #[error("provider {0} has no url: expected one for each of several LLM runtimes")]
    MissingRuntimeUrl(usize),
    /// A bridge without a program.
    #[error("missing program: expected -- PROGRAM ARGUMENT…, or PROVIDER_COMMAND")]
    MissingProgram,
    /// A secret of llamapool's own that a program would get.
    #[error("PROVIDER_ENV cannot contain {0}: it is a secret of llamapool that no program gets")]
    SecretForProgram(String),
    /// The path of this executable, which guards programs, is unknown.
    #[error("PROVIDER_COMMAND: cannot find the path of this executable: {0}")]
    UnknownExecutable(std::io::Error),
    /// A program on a system where none can be guarded.
    #[error("PROVIDER_COMMAND works on Unix only: use PROVIDER_URL")]
    ProgramsUnsupported,
    /// A program that cannot be found or executed.
    #[error("PROVIDER_COMMAND: the program {program:?} is not in PATH or not executable{hint}")]
    ProgramNotFound {
        /// The program, without a part that may be a secret.
        program: String,
        /// The cause, where the word shows it.
        hint: ProgramHint,
    },
    /// A working directory that does not exist.
    #[error("PROVIDER_DIR: {directory:?} is no directory that exists")]
    DirectoryNotFound {
        /// The directory.
        directory: PathBuf,
    },
    /// Two keys of the LLM API with the same name or key.
    #[error("key {one} and key {other} have the same {what}: expected another one for each")]
    DuplicateKey {
        /// Number of the first key, from 1.
        one: usize,
        /// Number of the other key.
        other: usize,
        /// What is the same: `name` or `key`.
        what: &'static str,
    },
    /// More keys than a server can have.
    #[error("{0} keys, expected at most {1}")]
    TooManyKeys(usize, usize),
    /// More aliases of models than a server can have.
    #[error("{0} aliases, expected at most {1}")]
    TooManyAliases(usize, usize),
    /// Two aliases of one name.
    #[error("two aliases have the name {0:?}, in LLM_ALIASES or [[alias]]: expected one")]
    DuplicateAlias(String),
    /// A key that can be guessed, on a server that is public.
    #[error(
        "{0} has fewer than {least} characters and PUBLIC_URL is https: use a long random key, such as the \
         output of `openssl rand -hex 24`, or set ALLOW_WEAK_KEYS",
        least = crate::weak_keys::LEAST_CHARS
    )]
    WeakKey(&'static str),
    /// A key although authentication is off.
    #[error("NO_AUTH cannot be combined with {0}: use only one")]
    KeyWithoutAuth(&'static str),
}

/// The cause why a word of a command line is no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramHint {
    /// The word does not show it.
    None,
    /// Program and arguments are one word.
    OneWord,
    /// It sets a variable, as a shell's command line can.
    Variable,
    /// It begins with `~`, which only shells replace.
    Home,
}

impl fmt::Display for ProgramHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::OneWord => {
                ": program and arguments are one word, expected several, as in -- npx -y server"
            }
            Self::Variable => {
                ": variables of the program are set with PROVIDER_ENV, as in --provider-env NAME=value"
            }
            Self::Home => ": only shells replace ~, expected the whole path",
        })
    }
}

/// Errors, each in an indented line of its own.
struct Lines<'a>(&'a [ConfigError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl ConfigError {
    /// Returns what was resolved, or all that is wrong.
    pub(crate) fn all<T>(
        problems: Vec<SettingsError>,
        resolved: Result<T, Self>,
    ) -> Result<T, Self> {
        let mut errors: Vec<Self> = problems.into_iter().map(Self::from).collect();
        let is_first = errors.is_empty();
        match resolved {
            Ok(resolved) if is_first => return Ok(resolved),
            Ok(_) => {}
            Err(Self::Several(more)) => errors.extend(more),
            // With a default in the place of a wrong value, values may contradict each other that
            // do not as they were meant.
            Err(error) if is_first || error.concerns_one_value() => errors.push(error),
            Err(_) => {}
        }
        Err(Self::one_or_several(errors))
    }

    /// Returns one error for a list that is not empty.
    pub(crate) fn one_or_several(mut errors: Vec<Self>) -> Self {
        match (errors.pop(), errors.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                errors.extend(last);
                Self::Several(errors)
            }
        }
    }

    fn concerns_one_value(&self) -> bool {
        match self {
            Self::SecretForProgram(_)
            | Self::ProgramNotFound { .. }
            | Self::DirectoryNotFound { .. }
            | Self::DuplicateId { .. }
            | Self::DuplicateKey { .. } => true,
            Self::Settings(_)
            | Self::Several(_)
            | Self::TooManyProviders(_)
            | Self::TooManyKeys(..)
            | Self::TooManyAliases(..)
            | Self::DuplicateAlias(_)
            | Self::MissingRuntimeUrl(_)
            | Self::MissingProgram
            | Self::UnknownExecutable(_)
            | Self::ProgramsUnsupported
            | Self::WeakKey(_)
            | Self::KeyWithoutAuth(_) => false,
        }
    }
}
