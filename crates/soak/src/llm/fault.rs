//! The faults of a window: drawn from its seed, before it begins. They meet every worker and runtime but
//! the first, so that there is always one that could answer.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::fault::{Direction, Traffic};
use crate::history::Millis;

/// Workers, each with a runtime of its own.
pub(super) const WORKERS: usize = 4;

/// A process that faults meet, of the pair with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// The worker.
    Worker(usize),
    /// The runtime behind it.
    Runtime(usize),
}

/// A connection on which a proxy stands, of the pair with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Link {
    /// From the worker to the server.
    ToServer(usize),
    /// From the worker to its runtime.
    ToRuntime(usize),
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LlmFault {
    /// `kill -9`, and a new start after this long.
    Kill(Part, Duration),
    /// `SIGTERM`, and a new start once the process has ended.
    Terminate(usize),
    /// `SIGSTOP`, and `SIGCONT` after this long.
    Pause(Part, Duration),
    /// All connections of a link are cut.
    Cut(Link),
    /// A link refuses new connections and cuts the open ones, for this long.
    Refuse(Link, Duration),
    /// A link treats its bytes in this way for this long.
    Traffic(Link, Traffic, Direction, Duration),
}

/// A fault with its time, in milliseconds from the start of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedLlmFault {
    pub(super) at: Millis,
    pub(super) fault: LlmFault,
}

/// Draws the faults of a window that lasts so many milliseconds.
pub(super) fn plan(seed: u64, lasting: Millis) -> Vec<PlannedLlmFault> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut planned = Vec::new();
    let mut at = 500;
    loop {
        at += rng.random_range(50..900);
        if at >= lasting {
            return planned;
        }
        let fault = draw(&mut rng);
        planned.push(PlannedLlmFault { at, fault });
    }
}

fn draw(rng: &mut StdRng) -> LlmFault {
    let pair = rng.random_range(1..WORKERS);
    let part = [Part::Worker(pair), Part::Runtime(pair)][rng.random_range(0..2)];
    let link = [Link::ToServer(pair), Link::ToRuntime(pair)][rng.random_range(0..2)];
    let direction = [Direction::Up, Direction::Down, Direction::Both][rng.random_range(0..3)];

    match rng.random_range(0..100) {
        0..30 => LlmFault::Kill(part, span(rng, 0, 800)),
        30..38 => LlmFault::Terminate(pair),
        38..48 => LlmFault::Pause(part, span(rng, 50, 800)),
        48..70 => LlmFault::Cut(link),
        70..80 => LlmFault::Refuse(link, span(rng, 100, 1_500)),
        80..86 => LlmFault::Traffic(link, Traffic::Freeze, direction, span(rng, 100, 4_500)),
        86..92 => LlmFault::Traffic(link, Traffic::Swallow, direction, span(rng, 100, 4_500)),
        92..96 => LlmFault::Traffic(link, Traffic::Trickle, direction, span(rng, 100, 1_500)),
        _ => {
            let delay = Traffic::Delay(span(rng, 5, 60));
            LlmFault::Traffic(link, delay, direction, span(rng, 100, 1_500))
        }
    }
}

fn span(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let first = plan(7, 20_000);

        assert_eq!(first, plan(7, 20_000));
        assert_ne!(first, plan(8, 20_000));
        assert!(first.len() > 20, "{}", first.len());
    }
}
