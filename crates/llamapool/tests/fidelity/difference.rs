//! What a difference is between a call straight at a provider and the same call through llamapool, and what it takes to be
//! allowed. Which ones are stands in `allowed.rs`.

use std::fmt;

/// Where a difference shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// In the head of a request, as the provider gets it.
    Request,
    /// In the head of an answer, as the caller gets it.
    Answer,
    /// In an event.
    Event,
    /// In a whole body.
    Body,
    /// Between two events.
    IdleStream,
    /// Before the head of an answer.
    Interim,
    /// Behind the last chunk of a body.
    Trailers,
    /// In how the names of headers are written.
    Names,
    /// In an exchange that somebody in between may see to.
    Exchange,
}

/// An allowed difference.
pub(crate) struct Allowed {
    /// What the document calls it.
    pub(crate) name: &'static str,
    pub(crate) at: At,
    /// The header's name, or what else it is about; with a star at its end, all that begin so.
    pub(crate) what: &'static str,
    pub(crate) reason: &'static str,
    /// Whether a difference in that place is this one.
    pub(crate) is_it: fn(&Difference) -> bool,
}

impl Allowed {
    /// Whether it is about something in a place.
    pub(crate) fn is_about(&self, at: At, what: &str) -> bool {
        let is_what = match self.what.strip_suffix('*') {
            Some(prefix) => what.starts_with(prefix),
            None => what == self.what,
        };
        at == self.at && is_what
    }
}

/// The values of one header, or what else differs.
#[derive(Default)]
pub(crate) struct Difference {
    pub(crate) direct: Vec<Vec<u8>>,
    pub(crate) through: Vec<Vec<u8>>,
    /// Whether it is the head of an event stream.
    pub(crate) is_event_stream: bool,
}

impl Difference {
    pub(crate) fn of(direct: &[Vec<u8>], through: &[Vec<u8>]) -> Self {
        Self {
            direct: direct.to_vec(),
            through: through.to_vec(),
            is_event_stream: false,
        }
    }

    pub(crate) fn is_added(&self) -> bool {
        self.direct.is_empty()
    }

    pub(crate) fn is_taken_away(&self) -> bool {
        self.through.is_empty()
    }

    /// Whether one value has become another one.
    pub(crate) fn is_replaced(&self) -> bool {
        self.direct.len() == 1 && self.through.len() == 1
    }

    /// Whether llamapool has answered an exchange itself, and said why, without asking the provider.
    pub(crate) fn is_refused(&self, word: &str) -> bool {
        let mut through = self
            .through
            .iter()
            .map(|line| String::from_utf8_lossy(line));
        let (is_asked, answers) = (
            self.through.iter().any(|line| line.starts_with(b"asked")),
            through.find(|line| line.starts_with("answered")),
        );
        !is_asked
            && answers.is_some_and(|line| line.contains(&format!("\"llamapool-error: {word}\"")))
    }

    /// What was added, if it was and is one value.
    pub(crate) fn added(&self) -> Option<&[u8]> {
        match (&self.direct[..], &self.through[..]) {
            ([], [value]) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |values: &[Vec<u8>]| {
            values
                .iter()
                .map(|value| value.escape_ascii().to_string())
                .collect::<Vec<_>>()
        };
        write!(
            f,
            "direct {:?}, through {:?}",
            text(&self.direct),
            text(&self.through)
        )
    }
}
