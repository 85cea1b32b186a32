//! Errors of the settings as a whole: values that are valid each for itself, and not together.

use llamapool_settings::SettingsError;
use llamapool_wire::MAX_PROVIDERS;

/// A reason why a role cannot be configured. Every text is one line without a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
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
    #[error("PROVIDER_COMMAND: the program {program:?} is not in PATH or not executable")]
    ProgramNotFound {
        /// The program.
        program: String,
    },
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
