//! The catalogue: all workers, all models, and which of the workers has which model in what state.
//!
//! Each name has an entry whose holders are in groups by what a decision asks first: is a slot free, is
//! the model loaded. A worker that changes moves within the entries of its models, so that a decision
//! looks at a few candidates however many workers there are. Aliases of workers are entries of their own.
//! For embeddings and ranks each variant of the weights is one: vectors of two variants must not mix.

mod entry;
mod names;
mod worker;

pub(crate) use entry::{Entry, Holder, NameKind, Variant, average};
pub(crate) use worker::{HeldModel, Membership, Worker};

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use slab::Slab;

use crate::catalogue::names::Names;
use crate::settings::SECOND;
use crate::{AskedApi, Availability, IdMap, PoolModel, PoolSpeed, WorkerId, WorkerSettings};

/// How long a model without workers is known, in microseconds.
pub(crate) const KNOWN: u64 = 600 * SECOND;
/// The most entries without workers: a worker that reports other names each time must not fill memory.
const MAX_ABSENT: usize = 4096;
/// Entries that are looked at for being forgotten at one time.
const FORGET_AT_ONCE: usize = 16;
/// The APIs whose answers depend on the variant of the weights and the runtime.
pub(crate) const VARIANT_APIS: [&str; 4] = [
    "embeddings",
    "rerank",
    OLLAMA_EMBED,
    "ollama_embed_translated",
];
/// Ollama's own API where it makes embeddings: workers have it with `ollama`.
const OLLAMA_EMBED: &str = "ollama_embed";
/// The words of APIs that have a bit from the start. Words of workers get the bits that are left.
const API_WORDS: [&str; 15] = [
    "chat",
    "completions",
    "responses",
    "messages",
    "count_tokens",
    "embeddings",
    "rerank",
    "ollama",
    "ollama_translated",
    "ollama_embed_translated",
    "transcriptions",
    "translations",
    "speech",
    "images",
    "input_tokens",
];

/// The number of groups.
pub(crate) const GROUPS: usize = 6;

/// The state of a holder, as decisions distinguish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// A slot is free, the model is loaded.
    Warm,
    /// A slot is free, the model is not loaded.
    Cold,
    /// No slot is free, the model is loaded.
    BusyWarm,
    /// No slot is free, the model is not loaded.
    BusyCold,
    /// A slot is free, but the runtime did not answer lately.
    LastResort,
    /// It takes no calls.
    Out,
}

/// Workers and entries.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) workers: Slab<Worker>,
    by_id: IdMap<WorkerId, usize>,
    by_serial: IdMap<u32, usize>,
    pub(crate) entries: Slab<Entry>,
    pub(crate) names: Names,
    apis: Vec<String>,
    /// Entries without attached holders, by the moment since when.
    absent: BTreeSet<(u64, usize)>,
    /// Entries that lost or got their only attached holder since the last look.
    changed: Vec<usize>,
    last_worker: u32,
    last_entry: u64,
    /// Changes with models, workers and residency.
    pub(crate) version: u64,
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self {
            apis: API_WORDS.map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// Returns the bit of an API, 0 if no worker can have it.
    pub(crate) fn api(&self, word: &str) -> u32 {
        let word = if word == OLLAMA_EMBED { "ollama" } else { word };
        let at = self.apis.iter().position(|api| api == word);
        at.map_or(0, |at| 1 << at)
    }

    /// Returns the bit of the API that holders of an entry have for a call of an API, `None` if they have none.
    pub(crate) fn served_by(&self, entry: &Entry, api: AskedApi) -> Option<u32> {
        let translated = api.translated.map_or(0, |word| self.api(word));
        entry.served_by(self.api(api.word), translated)
    }

    pub(crate) fn api_words(&self, bits: u32) -> impl Iterator<Item = &String> {
        let words = self.apis.iter().enumerate();
        words
            .filter(move |(at, _)| bits & (1 << at) != 0)
            .map(|(_, word)| word)
    }

    fn api_bits(&mut self, words: &[String]) -> u32 {
        for word in words {
            if !self.apis.contains(word) && self.apis.len() < 32 {
                self.apis.push(word.clone());
            }
        }
        words.iter().fold(0, |bits, word| bits | self.api(word))
    }

    pub(crate) fn worker_index(&self, id: WorkerId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn by_serial(&self, serial: u32) -> Option<usize> {
        self.by_serial.get(&serial).copied()
    }

    /// Adds a worker. Returns its place in the table.
    pub(crate) fn join(&mut self, id: WorkerId, settings: WorkerSettings) -> usize {
        self.last_worker += 1;
        let serial = self.last_worker;
        let at = self.workers.insert(Worker::new(id, serial, settings));
        self.by_id.insert(id, at);
        self.by_serial.insert(serial, at);
        self.version += 1;
        at
    }

    /// Removes a worker.
    pub(crate) fn leave(&mut self, at: usize, now: u64) -> Option<Worker> {
        self.remove_memberships(at, now);
        let worker = self.workers.try_remove(at)?;
        self.by_id.remove(&worker.id);
        self.by_serial.remove(&worker.serial);
        self.version += 1;
        Some(worker)
    }

    /// Replaces the models of a worker.
    pub(crate) fn set_models(&mut self, at: usize, models: Vec<PoolModel>, now: u64) {
        self.remove_memberships(at, now);
        let before = std::mem::take(&mut self.workers[at].models);
        let known: HashMap<&str, &HeldModel> =
            before.iter().map(|held| (&*held.name, held)).collect();

        for model in models {
            let apis = self.api_bits(&model.apis);
            let name: Arc<str> = Arc::from(model.name.as_str());
            let mut held = HeldModel::new(model, name, apis);
            if let Some(before) = known.get(&*held.name) {
                held.inherit(before);
            }
            self.workers[at].models.push(held);
        }

        self.workers[at].count_resident();
        self.add_memberships(at, now);
        self.version += 1;
    }

    fn add_memberships(&mut self, at: usize, now: u64) {
        let mut targets: Vec<(usize, u16)> = Vec::new();
        let mut seen = BTreeSet::new();
        for model in 0..self.workers[at].models.len() {
            let Ok(index) = u16::try_from(model) else {
                break;
            };
            let own = (
                NameKind::Model,
                Arc::clone(&self.workers[at].models[model].name),
            );
            if seen.contains(&own) {
                continue; // Named a second time: the first one counts.
            }
            let variant = self.variant(at, model);
            for (kind, name) in self.names_of(at, model) {
                if !seen.insert((kind, Arc::clone(&name))) {
                    continue;
                }
                let entry = self.entry(kind, &name, now);
                targets.push((entry, index));
                if let Some(variant) = &variant {
                    targets.push((self.variant_entry(entry, variant, now), index));
                }
            }
        }

        targets.sort_unstable();
        for (membership, target) in targets.into_iter().enumerate() {
            let worker = at;
            let holder = Holder {
                worker,
                membership,
                model: target.1,
            };
            self.add_membership(holder, target, now);
        }
    }

    fn names_of(&self, at: usize, model: usize) -> Vec<(NameKind, Arc<str>)> {
        let held = &self.workers[at].models[model];
        let aliases = held.model.aliases.iter();
        let aliases = aliases.filter(|alias| **alias != held.model.name);
        std::iter::once((NameKind::Model, Arc::clone(&held.name)))
            .chain(aliases.map(|alias| (NameKind::Alias, Arc::from(alias.as_str()))))
            .collect()
    }

    /// Returns the variant of a model, `None` if no call to it depends on one.
    fn variant(&self, at: usize, model: usize) -> Option<Variant> {
        let worker = &self.workers[at];
        let info = &worker.models[model].model;
        let needs = info
            .apis
            .iter()
            .any(|api| VARIANT_APIS.contains(&api.as_str()));
        needs.then(|| Variant {
            runtime: worker.settings.runtime.clone(),
            weights: if info.digest.is_empty() {
                format!("{}/{}", info.size, info.quantization)
            } else {
                info.digest.clone()
            },
        })
    }

    fn add_membership(&mut self, holder: Holder, target: (usize, u16), now: u64) {
        let worker = &mut self.workers[holder.worker];
        let is_attached = worker.availability != Availability::Draining;
        let group = worker.group(target.1);
        let held = &worker.models[usize::from(target.1)];

        let entry = &mut self.entries[target.0];
        entry.count(held.apis, held.model.context, true);
        let place = entry.insert(group, holder);
        worker.memberships.push(Membership {
            entry: target.0,
            model: target.1,
            group,
            at: place,
            is_attached,
        });
        if is_attached {
            self.attach(target.0, 1, now);
        }
    }

    fn remove_memberships(&mut self, at: usize, now: u64) {
        // From the last one on, so that places of those that stay do not change.
        while let Some(member) = self.workers[at].memberships.pop() {
            let held = &self.workers[at].models[usize::from(member.model)];
            let entry = &mut self.entries[member.entry];
            entry.count(held.apis, held.model.context, false);
            let moved = entry.remove(member.group, member.at);
            self.fix_place(moved, member.at);
            if member.is_attached {
                self.attach(member.entry, -1, now);
            }
        }
    }

    fn fix_place(&mut self, moved: Option<Holder>, at: usize) {
        if let Some(moved) = moved {
            self.workers[moved.worker].memberships[moved.membership].at = at;
        }
    }

    /// Moves a worker's models to the groups of its present state.
    pub(crate) fn regroup(&mut self, at: usize, now: u64) {
        for membership in 0..self.workers[at].memberships.len() {
            let worker = &self.workers[at];
            let member = worker.memberships[membership].clone();
            let group = worker.group(member.model);
            let is_attached = worker.availability != Availability::Draining;
            if is_attached != member.is_attached {
                self.workers[at].memberships[membership].is_attached = is_attached;
                self.attach(member.entry, if is_attached { 1 } else { -1 }, now);
            }
            if group != member.group {
                let moved = self.entries[member.entry].remove(member.group, member.at);
                self.fix_place(moved, member.at);
                let holder = Holder {
                    worker: at,
                    membership,
                    model: member.model,
                };
                let place = self.entries[member.entry].insert(group, holder);
                let member = &mut self.workers[at].memberships[membership];
                member.group = group;
                member.at = place;
            }
        }
    }

    /// Takes a reported speed of a worker's model into the averages of its entries.
    pub(crate) fn learn_speed(&mut self, at: usize, speed: &PoolSpeed) {
        let Some(worker) = self.workers.get_mut(at) else {
            return;
        };
        let Some(held) = worker.models.get_mut(usize::from(speed.model)) else {
            return;
        };
        held.set_speed(speed);
        for member in worker
            .memberships
            .iter()
            .filter(|member| member.model == speed.model)
        {
            self.entries[member.entry].learn_speed(speed.prefill, speed.decode);
        }
    }

    fn attach(&mut self, entry: usize, by: isize, now: u64) {
        let state = &mut self.entries[entry];
        state.attached = state.attached.saturating_add_signed(by);
        let absent = (state.attached == 0).then(|| state.absent.unwrap_or(now));
        if let Some(since) = std::mem::replace(&mut state.absent, absent) {
            self.absent.remove(&(since, entry));
        }
        if let Some(since) = absent {
            self.absent.insert((since, entry));
        }
        self.changed.push(entry);
    }

    /// Returns the entries whose number of attached holders changed since the last time, once each, after
    /// having pinned variants anew and forgotten old entries.
    pub(crate) fn take_changed(&mut self, now: u64) -> Vec<usize> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for entry in &changed {
            if let Some((base, _)) = &self.entries[*entry].variant_of {
                self.pin(*base);
            }
        }
        self.forget(now);
        changed.retain(|entry| self.entries.contains(*entry));
        changed
    }

    /// Pins the variant that most workers have, unless one is in use.
    fn pin(&mut self, base: usize) {
        let Some(entry) = self.entries.get(base) else {
            return;
        };
        if entry.is_pin_used && entry.pinned.is_some() {
            return;
        }
        let attached = |variant: usize| self.entries.get(variant).map_or(0, |entry| entry.attached);
        // Of equal ones the first: the same in every run.
        let variants = entry.variants.values().rev().copied();
        let most = variants.max_by_key(|variant| attached(*variant));
        self.entries[base].pinned = most;
        self.entries[base].is_pin_used = false;
    }

    /// Removes entries that had no worker for [`KNOWN`], or are too many, unless calls wait for them.
    pub(crate) fn forget(&mut self, now: u64) {
        let excess = self.absent.len().saturating_sub(MAX_ABSENT);
        let oldest = self.absent.iter().take(excess + FORGET_AT_ONCE).enumerate();
        let due =
            oldest.filter(|(at, (since, _))| *at < excess || now.saturating_sub(*since) >= KNOWN);
        let due: Vec<usize> = due.map(|(_, (_, entry))| *entry).collect();
        for entry in due {
            if self.entries.contains(entry) {
                self.remove_entry(entry);
            }
        }
    }

    /// Removes an entry and its variants, unless calls wait for one of them, or a worker that drains still
    /// has it.
    fn remove_entry(&mut self, at: usize) {
        let is_unused = |entry: &Entry| entry.len() == 0 && entry.queue.is_none();
        let variants = self.entries[at].variants.values().copied();
        let all: Vec<usize> = variants.chain([at]).collect();
        if !all.iter().all(|entry| is_unused(&self.entries[*entry])) {
            return;
        }

        for entry in all {
            let removed = self.entries.remove(entry);
            if let Some(since) = removed.absent {
                self.absent.remove(&(since, entry));
            }
            match &removed.variant_of {
                None => self.names.remove(removed.kind, &removed.name),
                Some((base, variant)) => self.drop_variant(*base, variant, entry),
            }
        }
        self.version += 1;
    }

    fn drop_variant(&mut self, base: usize, variant: &Variant, entry: usize) {
        let Some(state) = self.entries.get_mut(base) else {
            return;
        };
        state.variants.remove(variant);
        if state.pinned == Some(entry) {
            state.pinned = None;
            self.pin(base);
        }
    }

    fn entry(&mut self, kind: NameKind, name: &Arc<str>, now: u64) -> usize {
        if let Some(entry) = self.names.get(kind, name) {
            return entry;
        }
        let entry = self.new_entry(kind, name, now);
        self.names.insert(kind, name, entry);
        entry
    }

    fn variant_entry(&mut self, base: usize, variant: &Variant, now: u64) -> usize {
        if let Some(entry) = self.entries[base].variants.get(variant) {
            return *entry;
        }
        let kind = self.entries[base].kind;
        let name = Arc::clone(&self.entries[base].name);
        let entry = self.new_entry(kind, &name, now);
        self.entries[entry].variant_of = Some((base, variant.clone()));
        self.entries[base].variants.insert(variant.clone(), entry);
        entry
    }

    fn new_entry(&mut self, kind: NameKind, name: &Arc<str>, now: u64) -> usize {
        self.last_entry += 1;
        let entry = Entry::new(self.last_entry, Arc::clone(name), kind, now);
        let at = self.entries.insert(entry);
        self.absent.insert((now, at));
        at
    }
}
