//! The environment as a value, so that whoever reads it says so, and tests need not change that of their process.
//!
//! Which variables mean what is not here. The one rule: it is read once, in `main`, and never shown.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Environment variables. There is no `Debug`: keys and tokens are among them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// What a variable says. One that is set and empty counts as not set: that is how docker compose passes on what
    /// nobody set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// What a variable says, as it is.
    pub(super) fn raw(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}
