//! Violations that a provider commits on purpose, so that a run shows that it finds them.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::check::Rule;

/// One of this many calls is answered wrongly.
const EVERY: u64 = 10;

/// A planted violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// None: the provider keeps the rules.
    None,
    /// The provider executes a call twice.
    Twice,
    /// The provider answers a call with the result of another.
    Swap,
    /// The provider sends an event of a stream twice.
    Repeat,
    /// The provider answers a call that it does not execute.
    Invent,
}

impl Plant {
    pub(crate) const ALL: [Self; 4] = [Self::Twice, Self::Swap, Self::Repeat, Self::Invent];

    /// Returns its name on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Twice => "twice",
            Self::Swap => "swap",
            Self::Repeat => "repeat",
            Self::Invent => "invent",
        }
    }

    /// Returns the rule that it breaks; `None` for no violation.
    pub(crate) fn breaks(self) -> Option<Rule> {
        match self {
            Self::None => None,
            Self::Twice => Some(Rule::ExecutedTwice),
            Self::Swap => Some(Rule::ForeignMessage),
            Self::Repeat => Some(Rule::RepeatedEvent),
            Self::Invent => Some(Rule::NeverExecuted),
        }
    }
}

impl FromStr for Plant {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Self> {
        let mut all = Self::ALL.into_iter().chain([Self::None]);
        all.find(|plant| plant.word() == word).ok_or_else(|| {
            anyhow::anyhow!("{word:?}, expected twice, swap, repeat, invent or none")
        })
    }
}

/// Decides which calls a provider answers wrongly.
pub(crate) struct Planter {
    plant: Plant,
    calls: AtomicU64,
}

impl Planter {
    pub(crate) fn new(plant: Plant) -> Self {
        Self {
            plant,
            calls: AtomicU64::new(0),
        }
    }

    /// Returns the violation to commit with the next call.
    pub(crate) fn next(&self) -> Plant {
        if self.calls.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1 {
            return self.plant;
        }
        Plant::None
    }
}
