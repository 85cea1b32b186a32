//! A difference between a direct call to a provider and the same call through llamapool, and the
//! form of an allowed one. `allowed.rs` lists those.

use std::fmt;

/// The part of an exchange in which a difference shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The head of a request at the provider.
    Request,
    /// The head of an answer at the caller.
    Answer,
    /// An event.
    Event,
    /// A whole body.
    Body,
    /// The pause between two events.
    IdleStream,
    /// The interim answers (1xx) before the head of an answer.
    Interim,
    /// The trailer section of a body.
    Trailers,
    /// The spelling and order of the names of headers.
    Names,
    /// A whole exchange that an intermediary may answer itself.
    Exchange,
}

/// An allowed difference.
pub(crate) struct AllowedDifference {
    /// Its name in the document.
    pub(crate) name: &'static str,
    pub(crate) part: Part,
    /// The name of the header or of the exchange; a star at the end matches any rest.
    pub(crate) subject: &'static str,
    pub(crate) reason: &'static str,
    /// Returns whether a difference of this subject is the allowed one.
    pub(crate) matches: fn(&Difference) -> bool,
}

impl AllowedDifference {
    /// Returns whether it is about this subject in this part.
    pub(crate) fn is_about(&self, part: Part, subject: &str) -> bool {
        let is_subject = match self.subject.strip_suffix('*') {
            Some(prefix) => subject.starts_with(prefix),
            None => subject == self.subject,
        };
        part == self.part && is_subject
    }
}

/// The values of one header, or other lines, on both routes.
#[derive(Default)]
pub(crate) struct Difference {
    pub(crate) direct: Vec<Vec<u8>>,
    pub(crate) through: Vec<Vec<u8>>,
    /// True for the head of an event stream.
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

    pub(crate) fn is_removed(&self) -> bool {
        self.through.is_empty()
    }

    /// Returns whether exactly one value became exactly one other.
    pub(crate) fn is_replaced(&self) -> bool {
        self.direct.len() == 1 && self.through.len() == 1
    }

    /// Returns whether llamapool answered the exchange itself, with this error, and sent no request
    /// to the provider.
    pub(crate) fn is_refusal(&self, word: &str) -> bool {
        let is_forwarded = self.through.iter().any(|line| line.starts_with(b"request"));
        let answer = self
            .through
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .find(|line| line.starts_with("answer"));
        let error = format!("\"llamapool-error: {word}\"");
        !is_forwarded && answer.is_some_and(|line| line.contains(&error))
    }

    /// Returns the value that was added, if it is the only one.
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
