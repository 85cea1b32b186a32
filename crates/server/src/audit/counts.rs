//! What any sender can cause: counted, so that it neither fills the log nor drowns the rest of it.

use std::sync::atomic::{AtomicU64, Ordering};

use llamapool_identity::{AuditEvent, EventKind, GrantOverError, KeyError, TokenError};

/// The lines of one kind in a minute that are written one by one. The rest of the minute is one line
/// with a number.
const LISTED_A_MINUTE: u64 = 120;

/// The reasons for refusing a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    ApiKey,
    KeyUnknown,
    KeyOtherKind,
    KeyExpired,
    KeyRevoked,
    KeyNotCovered,
    TokenUnknown,
    TokenExpired,
    TokenOtherId,
    TokenOver,
}

/// The counts of the present minute.
#[derive(Debug, Default)]
pub(super) struct Counts {
    refused: [AtomicU64; Refused::ALL.len()],
    /// By the place in [`EventKind::ALL`]; only those of strangers are used.
    lines: Lines,
}

/// The lines of each kind in the present minute.
#[derive(Debug)]
struct Lines(Vec<AtomicU64>);

impl Refused {
    const ALL: [Self; 10] = [
        Self::ApiKey,
        Self::KeyUnknown,
        Self::KeyOtherKind,
        Self::KeyExpired,
        Self::KeyRevoked,
        Self::KeyNotCovered,
        Self::TokenUnknown,
        Self::TokenExpired,
        Self::TokenOtherId,
        Self::TokenOver,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::KeyUnknown => "key_unknown",
            Self::KeyOtherKind => "key_of_other_kind",
            Self::KeyExpired => "key_expired",
            Self::KeyRevoked => "key_revoked",
            Self::KeyNotCovered => "key_not_for_id",
            Self::TokenUnknown => "token_unknown",
            Self::TokenExpired => "token_expired",
            Self::TokenOtherId => "token_of_other_id",
            Self::TokenOver => "token_of_ended_grant",
        }
    }
}

impl From<KeyError> for Refused {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unknown => Self::KeyUnknown,
            KeyError::OtherKind(_) => Self::KeyOtherKind,
            KeyError::Expired => Self::KeyExpired,
            KeyError::Revoked => Self::KeyRevoked,
        }
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unknown => Self::TokenUnknown,
            TokenError::Expired => Self::TokenExpired,
            TokenError::OtherId => Self::TokenOtherId,
            TokenError::Grant(GrantOverError::NotCovered) => Self::KeyNotCovered,
            TokenError::Grant(_) => Self::TokenOver,
        }
    }
}

impl Counts {
    /// Counts a credential that was refused.
    pub(super) fn refused(&self, reason: Refused) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether an event gets a line of its own, and counts it otherwise.
    pub(super) fn lists(&self, kind: EventKind) -> bool {
        if !kind.is_of_strangers() {
            return true;
        }
        let line = self.lines.0.get(kind as usize);
        line.is_none_or(|line| line.fetch_add(1, Ordering::Relaxed) < LISTED_A_MINUTE)
    }

    /// Ends a minute. Returns the lines of what was counted in it.
    pub(super) fn take(&self) -> Vec<AuditEvent> {
        let refused = Refused::ALL.into_iter().zip(&self.refused);
        let refused = refused.filter_map(|(reason, count)| {
            let count = count.swap(0, Ordering::Relaxed);
            let event = AuditEvent::new(EventKind::CredentialRefused)
                .outcome(reason.word())
                .with("count", count);
            (count > 0).then_some(event)
        });
        let more = EventKind::ALL.into_iter().zip(&self.lines.0);
        let more = more.filter_map(|(kind, count)| {
            let count = count.swap(0, Ordering::Relaxed);
            let more = count.saturating_sub(LISTED_A_MINUTE);
            (more > 0).then(|| AuditEvent::new(kind).with("more", more))
        });
        refused.chain(more).collect()
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self(EventKind::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_a_minute_are_a_line_for_each_reason() {
        let counts = Counts::default();
        for _ in 0..1000 {
            counts.refused(KeyError::Unknown.into());
        }
        counts.refused(TokenError::Expired.into());

        let lines = counts.take();

        let expected = [("key_unknown", 1000), ("token_expired", 1)].map(|(reason, count)| {
            AuditEvent::new(EventKind::CredentialRefused)
                .outcome(reason)
                .with("count", count)
        });
        assert_eq!(lines, expected);
        assert_eq!(counts.take(), []);
    }

    #[test]
    fn what_strangers_cause_is_listed_up_to_a_bound() {
        let counts = Counts::default();
        let kind = EventKind::SignInFailed;

        let listed = (0..1000).filter(|_| counts.lists(kind)).count();

        assert_eq!(listed as u64, LISTED_A_MINUTE);
        assert!((0..1000).all(|_| counts.lists(EventKind::KeyRevoked)));
        let more = AuditEvent::new(kind).with("more", 1000 - LISTED_A_MINUTE);
        assert_eq!(counts.take(), [more]);
        assert!(counts.lists(kind), "another minute");
    }
}
