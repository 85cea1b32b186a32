//! How long things take, as far as that can be compared on machines that do other things too.
//!
//! The one rule: nothing is compared but classes, an order of magnitude each; and what was slow once is looked at again
//! before it counts (`differential.rs`).

use std::time::Duration;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timed {
    /// From the caller's last byte to the provider's first.
    Request,
    /// From the head that the provider sends to the head that the caller gets.
    Head,
    /// From an event on the stream of a call to its arrival.
    Event,
    /// The same on a stream that was opened with GET.
    EventOnGet,
    /// From the provider's end of a body, good or bad, to its arrival.
    End,
    /// From the caller's leaving to the end of the provider's connection.
    Leaving,
}

/// All of it.
pub(crate) const TIMED: &[Timed] = &[
    Timed::Request,
    Timed::Head,
    Timed::Event,
    Timed::EventOnGet,
    Timed::End,
    Timed::Leaving,
];

impl Timed {
    /// As the document calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request => "a request on its way to the provider",
            Self::Head => "the head of an answer on its way to the caller",
            Self::Event => "an event on the stream of a call",
            Self::EventOnGet => "an event on a stream that was opened with GET",
            Self::End => "the end of an answer, good or bad",
            Self::Leaving => "the news that the caller has left",
        }
    }
}

/// A class of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// Less than 100 ms: nobody notices.
    AtOnce,
    /// Less than a second: somebody notices.
    Soon,
    /// Longer: somebody waits.
    Late,
}

impl Pace {
    /// The class of a time.
    pub(crate) fn of(time: Duration) -> Self {
        match time.as_millis() {
            ..100 => Self::AtOnce,
            100..1000 => Self::Soon,
            _ => Self::Late,
        }
    }
}
