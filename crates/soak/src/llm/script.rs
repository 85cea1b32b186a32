//! The script of a call: what its runtime is to do with it. It is a member of the request that no one
//! on the way knows, so that it also shows that such members arrive.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// What a runtime is to do with a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Script {
    /// The mark of the call.
    pub(crate) nonce: String,
    /// The number of words of the answer.
    pub(crate) words: u32,
    /// Milliseconds before the first word.
    pub(crate) first_ms: u64,
    /// Milliseconds before each other word.
    pub(crate) gap_ms: u64,
    /// What goes wrong, and at which runtime: with a new runtime the call must go well.
    pub(crate) failure: Option<(String, Failure)>,
}

/// What goes wrong at a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// It refuses with 503 and computes nothing.
    Busy,
    /// Its process ends before the head of the answer.
    ExitBeforeHead,
    /// Its process ends between head and first word.
    ExitAfterHead,
    /// Its process ends in the middle of the words.
    ExitAfterContent,
    /// The connection breaks between head and first word.
    BreakAfterHead,
    /// The connection breaks in the middle of the words.
    BreakAfterContent,
    /// An event with an error comes before the first word.
    ErrorBeforeContent,
}

/// The form of a call and how its caller behaves.
#[derive(Debug, Clone)]
pub(crate) struct CallScript {
    pub(crate) script: Script,
    /// Whether the caller streams.
    pub(crate) stream: bool,
    /// Whether the request has tools: a runtime is then asked for a whole answer.
    pub(crate) tools: bool,
    /// When the caller leaves.
    pub(crate) leave_after: Option<Duration>,
}

const FAILURES: [Failure; 7] = [
    Failure::Busy,
    Failure::ExitBeforeHead,
    Failure::ExitAfterHead,
    Failure::ExitAfterContent,
    Failure::BreakAfterHead,
    Failure::BreakAfterContent,
    Failure::ErrorBeforeContent,
];

impl CallScript {
    /// Draws a call. `runtimes` are those at which something may go wrong.
    pub(crate) fn draw(rng: &mut StdRng, nonce: String, runtimes: &[String]) -> Self {
        let failure = rng.random_ratio(1, 6).then(|| {
            let runtime = &runtimes[rng.random_range(0..runtimes.len())];
            let failure = FAILURES[rng.random_range(0..FAILURES.len())];
            (runtime.clone(), failure)
        });
        let first_ms = match rng.random_range(0..10) {
            0..4 => 0,
            4..9 => rng.random_range(0..300),
            _ => 1_500,
        };
        let script = Script {
            nonce,
            words: rng.random_range(1..12),
            first_ms,
            gap_ms: rng.random_range(0..60),
            failure,
        };
        let leaves = rng.random_ratio(1, 7);
        Self {
            script,
            stream: rng.random_ratio(1, 2),
            tools: rng.random_ratio(1, 4),
            leave_after: leaves.then(|| Duration::from_millis(rng.random_range(0..700))),
        }
    }

    /// A call in which nothing goes wrong.
    pub(crate) fn well(nonce: String) -> Self {
        let script = Script {
            nonce,
            words: 3,
            first_ms: 0,
            gap_ms: 0,
            failure: None,
        };
        Self {
            script,
            stream: true,
            tools: false,
            leave_after: None,
        }
    }
}
