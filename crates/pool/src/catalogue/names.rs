//! Names: from what a caller asks for to an entry of the catalogue.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::catalogue::{Catalogue, Entry, NameKind, VARIANT_APIS};
use crate::keys::Keys;
use crate::{AskedApi, KeyId, Match, Resolution, ResolvedModel, ServerAlias};

/// The tag that runtimes add to a name without one.
const LATEST: &str = ":latest";

/// The names of all entries but variants, and the aliases of the server.
#[derive(Debug, Default)]
pub(crate) struct Names {
    models: HashMap<Arc<str>, usize>,
    aliases: HashMap<Arc<str>, usize>,
    /// Models by their name in lower case.
    folded: HashMap<String, BTreeSet<Arc<str>>>,
    /// Models by their name without quantization.
    families: HashMap<String, BTreeSet<Arc<str>>>,
    server: HashMap<String, Vec<String>>,
    /// Beginnings of names, the longest first.
    server_prefixes: Vec<(String, Vec<String>)>,
}

/// A name that was found.
struct Found {
    entry: usize,
    matched: Match,
    is_allowed: bool,
}

impl Names {
    pub(crate) fn set_server_aliases(&mut self, aliases: Vec<ServerAlias>) {
        self.server.clear();
        self.server_prefixes.clear();
        for alias in aliases {
            match alias.name.strip_suffix('*') {
                Some(prefix) => self
                    .server_prefixes
                    .push((prefix.to_owned(), alias.targets)),
                None => {
                    self.server.insert(alias.name, alias.targets);
                }
            }
        }
        self.server_prefixes
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    pub(crate) fn get(&self, kind: NameKind, name: &str) -> Option<usize> {
        match kind {
            NameKind::Model => self.models.get(name).copied(),
            NameKind::Alias => self.aliases.get(name).copied(),
        }
    }

    /// Returns the entries of all models.
    pub(crate) fn models(&self) -> impl Iterator<Item = usize> {
        self.models.values().copied()
    }

    pub(crate) fn insert(&mut self, kind: NameKind, name: &Arc<str>, entry: usize) {
        if kind == NameKind::Alias {
            self.aliases.insert(Arc::clone(name), entry);
            return;
        }
        self.models.insert(Arc::clone(name), entry);
        let folded = self.folded.entry(name.to_ascii_lowercase()).or_default();
        folded.insert(Arc::clone(name));
        if let Some(family) = family(name) {
            let names = self.families.entry(family.to_owned()).or_default();
            names.insert(Arc::clone(name));
        }
    }

    pub(crate) fn remove(&mut self, kind: NameKind, name: &str) {
        if kind == NameKind::Alias {
            self.aliases.remove(name);
            return;
        }
        self.models.remove(name);
        remove_from(&mut self.folded, &name.to_ascii_lowercase(), name);
        if let Some(family) = family(name) {
            remove_from(&mut self.families, family, name);
        }
    }
}

fn remove_from(names: &mut HashMap<String, BTreeSet<Arc<str>>>, key: &str, name: &str) {
    if let Some(set) = names.get_mut(key) {
        set.remove(name);
        if set.is_empty() {
            names.remove(key);
        }
    }
}

/// Returns a name without the quantization at the end of its tag: `llama2:7b` for `llama2:7b-q4_0`.
fn family(name: &str) -> Option<&str> {
    let (base, tag) = name.split_once(':')?;
    let end = tag.find('-').unwrap_or(tag.len());
    let tag = &tag[..end];
    let is_name = !base.is_empty() && !tag.is_empty() && !tag.contains(char::is_whitespace);
    is_name.then(|| &name[..base.len() + 1 + end])
}

/// Returns the name with or without the tag that runtimes add.
fn other_tag(name: &str) -> Option<String> {
    if let Some(short) = name.strip_suffix(LATEST) {
        return Some(short.to_owned());
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    (!name.is_empty() && !last.contains(':')).then(|| format!("{name}{LATEST}"))
}

impl Catalogue {
    /// Finds the entry of a name that a caller asks for.
    pub(crate) fn resolve(
        &self,
        name: &str,
        api: AskedApi,
        (keys, key): (&Keys, KeyId),
        has_fallback: bool,
    ) -> Resolution {
        let allowed = |entry: usize| keys.allows(key, &self.entries[entry].name);
        // Nothing goes before the name itself where workers have it.
        if let Some(entry) = self.names.get(NameKind::Model, name)
            && self.entries[entry].attached > 0
            && allowed(entry)
        {
            let exact = Found {
                entry,
                matched: Match::Exact,
                is_allowed: true,
            };
            return self.resolution(&exact, api);
        }

        let mut found: Vec<Found> = self
            .candidates(name)
            .into_iter()
            .map(|(entry, matched)| {
                let is_alias = matched == Match::ServerAlias && keys.allows(key, name);
                Found {
                    entry,
                    matched,
                    is_allowed: is_alias || allowed(entry),
                }
            })
            .collect();
        // Another quantization has other vectors: never for embeddings and ranks.
        if has_fallback && !depends_on_variant(api) {
            found.extend(self.other_quantization(name).map(|entry| Found {
                entry,
                matched: Match::Quantization,
                is_allowed: allowed(entry),
            }));
        }

        found.retain(|found| found.is_allowed);
        // Vectors of a model that was used are of another space than those of what its name may mean
        // besides: its calls wait for it.
        let is_kept =
            |found: &&Found| depends_on_variant(api) && self.entries[found.entry].is_pin_used;
        let present = found
            .iter()
            .find(|found| self.entries[found.entry].attached > 0 || is_kept(found));
        match present.or(found.first()) {
            Some(found) => self.resolution(found, api),
            None => Resolution::NotFound,
        }
    }

    fn resolution(&self, found: &Found, api: AskedApi) -> Resolution {
        let entry = &self.entries[found.entry];
        if entry.len() > 0 && self.served_by(entry, api).is_none() {
            return Resolution::UnsupportedApi {
                name: Arc::clone(&entry.name),
            };
        }

        let variant = depends_on_variant(api).then(|| self.variant_for(entry, api));
        let variant = variant.flatten();
        let at = variant.unwrap_or(found.entry);
        Resolution::Found(ResolvedModel {
            name: Arc::clone(&entry.name),
            matched: found.matched,
            entry: at,
            serial: self.entries[at].serial,
        })
    }

    /// Returns the variant for a call whose answer depends on it: the pinned one, or, where a worker has an
    /// API that others make of another one, a variant with such a worker. That one is waited for as long as
    /// it is remembered: another runtime makes other vectors.
    fn variant_for(&self, entry: &Entry, api: AskedApi) -> Option<usize> {
        let bit = self.api(api.word);
        let has_own = |variant: &usize| self.entries[*variant].apis_seen & bit != 0;
        let pinned = entry.pinned.filter(has_own);
        if api.translated.is_none() || pinned.is_some() {
            return entry.pinned;
        }
        let own = entry.variants.values().rev().copied().filter(has_own);
        let most = own.max_by_key(|variant| self.entries[*variant].attached);
        most.or(entry.pinned)
    }

    /// Returns the entries that a name may mean, the best first, without other quantizations.
    fn candidates(&self, name: &str) -> Vec<(usize, Match)> {
        let mut found = self.own_names(name);
        let prefix = || {
            let prefixes = self.names.server_prefixes.iter();
            let mut matching = prefixes.filter(|(prefix, _)| name.starts_with(prefix.as_str()));
            matching.next().map(|(_, targets)| targets)
        };
        let targets = self.names.server.get(name).or_else(prefix);
        for target in targets.into_iter().flatten() {
            let own = self.own_names(target);
            found.extend(
                own.into_iter()
                    .map(|(entry, _)| (entry, Match::ServerAlias)),
            );
        }
        found
    }

    fn own_names(&self, name: &str) -> Vec<(usize, Match)> {
        let other = other_tag(name);
        let model = |name: &str| self.names.get(NameKind::Model, name);
        let alias = |name: &str| self.names.get(NameKind::Alias, name);

        let found = [
            (model(name), Match::Exact),
            (other.as_deref().and_then(model), Match::Latest),
            (self.other_case(name), Match::Case),
            (
                other.as_deref().and_then(|name| self.other_case(name)),
                Match::Case,
            ),
            (alias(name), Match::WorkerAlias),
            (other.as_deref().and_then(alias), Match::WorkerAlias),
        ];
        let found = found.into_iter();
        found
            .filter_map(|(entry, matched)| entry.map(|entry| (entry, matched)))
            .collect()
    }

    /// Returns the only model with a worker whose name differs in the case of letters alone.
    fn other_case(&self, name: &str) -> Option<usize> {
        let names = self.names.folded.get(&name.to_ascii_lowercase())?;
        let entries = names
            .iter()
            .filter_map(|name| self.names.get(NameKind::Model, name));
        let mut present = entries.filter(|entry| self.entries[*entry].attached > 0);
        let first = present.next()?;
        present.next().is_none().then_some(first)
    }

    /// Returns the model with most workers that differs in quantization alone.
    fn other_quantization(&self, name: &str) -> Option<usize> {
        let names = self.names.families.get(family(name)?)?;
        let entries = names.iter().rev();
        let entries = entries.filter_map(|name| self.names.get(NameKind::Model, name));
        let present = entries.filter(|entry| self.entries[*entry].attached > 0);
        present.max_by_key(|entry| self.entries[*entry].attached)
    }
}

/// Returns whether the answers of an API depend on the variant of the weights and the runtime.
fn depends_on_variant(api: AskedApi) -> bool {
    let words = [Some(api.word), api.translated];
    let mut words = words.into_iter().flatten();
    words.any(|word| VARIANT_APIS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantization_is_cut_off_a_tag() {
        assert_eq!(family("llama2:7b-q4_0"), Some("llama2:7b"));
        assert_eq!(family("llama2:7b"), Some("llama2:7b"));
        assert_eq!(family("llama2:7b-chat-q4_0"), Some("llama2:7b"));
        assert_eq!(family("llama2"), None);
        assert_eq!(family("llama2:-q4"), None);
    }

    #[test]
    fn latest_is_added_and_removed() {
        assert_eq!(other_tag("qwen3"), Some("qwen3:latest".into()));
        assert_eq!(other_tag("qwen3:latest"), Some("qwen3".into()));
        assert_eq!(
            other_tag("host:80/qwen3"),
            Some("host:80/qwen3:latest".into())
        );
        assert_eq!(other_tag("qwen3:8b"), None);
        assert_eq!(other_tag(""), None);
    }
}
