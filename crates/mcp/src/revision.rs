//! The revisions of MCP, in their order, and what each of them has.
//!
//! A revision's name is a date. Peers also name revisions that this table does not have: newer
//! dates, drafts, nonsense. [`Revision::parse`] takes a name of the table alone. For the others
//! there are two rules, because two places have always needed different ones:
//!
//! - [`Revision::by_date`] places a date among the revisions and accepts nothing else. The server
//!   chooses a relay by it, where a wrong guess for nonsense would break a session.
//! - [`Revision::by_text_order`] compares names as text, as MCP's own SDKs do, so that a draft
//!   (`DRAFT-2026-v1`) counts as newer than every date. The bridge reads a request by it.

use std::fmt;

/// A revision of MCP. Older revisions are less than newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// HTTP with SSE as two endpoints.
    V2024_11_05,
    /// Streamable HTTP, sessions, resumable streams, JSON-RPC batches.
    V2025_03_26,
    /// No batches any more; the `MCP-Protocol-Version` header.
    V2025_06_18,
    /// Streams begin with an event without a message, so that every stream can be resumed.
    V2025_11_25,
    /// No sessions and no `initialize`: each request contains its revision and capabilities.
    V2026_07_28,
}

impl Revision {
    /// Every revision, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// The newest revision with sessions.
    pub const LAST_WITH_SESSIONS: Self = Self::V2025_11_25;

    /// The newest revision in which a message may be a batch.
    pub const LAST_WITH_BATCHES: Self = Self::V2025_03_26;

    /// Returns the revision's name on the wire, a date such as `2025-11-25`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Returns the revision with exactly this name, `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|revision| revision.name() == name)
    }

    /// Returns the newest revision that is not newer than the date `name`. A future date counts as
    /// the newest revision. `None` if `name` is older than every revision, or no date
    /// (`YYYY-MM-DD`).
    pub fn by_date(name: &str) -> Option<Self> {
        const FORM: &[u8] = b"0000-00-00";
        let is_date = name.len() == FORM.len()
            && name
                .bytes()
                .zip(FORM)
                .all(|(byte, form)| byte.is_ascii_digit() == form.is_ascii_digit());

        if is_date {
            Self::by_text_order(name)
        } else {
            None
        }
    }

    /// Returns the newest revision whose name is not greater than `name` in the order of text, so
    /// that a draft counts as the newest revision. `None` if `name` is less than every revision's
    /// name.
    pub fn by_text_order(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .rev()
            .find(|revision| revision.name() <= name)
    }

    /// Returns whether the revision called `name` is newer than this one, compared as text.
    pub fn is_older_than(self, name: &str) -> bool {
        self.name() < name
    }

    /// Returns whether clients of this revision begin with `initialize` and keep a session.
    pub fn has_sessions(self) -> bool {
        self <= Self::LAST_WITH_SESSIONS
    }

    /// Returns whether a stream begins with an event that has an id and no message. Clients of
    /// older revisions take such an event for a broken message.
    pub fn primes_streams(self) -> bool {
        self >= Self::V2025_11_25
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_ordered_as_their_names() {
        assert!(Revision::ALL.is_sorted());
        assert!(Revision::ALL.is_sorted_by_key(|revision| revision.name()));
    }

    #[test]
    fn only_known_names_are_parsed() {
        for revision in Revision::ALL {
            assert_eq!(Revision::parse(revision.name()), Some(revision));
        }
        for unknown in ["", "2026-07-29", "2026-07-28x", "DRAFT-2026-v1"] {
            assert_eq!(Revision::parse(unknown), None, "{unknown}");
        }
    }

    /// Dates between two revisions belong to the older one, future dates to the newest.
    #[test]
    fn dates_are_placed_among_the_revisions() {
        for (name, revision) in [
            ("2024-11-04", None),
            ("2024-11-05", Some(Revision::V2024_11_05)),
            ("2025-11-25", Some(Revision::V2025_11_25)),
            ("2026-07-27", Some(Revision::V2025_11_25)),
            ("2026-07-28", Some(Revision::V2026_07_28)),
            ("2026-07-29", Some(Revision::V2026_07_28)),
            ("2030-01-01", Some(Revision::V2026_07_28)),
        ] {
            assert_eq!(Revision::by_date(name), revision, "{name}");
            assert_eq!(Revision::by_text_order(name), revision, "{name}");
        }
    }

    #[test]
    fn the_two_rules_differ_for_names_that_are_no_dates() {
        for draft in ["DRAFT-2026-v1", "9", "9999999999", "2026-07-28x"] {
            assert_eq!(Revision::by_date(draft), None, "{draft}");
            assert_eq!(
                Revision::by_text_order(draft),
                Some(Revision::V2026_07_28),
                "{draft}"
            );
        }
        for nonsense in ["", "1", "2024"] {
            assert_eq!(Revision::by_date(nonsense), None, "{nonsense}");
            assert_eq!(Revision::by_text_order(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn each_revision_has_what_it_defines() {
        let with_sessions = Revision::ALL.map(Revision::has_sessions);
        let primed = Revision::ALL.map(Revision::primes_streams);

        assert_eq!(with_sessions, [true, true, true, true, false]);
        assert_eq!(primed, [false, false, false, true, true]);
    }

    #[test]
    fn a_name_between_two_revisions_is_newer_than_the_first() {
        assert!(!Revision::LAST_WITH_BATCHES.is_older_than("2024-11-05"));
        assert!(!Revision::LAST_WITH_BATCHES.is_older_than("2025-03-26"));
        assert!(Revision::LAST_WITH_BATCHES.is_older_than("2025-03-27"));
        assert!(Revision::LAST_WITH_BATCHES.is_older_than("2025-06-18"));
    }
}
