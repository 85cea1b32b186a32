//! The settings that a process takes at its start alone, to name those that have changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use llamapool_settings::Sources;

/// The texts of settings that take effect at a start alone.
#[derive(Clone)]
pub(super) struct FixedSettings(BTreeMap<&'static str, String>);

/// Without the texts: there are secrets among them.
impl fmt::Debug for FixedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedSettings").finish_non_exhaustive()
    }
}

impl FixedSettings {
    /// The settings of these sources that no table can have, without those that are read again while
    /// the process runs.
    pub(super) fn of(sources: &Sources, read_again: &[&str]) -> Self {
        let mut texts = sources.outside_texts();
        texts.retain(|name, _| !read_again.contains(name));
        Self(texts)
    }

    /// Adds what tables have, as a text to compare.
    pub(super) fn with(mut self, name: &'static str, text: String) -> Self {
        self.0.insert(name, text);
        self
    }

    /// Returns the names of the settings that differ.
    pub(super) fn differing_from(&self, other: &Self) -> Vec<&'static str> {
        let names: BTreeSet<&'static str> = self.0.keys().chain(other.0.keys()).copied().collect();
        let differs = |name: &&'static str| self.0.get(name) != other.0.get(name);
        names.into_iter().filter(differs).collect()
    }
}
