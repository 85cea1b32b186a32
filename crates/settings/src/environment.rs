//! The environment as a value: reading it is explicit, and tests need not change the environment of
//! their process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Environment variables. Not `Debug`: there are secrets among them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns the value of a variable, `None` if it is unset or empty: Docker Compose passes an
    /// unset variable on as an empty one.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// Returns the names and values of all variables whose name is text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        let variables = self.0.iter();
        variables.filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())))
    }

    /// Returns a path as a shell would: `~`, alone or before a `/`, is the home directory, if there
    /// is one.
    pub fn expand_home(&self, path: &str) -> String {
        let below = path.trim_start().strip_prefix('~');
        let below = below.filter(|below| below.is_empty() || below.starts_with('/'));
        match below.and_then(|below| Some((below, self.home()?))) {
            Some(("", home)) => home.to_owned(),
            Some((below, home)) => format!("{}{below}", home.trim_end_matches('/')),
            None => path.to_owned(),
        }
    }

    /// Returns the home directory, `None` if there is none or its path is not text.
    pub fn home(&self) -> Option<&str> {
        self.get("HOME")?.to_str()
    }

    /// Returns the value of a variable, which may be empty; `None` if it is unset.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let owned = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));

        Self(owned.collect())
    }
}
