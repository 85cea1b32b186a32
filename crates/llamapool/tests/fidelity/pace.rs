//! Durations, as far as they can be compared on a busy machine: in classes of an order of magnitude
//! each.
//!
//! A scenario that was slow runs again before that counts (`differential.rs`).

use std::time::Duration;

/// A step of an exchange that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// From the caller's last byte to the provider's first.
    Request,
    /// From the head that the provider sends to the head that the caller gets.
    Head,
    /// From an event on the stream of a call to its arrival.
    Event,
    /// From an event on a stream that was opened with GET to its arrival.
    EventOnGet,
    /// From the end of a body at the provider, clean or not, to its arrival.
    End,
    /// From the caller's leaving to the end of the provider's connection.
    Leaving,
}

/// All steps, in the order of the document.
pub(crate) const TIMINGS: &[Timing] = &[
    Timing::Request,
    Timing::Head,
    Timing::Event,
    Timing::EventOnGet,
    Timing::End,
    Timing::Leaving,
];

impl Timing {
    /// Returns its name in the document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request => "a request on its way to the provider",
            Self::Head => "the head of an answer on its way to the caller",
            Self::Event => "an event on the stream of a call",
            Self::EventOnGet => "an event on a stream that was opened with GET",
            Self::End => "the end of an answer, clean or not",
            Self::Leaving => "the disconnect of the caller",
        }
    }
}

/// A class of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// Less than 100 ms: not noticeable.
    AtOnce,
    /// Less than a second: noticeable.
    Soon,
    /// Longer: a wait.
    Late,
}

impl Pace {
    /// Returns the class of a duration.
    pub(crate) fn of(time: Duration) -> Self {
        match time.as_millis() {
            ..100 => Self::AtOnce,
            100..1000 => Self::Soon,
            _ => Self::Late,
        }
    }
}
