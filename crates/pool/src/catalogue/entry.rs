//! One entry of the catalogue: a name, and the workers that have a model of that name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalogue::{GROUPS, Group, KNOWN};
use crate::steps::step;

/// Bounds of what may be learned: text of one byte a token, and of sixteen.
const BYTES_PER_TOKEN_RANGE: (f64, f64) = (1.0, 16.0);
/// Tokens of an answer, before anything is learned.
const COMPLETION: f64 = 256.0;
/// The weight of the newest value in moving averages.
const NEWEST: f64 = 1.0 / 8.0;
/// The shortest prompt that teaches bytes per token, in bytes: in shorter ones the template prevails.
const MIN_LEARNED_BYTES: u64 = 256;

/// The kind of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum NameKind {
    /// A runtime's own name of a model.
    Model,
    /// An alias of workers.
    Alias,
}

/// What decides the vectors of an embedding: the weights and the kind of runtime.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Variant {
    pub(crate) runtime: String,
    /// The digest, or size and quantization where there is none.
    pub(crate) weights: String,
}

/// A worker in an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its place in the table of workers.
    pub(crate) worker: usize,
    /// The place of the membership in the worker's list.
    pub(crate) membership: usize,
    /// The model of the membership: a look at the list would be one more place in memory for each
    /// candidate.
    pub(crate) model: u16,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its number of creation; never used twice.
    pub(crate) serial: u64,
    pub(crate) name: Arc<str>,
    pub(crate) kind: NameKind,
    /// The entry that it is a variant of, and which.
    pub(crate) variant_of: Option<(usize, Variant)>,
    /// The entries of its variants, for calls whose answers must not mix them.
    pub(crate) variants: BTreeMap<Variant, usize>,
    /// The variant that such calls go to.
    pub(crate) pinned: Option<usize>,
    /// Whether a call went to the pinned one: before it, the variant of most workers is pinned.
    pub(crate) is_pin_used: bool,
    pub(crate) groups: [Vec<Holder>; GROUPS],
    /// Holders on workers that are not draining.
    pub(crate) attached: usize,
    /// Holders with each API, by its bit.
    pub(crate) apis: [u32; 32],
    /// The bits of all APIs that a holder had at any time.
    pub(crate) apis_seen: u32,
    /// Contexts of the holders in tokens, with their number.
    pub(crate) contexts: BTreeMap<u64, usize>,
    pub(crate) first_seen: u64,
    /// Since when no holder is attached.
    pub(crate) absent: Option<u64>,
    /// The queue of its waiting calls, while there are any.
    pub(crate) queue: Option<usize>,
    /// When its waiting calls are given up, while no holder is attached.
    pub(crate) absent_timer: Option<u64>,
    pub(crate) bytes_per_token: f64,
    /// Average tokens of an answer.
    pub(crate) completion: f64,
    /// Average speeds that workers reported, 0 before the first.
    pub(crate) prefill: f64,
    pub(crate) decode: f64,
}

impl Entry {
    /// Bytes of text in a token, before anything is learned.
    pub(crate) const BYTES_PER_TOKEN: f64 = 4.0;

    pub(crate) fn new(serial: u64, name: Arc<str>, kind: NameKind, now: u64) -> Self {
        Self {
            serial,
            name,
            kind,
            variant_of: None,
            variants: BTreeMap::new(),
            pinned: None,
            is_pin_used: false,
            groups: Default::default(),
            attached: 0,
            apis: [0; 32],
            apis_seen: 0,
            contexts: BTreeMap::new(),
            first_seen: now,
            absent: Some(now),
            queue: None,
            absent_timer: None,
            bytes_per_token: Self::BYTES_PER_TOKEN,
            completion: COMPLETION,
            prefill: 0.0,
            decode: 0.0,
        }
    }

    /// Adds a holder to a group. Returns its place there.
    pub(crate) fn insert(&mut self, group: Group, holder: Holder) -> usize {
        step();
        let group = &mut self.groups[group as usize];
        group.push(holder);
        group.len() - 1
    }

    /// Removes a holder. Returns the one that took its place.
    pub(crate) fn remove(&mut self, group: Group, at: usize) -> Option<Holder> {
        step();
        let group = &mut self.groups[group as usize];
        group.swap_remove(at);
        group.get(at).copied()
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder> {
        self.groups.iter().flatten().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// Returns the number of holders with a free slot.
    pub(crate) fn free(&self) -> usize {
        self.groups[Group::Warm as usize].len() + self.groups[Group::Cold as usize].len()
    }

    /// Returns whether any holder could start a call.
    pub(crate) fn has_free(&self) -> bool {
        self.free() + self.groups[Group::LastResort as usize].len() > 0
    }

    /// Returns when calls that wait for a holder are given up, `None` while there is one. Calls that are
    /// bound to a variant wait as long as the variant is remembered.
    pub(crate) fn gives_up_at(&self, max_wait: u64) -> Option<u64> {
        let wait = if self.variant_of.is_some() {
            KNOWN
        } else {
            max_wait
        };
        self.absent.map(|since| since.saturating_add(wait))
    }

    /// Counts the APIs and the context of a holder, up or down.
    pub(crate) fn count(&mut self, apis: u32, context: u64, is_added: bool) {
        self.apis_seen |= apis;
        for (bit, count) in self.apis.iter_mut().enumerate() {
            if apis & (1 << bit) != 0 {
                *count = count.saturating_add_signed(if is_added { 1 } else { -1 });
            }
        }

        let holders = self.contexts.entry(context).or_default();
        *holders = holders.saturating_add_signed(if is_added { 1 } else { -1 });
        if *holders == 0 {
            self.contexts.remove(&context);
        }
    }

    /// Returns the bit of the API that holders have for a call of an API: its own, else that of workers that
    /// make it of another one. `None` if they have neither.
    pub(crate) fn served_by(&self, api: u32, translated: u32) -> Option<u32> {
        let has = |bit: u32| bit != 0 && self.apis[bit.trailing_zeros() as usize] > 0;
        [api, translated].into_iter().find(|bit| has(*bit))
    }

    /// Returns the smallest and the largest known context in tokens.
    pub(crate) fn context_range(&self) -> Option<(u64, u64)> {
        let smallest = self.contexts.keys().find(|context| **context > 0)?;
        let largest = self.contexts.keys().next_back()?;
        Some((*smallest, *largest))
    }

    pub(crate) fn learn_prompt(&mut self, bytes: u64, tokens: u64) {
        if bytes >= MIN_LEARNED_BYTES && tokens > 0 {
            let (least, most) = BYTES_PER_TOKEN_RANGE;
            let seen = (bytes as f64 / tokens as f64).clamp(least, most);
            average(&mut self.bytes_per_token, seen);
        }
    }

    pub(crate) fn learn_completion(&mut self, tokens: u64) {
        average(&mut self.completion, tokens as f64);
    }

    pub(crate) fn learn_speed(&mut self, prefill: f64, decode: f64) {
        average_from_first(&mut self.prefill, prefill);
        average_from_first(&mut self.decode, decode);
    }
}

/// Moves an average by an eighth of the difference.
pub(crate) fn average(average: &mut f64, value: f64) {
    *average += (value - *average) * NEWEST;
}

/// The same for a value that is 0 before the first one.
fn average_from_first(known: &mut f64, value: f64) {
    if value <= 0.0 {
        return;
    }
    if *known == 0.0 {
        *known = value;
    } else {
        average(known, value);
    }
}
