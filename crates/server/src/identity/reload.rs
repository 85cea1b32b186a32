//! The keys and the rules of access that the settings declare, replaced while the server runs.
//!
//! The keeper of the store does it, as it does every other change: what is published never goes back
//! behind a change of the store.

use std::collections::{BTreeSet, HashMap};

use llamapool_identity::{AccessMode, AuditEvent, DeclaredTwiceError, EventKind};
use tokio::sync::{mpsc, oneshot};

use super::{Identity, IdentityConfig};
use crate::audit::Audit;

/// The reloads that wait at most: one runs, and another has the newest settings.
const MAX_WAITING: usize = 2;
/// The most names of keys, and of patterns, in a line of the audit log.
const MAX_NAMES: usize = 100;

/// Has the keys and the rules of access that the settings declare replaced. Clones are the same.
#[derive(Clone)]
pub struct AccessReload {
    identity: Identity,
    queue: mpsc::Sender<Replacement>,
}

/// The settings that take the place of those before.
pub(crate) struct Replacement {
    config: IdentityConfig,
    answer: oneshot::Sender<Result<AccessChanges, DeclaredTwiceError>>,
}

/// The receiving half of the queue.
pub(crate) type Replacements = mpsc::Receiver<Replacement>;

/// What has changed with the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessChanges {
    /// The ids of the keys that are new.
    pub keys_added: Vec<String>,
    /// The ids of the keys that are others now.
    pub keys_changed: Vec<String>,
    /// The ids of the keys that are gone.
    pub keys_removed: Vec<String>,
    /// The patterns of the rules of access that are new, others now, or gone.
    pub rules: Vec<String>,
    /// The calls and tunnels that ended with it.
    pub ended: usize,
}

/// The reasons why the settings before hold on.
#[derive(Debug, thiserror::Error)]
pub enum AccessReloadError {
    /// A declared key is in the store as well.
    #[error(transparent)]
    Twice(#[from] DeclaredTwiceError),
    /// The server is ending.
    #[error("the server is ending")]
    Ending,
}

impl AccessReload {
    /// Returns the handle, and the queue of its keeper.
    pub(crate) fn new(identity: Identity) -> (Self, Replacements) {
        let (queue, replacements) = mpsc::channel(MAX_WAITING);
        (Self { identity, queue }, replacements)
    }

    /// Replaces the declared keys and rules, and the default of access. What ran by rights that no
    /// longer hold has ended when it returns.
    ///
    /// # Errors
    ///
    /// If they cannot hold together with the store. Then those before hold on.
    pub async fn replace(
        &self,
        config: IdentityConfig,
    ) -> Result<AccessChanges, AccessReloadError> {
        let (answer, answered) = oneshot::channel();
        let replacement = Replacement { config, answer };
        let sent = self.queue.send(replacement).await;
        sent.map_err(|_| AccessReloadError::Ending)?;
        let result = answered.await.map_err(|_| AccessReloadError::Ending)?;
        Ok(result?)
    }

    /// Returns what ids ask of their callers, the default for all others last.
    pub fn access(&self) -> Vec<(String, AccessMode)> {
        self.identity.modes()
    }

    /// Returns whether there is a caller key that opens the LLM API.
    pub fn has_llm_keys(&self) -> bool {
        self.identity.has_llm_keys()
    }
}

impl Replacement {
    /// Publishes it, and writes that into the audit log.
    pub(super) fn publish(self, identity: &Identity, audit: &Audit) {
        let before = identity.declared();
        let replaced = identity.redeclare(self.config).map(|ended| {
            let changes = AccessChanges::between(&before, &identity.declared(), ended);
            audit.write(|| changes.event());
            changes
        });
        // Whoever asked may have gone; what is published stays.
        drop(self.answer.send(replaced));
    }
}

impl AccessChanges {
    /// Returns whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn between(before: &IdentityConfig, after: &IdentityConfig, ended: usize) -> Self {
        let keys = |config: &IdentityConfig| {
            let keys = config.declared.keys.iter();
            keys.map(|key| (key.id.to_string(), key.clone())).collect()
        };
        let [keys_before, keys_after] = [before, after].map(keys);
        let rules = |config: &IdentityConfig| {
            let rules = config.declared.access.iter();
            let rules = rules.map(|rule| (rule.pattern.to_string(), rule.tag().to_string()));
            // The default is what holds for the pattern that covers all.
            let default = (
                "default".to_owned(),
                config.default_access.word().to_owned(),
            );
            rules.chain([default]).collect()
        };
        let [rules_before, rules_after] = [before, after].map(rules);

        let mut changed_rules = missing(&rules_after, &rules_before);
        changed_rules.extend(missing(&rules_before, &rules_after));
        changed_rules.extend(differing(&rules_before, &rules_after));
        changed_rules.sort();
        Self {
            keys_added: missing(&keys_after, &keys_before),
            keys_changed: differing(&keys_before, &keys_after),
            keys_removed: missing(&keys_before, &keys_after),
            rules: changed_rules,
            ended,
        }
    }

    fn event(&self) -> AuditEvent {
        let names = |names: &[String]| names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>();
        AuditEvent::new(EventKind::SettingsReloaded)
            .with("keys_added", names(&self.keys_added))
            .with("keys_changed", names(&self.keys_changed))
            .with("keys_removed", names(&self.keys_removed))
            .with("rules", names(&self.rules))
            .with("ended", self.ended as u64)
    }
}

/// Returns the names of what the first has and the second has not, in their order.
fn missing<V>(from: &HashMap<String, V>, other: &HashMap<String, V>) -> Vec<String> {
    sorted(from.keys().filter(|name| !other.contains_key(*name)))
}

/// Returns the names of what both have and is not the same.
fn differing<V: PartialEq>(before: &HashMap<String, V>, after: &HashMap<String, V>) -> Vec<String> {
    let differs = |(name, value): &(&String, &V)| after.get(*name).is_some_and(|it| it != *value);
    sorted(before.iter().filter(differs).map(|(name, _)| name))
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let names: BTreeSet<_> = names.collect();
    names.into_iter().cloned().collect()
}
