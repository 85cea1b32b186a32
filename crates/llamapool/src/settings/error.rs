//! Errors of the settings as a whole: values that are valid each for itself, and not together.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use llamapool_settings::{EntrySources, SettingsError};
use llamapool_wire::MAX_PROVIDERS;

use super::relay::mcp_servers::ServersFileError;

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
    #[error("{one} and {other} have the same id {id:?}: ids must be unique")]
    DuplicateId {
        /// The id.
        id: String,
        /// The first provider, such as `provider 1`.
        one: String,
        /// The other provider.
        other: String,
    },
    /// Something that is wrong with one of several providers.
    #[error("{place}: {error}")]
    OfProvider {
        /// The place of its table or entry.
        place: String,
        /// What is wrong.
        error: Box<ConfigError>,
    },
    /// A file of MCP servers that cannot be used as it is.
    #[error(transparent)]
    ServersFile(#[from] ServersFileError),
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
    /// Two declared keys with the same name or key.
    #[error("key {one} and key {other} have the same {what}: expected another one for each")]
    DuplicateKey {
        /// Number of the first key, from 1.
        one: usize,
        /// Number of the other key.
        other: usize,
        /// What is the same: `name` or `key`.
        what: &'static str,
    },
    /// A key whose members contradict each other.
    #[error("key {number}: {problem}")]
    WrongKey {
        /// Its number, from 1.
        number: usize,
        /// What is wrong, and what was expected.
        problem: &'static str,
    },
    /// A burst of a rule of access that limits nothing.
    #[error("[[access]] table {0}: burst is for ids with a rate: expected rate")]
    BurstWithoutRate(usize),
    /// More keys than a server can have.
    #[error("{0} keys, expected at most {1}")]
    TooManyKeys(usize, usize),
    /// More rules of access than a file can have.
    #[error("{0} [[access]] tables, expected at most {1}")]
    TooManyRules(usize, usize),
    /// Two rules of access for one pattern.
    #[error("two [[access]] tables have the pattern {0:?}: expected one")]
    DuplicateRule(String),
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
    /// A certificate without its key, or the other way round.
    #[error("{set} is set and {missing} is not: expected both, for one certificate and its key")]
    HalfOfCertificate {
        /// The setting that is set.
        set: &'static str,
        /// The one that is missing.
        missing: &'static str,
    },
    /// More certificates than a server can have.
    #[error("{0} certificates, expected at most {1}")]
    TooManyCertificates(usize, usize),
    /// A port beside that of https, without https.
    #[error(
        "HTTP_PORT is for redirects to https, and no certificate is set: expected TLS_CERT_FILE and \
         TLS_KEY_FILE, [[certificate]] tables, or ACME_DOMAINS"
    )]
    HttpPortWithoutTls,
    /// A setting of ACME without names.
    #[error("{0} is set and ACME_DOMAINS is not: expected the DNS names of this server")]
    AcmeWithoutDomains(&'static str),
    /// ACME without a directory for what it must remember.
    #[error(
        "ACME_DOMAINS needs a data directory for the account and the certificates: set DATA_DIR"
    )]
    AcmeWithoutDataDir,
    /// More names than an authority puts into one certificate.
    #[error("ACME_DOMAINS has {0} names, expected at most {1}")]
    TooManyDomains(usize, usize),
    /// A check over plain HTTP without a port for it.
    #[error(
        "ACME_CHALLENGE is http-01 and HTTP_PORT is not set: expected 80, or a port that 80 leads to"
    )]
    ChallengeWithoutHttpPort,
    /// The id of an external account without its key, or the other way round.
    #[error("{set} is set and {missing} is not: expected both, the id and the key of one account")]
    HalfOfExternalAccount {
        /// The setting that is set.
        set: &'static str,
        /// The one that is missing.
        missing: &'static str,
    },
    /// A key of an external account that is none.
    #[error("ACME_EAB_KEY is not in Base64 for URLs, expected the key as the authority shows it")]
    ExternalAccountKey,
    /// A public URL that does not fit TLS.
    #[error("PUBLIC_URL begins with http:// and a certificate is set: expected https://")]
    PlainPublicUrl,
    /// A public URL that cannot be that of an authorization server.
    #[error("{0}")]
    SignInUrl(llamapool_server::IssuerError),
    /// An authorization server that would forget its grants.
    #[error("SIGN_IN needs DATA_DIR, where clients and grants are kept: set it, or SIGN_IN=off")]
    SignInWithoutDataDir,
    /// An audit log that must be written and has no place.
    #[error(
        "AUDIT_REQUIRED needs AUDIT and DATA_DIR, where the log is: set them, or AUDIT_REQUIRED=off"
    )]
    AuditRequiredWithoutLog,
    /// Pages of providers beside the page on which keys are typed.
    #[error(
        "SIGN_IN cannot be combined with TRUSTED_PAGES: a script of such a page could read the key that \
         is typed on the page of the server"
    )]
    SignInWithTrustedPages,
    /// Ids that ask for a sign-in that is off.
    #[error("MCP_ACCESS is sign-in and SIGN_IN is off: set SIGN_IN, or expected open or keys")]
    AccessWithoutSignIn,
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
                ": program and arguments are one word, expected several, as in -- npx -y server, or args beside command"
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
        // Settings that several subsystems read are wrong in each of them.
        let mut texts = HashSet::new();
        errors.retain(|error| texts.insert(error.to_string()));
        match (errors.pop(), errors.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                errors.extend(last);
                Self::Several(errors)
            }
        }
    }

    /// Returns the single errors.
    pub(super) fn into_all(self) -> Vec<Self> {
        match self {
            Self::Several(errors) => errors,
            error => vec![error],
        }
    }

    /// Adds the place of a provider, where the error does not name it by itself.
    pub(super) fn at(self, entry: &EntrySources<'_>) -> Self {
        match (self, entry.place()) {
            (
                error @ (Self::Settings(SettingsError::Contradiction { .. })
                | Self::SecretForProgram(_)
                | Self::ProgramNotFound { .. }
                | Self::DirectoryNotFound { .. }),
                Some(place),
            ) => Self::OfProvider {
                place,
                error: Box::new(error),
            },
            (error, _) => error,
        }
    }

    fn concerns_one_value(&self) -> bool {
        match self {
            Self::OfProvider { error, .. } => error.concerns_one_value(),
            Self::ServersFile(_)
            | Self::SecretForProgram(_)
            | Self::ProgramNotFound { .. }
            | Self::DirectoryNotFound { .. }
            | Self::DuplicateId { .. }
            | Self::DuplicateKey { .. }
            | Self::WrongKey { .. }
            | Self::BurstWithoutRate(_) => true,
            Self::Settings(_)
            | Self::Several(_)
            | Self::TooManyProviders(_)
            | Self::TooManyKeys(..)
            | Self::TooManyAliases(..)
            | Self::DuplicateAlias(_)
            | Self::TooManyRules(..)
            | Self::DuplicateRule(_)
            | Self::MissingRuntimeUrl(_)
            | Self::MissingProgram
            | Self::UnknownExecutable(_)
            | Self::ProgramsUnsupported
            | Self::HalfOfCertificate { .. }
            | Self::TooManyCertificates(..)
            | Self::HttpPortWithoutTls
            | Self::AcmeWithoutDomains(_)
            | Self::AcmeWithoutDataDir
            | Self::TooManyDomains(..)
            | Self::ChallengeWithoutHttpPort
            | Self::HalfOfExternalAccount { .. }
            | Self::ExternalAccountKey
            | Self::PlainPublicUrl
            | Self::WeakKey(_)
            | Self::SignInUrl(_)
            | Self::SignInWithoutDataDir
            | Self::AuditRequiredWithoutLog
            | Self::SignInWithTrustedPages
            | Self::AccessWithoutSignIn
            | Self::KeyWithoutAuth(_) => false,
        }
    }
}
