//! Counts elementary steps in tests: comparisons in queues, candidates that are looked at, moves between
//! groups. Costs nothing elsewhere.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts one step.
#[inline]
pub(crate) fn step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// Returns the steps of this thread since the last time.
#[cfg(test)]
pub(crate) fn taken() -> u64 {
    STEPS.with(|steps| steps.replace(0))
}
