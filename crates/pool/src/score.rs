//! The score of a worker for a call: the expected time to first content, in microseconds.
//!
//! Loading, waiting, reading what is not in the cache, and the round trip are all times, so that they add
//! without weights, and a choice can be explained.

use crate::settings::SECOND;

/// Tokens of a prompt read in a second, where no worker of the model reported any.
const PREFILL: f64 = 500.0;
/// Tokens written in a second, where no worker of the model reported any.
const DECODE: f64 = 30.0;
/// Bytes of a model loaded in a second, where no worker reported its time.
const LOAD_BYTES: u64 = 500_000_000;
/// The longest time that is computed with: more makes no difference, and sums cannot overflow.
pub(crate) const LONGEST: u64 = 100_000 * SECOND;

/// Whether a worker has a model loaded as the call wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warmth {
    /// It has.
    Resident,
    /// It has been loading it for these microseconds.
    Loading(u64),
    /// It has not.
    Cold,
    /// It has it loaded with another context.
    Reload,
}

/// A worker that could run a call.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Its place in the table of workers.
    pub(crate) worker: usize,
    /// Its model.
    pub(crate) model: u16,
    /// Whether a slot is free.
    pub(crate) is_free: bool,
    /// Whether the prompt is expected to fit into the context.
    pub(crate) fits: bool,
    pub(crate) warmth: Warmth,
    /// Microseconds until a slot is expected to be free, 0 if one is.
    pub(crate) wait: u64,
    /// Microseconds to load the model, 0 if unknown.
    pub(crate) load: u64,
    /// Size of the model in bytes, 0 if unknown.
    pub(crate) size: u64,
    /// Microseconds to load what would have to go, and was used lately.
    pub(crate) evict: u64,
    /// Tokens of a prompt read in a second, 0 if unknown.
    pub(crate) prefill: f64,
    /// Tokens written in a second, 0 if unknown.
    pub(crate) decode: f64,
    pub(crate) busy: u32,
    pub(crate) slots: u32,
    /// Tokens of the prompt expected in the cache.
    pub(crate) cached: u64,
    pub(crate) round_trip: u64,
    /// Divides the time, in thousandths.
    pub(crate) weight: u32,
    /// Decides between equal ones.
    pub(crate) tie: u64,
}

/// What stands in for measurements that a worker does not have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Typical {
    pub(crate) prefill: f64,
    pub(crate) decode: f64,
    /// Microseconds to load the model, 0 if no candidate reported one.
    pub(crate) load: u64,
}

impl Typical {
    /// Returns the medians of the candidates, else the averages of the model, else constants.
    pub(crate) fn of(candidates: &[Candidate], prefill: f64, decode: f64) -> Self {
        let speed = |of: fn(&Candidate) -> f64, average: f64, constant: f64| {
            let known = candidates.iter().map(of).filter(|speed| *speed > 0.0);
            let mut known: Vec<f64> = known.collect();
            known.sort_unstable_by(f64::total_cmp);
            let fallback = if average > 0.0 { average } else { constant };
            known.get(known.len() / 2).copied().unwrap_or(fallback)
        };
        let loads = candidates.iter().map(|candidate| candidate.load);
        let mut loads: Vec<u64> = loads.filter(|load| *load > 0).collect();
        loads.sort_unstable();

        Self {
            prefill: speed(|candidate| candidate.prefill, prefill, PREFILL),
            decode: speed(|candidate| candidate.decode, decode, DECODE),
            load: loads.get(loads.len() / 2).copied().unwrap_or(0),
        }
    }
}

impl Candidate {
    /// Returns the expected microseconds to first content of a prompt with so many tokens.
    pub(crate) fn expected(&self, prompt_tokens: u64, typical: &Typical) -> u64 {
        let sum = self
            .loading(typical)
            .saturating_add(self.wait)
            .saturating_add(self.reading(prompt_tokens, typical))
            .saturating_add(self.round_trip);
        let weighted = u128::from(sum.min(LONGEST)) * 1000 / u128::from(self.weight.max(1));
        u64::try_from(weighted).unwrap_or(LONGEST)
    }

    /// Returns the microseconds from the start of the call to first content.
    pub(crate) fn to_first_content(&self, prompt_tokens: u64, typical: &Typical) -> u64 {
        let sum = self.loading(typical) + self.reading(prompt_tokens, typical) + self.round_trip;
        sum.min(LONGEST)
    }

    /// Returns the microseconds to write so many tokens.
    pub(crate) fn writing(&self, tokens: u64, typical: &Typical) -> u64 {
        seconds(tokens, or(self.decode, typical.decode))
    }

    /// Returns the microseconds until the model is loaded.
    pub(crate) fn loading(&self, typical: &Typical) -> u64 {
        match self.warmth {
            Warmth::Resident => 0,
            Warmth::Loading(elapsed) => self.load_time(typical).saturating_sub(elapsed),
            Warmth::Cold | Warmth::Reload => self.load_time(typical).saturating_add(self.evict),
        }
    }

    fn load_time(&self, typical: &Typical) -> u64 {
        let known = if self.load > 0 {
            self.load
        } else {
            typical.load
        };
        if known > 0 {
            known.min(LONGEST)
        } else {
            load_time_of_size(self.size)
        }
    }

    /// A busy worker reads slower: its slots share one processor.
    fn reading(&self, prompt_tokens: u64, typical: &Typical) -> u64 {
        let unread = prompt_tokens.saturating_sub(self.cached);
        let alone = seconds(unread, or(self.prefill, typical.prefill));
        let slots = u64::from(self.slots.max(1));
        let shared = alone.saturating_mul(slots + u64::from(self.busy.min(self.slots)));
        (shared / slots).min(LONGEST)
    }
}

/// Returns the microseconds to load a model of a size in bytes, where no measurement is known.
pub(crate) fn load_time_of_size(size: u64) -> u64 {
    let read = u128::from(size) * u128::from(SECOND) / u128::from(LOAD_BYTES);
    SECOND
        .saturating_add(u64::try_from(read).unwrap_or(LONGEST))
        .min(LONGEST)
}

/// Returns the microseconds for so many tokens at a speed, constants for unknown speeds.
pub(crate) fn slot_time(prompt: u64, prefill: f64, output: u64, decode: f64) -> u64 {
    let reading = seconds(prompt, or(prefill, PREFILL));
    let writing = seconds(output, or(decode, DECODE));
    reading.saturating_add(writing).min(LONGEST)
}

fn or(speed: f64, other: f64) -> f64 {
    if speed > 0.0 { speed } else { other }
}

/// Casts saturate: a speed near 0 gives the longest time.
fn seconds(tokens: u64, per_second: f64) -> u64 {
    ((tokens as f64 / per_second * SECOND as f64) as u64).min(LONGEST)
}
