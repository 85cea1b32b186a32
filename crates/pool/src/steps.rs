//! Counts elementary steps in tests: comparisons in queues, candidates that are looked at, moves between
//! groups. Costs nothing elsewhere.

/// Counts one step.
#[inline]
pub(crate) fn step() {
    #[cfg(test)]
    counter::STEPS.with(|steps| steps.set(steps.get() + 1));
}

#[cfg(test)]
mod counter {
    thread_local! {
        pub(super) static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
}

/// Returns the steps of this thread since the last time.
#[cfg(test)]
pub(crate) fn taken() -> u64 {
    counter::STEPS.with(|steps| steps.replace(0))
}
