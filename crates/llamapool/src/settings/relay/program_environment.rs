//! The environment of a program: of the relay's environment what programs need to run and what
//! package runners read, and what `PROVIDER_ENV` names. Never a secret of llamapool's own.

use std::ffi::{OsStr, OsString};

use llamapool_settings::value::Variable;
use llamapool_settings::{Schema, Sources};

use crate::settings::error::ConfigError;

/// Variables that every program gets: paths, user, terminal, language.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];
/// Variables by which package runners such as `npx` and `uvx` find certificates, proxies and their
/// own folders: behind a company's proxy no program starts without them.
const OF_RUNNERS: &[&str] = &[
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "NODE_USE_SYSTEM_CA",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "NVM_DIR",
    "PNPM_HOME",
    "PYENV_ROOT",
    "VOLTA_HOME",
];
/// The beginnings of the names of settings of `npm`, `uv` and `pip`.
const RUNNER_PREFIXES: &[&str] = &["npm_config_", "NPM_CONFIG_", "UV_", "PIP_"];
/// Words in the name of a variable that holds a secret.
const SECRET_WORDS: &[&str] = &["auth", "token", "passw", "secret"];
/// The most names that a message about variables lists.
const MAX_LISTED: usize = 30;
/// Variables of shells and terminals, of no use to a program.
const OF_SHELLS: &[&str] = &[
    "_",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "TERM",
    "HOSTNAME",
    "LS_COLORS",
];

/// The environment of a program, and what is missing in it.
pub(super) struct ProgramEnvironment {
    /// The whole environment.
    pub(super) variables: Vec<(OsString, OsString)>,
    /// Names in `PROVIDER_ENV` that the relay's environment does not have.
    pub(super) unset: Vec<String>,
    /// Names of the relay's environment that the program does not get.
    pub(super) withheld: Vec<String>,
}

impl ProgramEnvironment {
    /// Adds the lists of `PROVIDER_ENV`, the weakest source first, to what every program gets.
    ///
    /// # Errors
    ///
    /// If a secret of llamapool is to be inherited.
    pub(super) fn new(sources: &Sources, lists: Vec<Vec<Variable>>) -> Result<Self, ConfigError> {
        let inherited = sources.environment().iter();
        let inherited = inherited.filter(|(name, value)| is_inherited(name, value));
        let mut environment = Self {
            variables: inherited
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            unset: Vec::new(),
            withheld: Vec::new(),
        };

        for variable in lists.into_iter().flatten() {
            environment.set(sources, variable)?;
        }
        environment.withheld = environment.not_passed(sources);
        Ok(environment)
    }

    /// Returns the value of a variable of the program.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        let mut variables = self.variables.iter();
        let (_, value) = variables.find(|(known, _)| known == name)?;
        Some(value)
    }

    fn set(&mut self, sources: &Sources, variable: Variable) -> Result<(), ConfigError> {
        let Variable { name, value } = variable;
        if value.is_none() && sources.schema().is_secret_variable(&name) {
            return Err(ConfigError::SecretForProgram(name));
        }

        self.variables.retain(|(known, _)| *known != *name);
        self.unset.retain(|known| *known != name);
        let value = match value {
            Some(value) => Some(OsString::from(value)),
            None => sources.environment().raw(&name).map(OsStr::to_owned),
        };
        match value {
            Some(value) => self.variables.push((name.into(), value)),
            None => self.unset.push(name),
        }
        Ok(())
    }

    /// Returns the names of the relay's environment that the program does not get, those that
    /// package runners read first.
    fn not_passed(&self, sources: &Sources) -> Vec<String> {
        let is_passed = |name: &str| self.variables.iter().any(|(known, _)| known == name);
        let is_other = |name: &str, schema: &Schema| {
            OF_SHELLS.contains(&name) || schema.is_own_variable(name) && !is_of_runners(name)
        };

        let all = sources.environment().iter().map(|(name, _)| name);
        let mut names: Vec<String> = all
            .filter(|name| !is_passed(name) && !is_other(name, sources.schema()))
            .map(str::to_owned)
            .collect();
        names.sort_by_key(|name| !is_of_runners(name));
        names.truncate(MAX_LISTED);
        names
    }
}

/// Returns whether a program gets a variable without being told to.
fn is_inherited(name: &str, value: &OsStr) -> bool {
    INHERITED.contains(&name) || (is_of_runners(name) && !may_be_secret(name, value))
}

fn is_of_runners(name: &str) -> bool {
    OF_RUNNERS.contains(&name) || RUNNER_PREFIXES.iter().any(|it| name.starts_with(it))
}

/// Returns whether a setting of a package runner may contain a password.
fn may_be_secret(name: &str, value: &OsStr) -> bool {
    let name = name.to_ascii_lowercase();
    let is_named_so = SECRET_WORDS.iter().any(|word| name.contains(word))
        || name.split('_').any(|word| word == "key");

    // An `@` before the path of a URL, or in a proxy without a scheme.
    let value = value.to_string_lossy();
    let has_user = value.split_whitespace().any(|url| {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        host.contains('@')
    });
    is_named_so || has_user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(name: &str, value: &str) -> bool {
        is_inherited(name, OsStr::new(value))
    }

    #[test]
    fn settings_of_package_runners_pass() {
        for (name, value) in [
            ("SSL_CERT_FILE", "/etc/ca.pem"),
            ("NODE_EXTRA_CA_CERTS", "/etc/ca.pem"),
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("no_proxy", "localhost,.example"),
            ("npm_config_registry", "https://registry.example/npm/@scope"),
            ("NPM_CONFIG_CACHE", "/cache"),
            ("UV_INDEX_URL", "https://index.example/simple"),
            ("UV_KEYRING_PROVIDER", "subprocess"),
            ("PIP_CERT", "/etc/ca.pem"),
            ("NVM_DIR", "/home/me/.nvm"),
        ] {
            assert!(passes(name, value), "{name}");
        }
    }

    #[test]
    fn what_may_be_a_password_does_not_pass() {
        for (name, value) in [
            ("HTTPS_PROXY", "http://me:hunter2@proxy:3128"),
            ("https_proxy", "me:hunter2@proxy:3128"),
            ("PIP_EXTRA_INDEX_URL", "https://a/ https://hunter2@b/simple"),
            ("UV_INDEX_INTERNAL_PASSWORD", "hunter2"),
            ("UV_PUBLISH_TOKEN", "hunter2"),
            ("npm_config__auth", "hunter2"),
            ("npm_config__authToken", "hunter2"),
            ("npm_config_key", "hunter2"),
            ("GITHUB_TOKEN", "hunter2"),
            ("WORKER_KEY", "hunter2"),
        ] {
            assert!(!passes(name, value), "{name}");
        }
    }
}
