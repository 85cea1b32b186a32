//! The outcomes of calls.

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The provider's answer was handed on whole, with a status below 500.
    Ok,
    /// The same, with a status of 500 or more.
    ProviderError,
    /// llamapool answered with an error of its own.
    Failed,
    /// The answer broke off after its head.
    Broken,
    /// The answer was broken off by a timeout.
    TimedOut,
    /// The caller left before the end.
    CallerLeft,
    /// The caller's key was revoked, has expired or got other rights while the call ran.
    Revoked,
}

impl Outcome {
    /// Every outcome, in the order of its numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Ok,
        Self::ProviderError,
        Self::Failed,
        Self::Broken,
        Self::TimedOut,
        Self::CallerLeft,
        Self::Revoked,
    ];

    /// Returns the word for it in metrics and in the log.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ProviderError => "provider_error",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::CallerLeft => "caller_left",
            Self::Revoked => "revoked",
        }
    }

    /// Returns whether it counts as an error. A caller that leaves is none, nor is one
    /// whose key has ended.
    pub(crate) fn is_error(self) -> bool {
        !matches!(self, Self::Ok | Self::CallerLeft | Self::Revoked)
    }
}
