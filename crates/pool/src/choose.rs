//! The choice of a worker among candidates: a pure function.

use std::cmp::Reverse;

use crate::score::{Candidate, Typical};

/// What a call wants, as far as the choice depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) prompt_tokens: u64,
    /// Microseconds that it has waited.
    pub(crate) waited: u64,
    /// The longest wait for a busy worker while another is free, in microseconds.
    pub(crate) max_wait_for_warm: u64,
}

/// The result of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The candidate of this index runs the call.
    Run(usize),
    /// A busy worker is expected to be faster than each free one.
    WaitFor(Preferred),
    /// No candidate has a free slot.
    Wait,
}

/// A busy worker that a call waits for. All times are microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preferred {
    /// How long the call waits in all, before it goes to a free one.
    pub(crate) longest: u64,
    /// Until a slot is expected to be free.
    pub(crate) wait: u64,
    /// Until first content is expected.
    pub(crate) expected: u64,
}

/// Chooses the candidate with the smallest expected time. Of two, one whose context is expected to hold
/// the prompt comes first: the estimate orders, it never excludes.
pub(crate) fn choose(candidates: &[Candidate], wish: &Wish, typical: &Typical) -> Choice {
    let rank = |at: usize| {
        let candidate = &candidates[at];
        let load = u64::from(candidate.busy) * 1000 / u64::from(candidate.slots.max(1));
        let expected = candidate.expected(wish.prompt_tokens, typical);
        (Reverse(candidate.fits), expected, load, candidate.tie)
    };
    let ranks: Vec<_> = (0..candidates.len()).map(rank).collect();
    let best = (0..candidates.len()).min_by_key(|at| ranks[*at]);
    let free = (0..candidates.len())
        .filter(|at| candidates[*at].is_free)
        .min_by_key(|at| ranks[*at]);
    let Some((best, free)) = best.zip(free) else {
        return Choice::Wait;
    };

    let best = &candidates[best];
    let now = &candidates[free];
    if best.is_free {
        return Choice::Run(free);
    }
    let later = best.expected(wish.prompt_tokens, typical);
    let at_once = now.expected(wish.prompt_tokens, typical);
    let gain = at_once.saturating_sub(later);
    // To wait must gain more than it costs, and never takes longer than to go at once would have.
    let is_worth_it = gain > best.wait || best.fits != now.fits;
    let longest = wish.max_wait_for_warm.min(if best.fits == now.fits {
        at_once
    } else {
        u64::MAX
    });
    if is_worth_it && wish.waited < longest {
        Choice::WaitFor(Preferred {
            longest,
            wait: best.wait,
            expected: later,
        })
    } else {
        Choice::Run(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Warmth;
    use crate::settings::SECOND;

    const WISH: Wish = Wish {
        prompt_tokens: 1000,
        waited: 0,
        max_wait_for_warm: 30 * SECOND,
    };

    fn candidate() -> Candidate {
        Candidate {
            worker: 0,
            model: 0,
            is_free: true,
            fits: true,
            warmth: Warmth::Resident,
            wait: 0,
            load: 10 * SECOND,
            size: 0,
            evict: 0,
            prefill: 500.0,
            decode: 30.0,
            busy: 0,
            slots: 1,
            cached: 0,
            round_trip: 1000,
            weight: 1000,
            tie: 0,
        }
    }

    fn run(candidates: &[Candidate], wish: &Wish) -> Choice {
        choose(candidates, wish, &Typical::of(candidates, 0.0, 0.0))
    }

    fn wait_for(longest: u64, wait: u64, expected: u64) -> Choice {
        Choice::WaitFor(Preferred {
            longest,
            wait,
            expected,
        })
    }

    #[test]
    fn a_loaded_model_beats_a_cold_one() {
        let cold = Candidate {
            warmth: Warmth::Cold,
            ..candidate()
        };

        assert_eq!(run(&[cold.clone(), candidate()], &WISH), Choice::Run(1));
        assert_eq!(run(&[cold], &WISH), Choice::Run(0));
        assert_eq!(run(&[], &WISH), Choice::Wait);
    }

    #[test]
    fn a_cached_prefix_beats_a_faster_worker() {
        let fast = Candidate {
            prefill: 1000.0,
            ..candidate()
        };
        let near = Candidate {
            cached: 900,
            ..candidate()
        };

        assert_eq!(run(&[fast, near], &WISH), Choice::Run(1));
    }

    #[test]
    fn a_call_waits_for_a_warm_worker_that_is_soon_free() {
        let busy = Candidate {
            is_free: false,
            busy: 1,
            wait: 2 * SECOND,
            ..candidate()
        };
        let cold = Candidate {
            warmth: Warmth::Cold,
            ..candidate()
        };
        let both = [busy, cold];
        let after = Wish {
            waited: 12_001_000,
            ..WISH
        };

        assert_eq!(
            run(&both, &WISH),
            wait_for(12_001_000, 2 * SECOND, 6_001_000)
        );
        assert_eq!(run(&both, &after), Choice::Run(1));
    }

    #[test]
    fn a_gain_below_the_wait_is_not_waited_for() {
        let busy = Candidate {
            is_free: false,
            wait: 6 * SECOND,
            ..candidate()
        };
        let cold = Candidate {
            warmth: Warmth::Cold,
            ..candidate()
        };

        assert_eq!(run(&[busy, cold], &WISH), Choice::Run(1));
    }

    #[test]
    fn the_context_estimate_orders_and_never_refuses() {
        let small = Candidate {
            fits: false,
            ..candidate()
        };
        let slow = Candidate {
            prefill: 10.0,
            ..candidate()
        };
        let busy = Candidate {
            is_free: false,
            wait: SECOND,
            ..slow.clone()
        };
        let late = Wish {
            waited: 30 * SECOND,
            ..WISH
        };

        assert_eq!(run(&[small.clone(), slow], &WISH), Choice::Run(1));
        assert_eq!(run(std::slice::from_ref(&small), &WISH), Choice::Run(0));
        let both = [small, busy];
        let waits = wait_for(30 * SECOND, SECOND, 101_001_000);
        assert_eq!(run(&both, &WISH), waits);
        assert_eq!(run(&both, &late), Choice::Run(0));
    }

    #[test]
    fn a_busy_worker_reads_slower_and_a_weight_divides() {
        let typical = Typical::of(&[], 0.0, 0.0);
        let half_busy = Candidate {
            slots: 4,
            busy: 2,
            ..candidate()
        };
        let heavy = Candidate {
            weight: 2000,
            ..candidate()
        };

        assert_eq!(candidate().expected(1000, &typical), 2_001_000);
        assert_eq!(half_busy.expected(1000, &typical), 3_001_000);
        assert_eq!(heavy.expected(1000, &typical), 1_000_500);
    }

    #[test]
    fn unknown_speeds_are_the_median_of_the_others() {
        let with = |prefill, load| Candidate {
            prefill,
            load,
            ..candidate()
        };
        let others = [with(100.0, 7), with(900.0, 0), with(300.0, 5), with(0.0, 9)];

        let typical = Typical::of(&others, 1.0, 2.0);

        assert_eq!((typical.prefill, typical.load), (300.0, 7));
        assert_eq!(Typical::of(&[], 1.0, 2.0).prefill, 1.0);
        assert_eq!(Typical::of(&[], 0.0, 0.0).decode, 30.0);
    }

    #[test]
    fn a_load_that_has_begun_counts_for_its_rest() {
        let typical = Typical::of(&[], 0.0, 0.0);
        let loading = |elapsed| Candidate {
            warmth: Warmth::Loading(elapsed),
            ..candidate()
        };
        let unknown = Candidate {
            warmth: Warmth::Cold,
            load: 0,
            size: 5_000_000_000,
            evict: SECOND,
            ..candidate()
        };

        assert_eq!(loading(4 * SECOND).loading(&typical), 6 * SECOND);
        assert_eq!(loading(40 * SECOND).loading(&typical), 0);
        assert_eq!(unknown.loading(&typical), 12 * SECOND);
    }
}
