//! The lines that people read on a terminal, as the places in the code declare them.
//!
//! An event of the log declares its line with a field `people`. The field is in no other log: see
//! the `telemetry` of the executable, which adds the time, colours the mark and wraps the text.

use std::fmt::{self, Display};

/// The columns of the word behind the mark, which mostly is an id.
const WORD_COLUMNS: usize = 12;

/// The sign at the beginning of a line: the state that its word is in from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is up.
    Up,
    /// It is down.
    Down,
    /// It works, and something failed.
    Failing,
    /// It is gone, or not there yet.
    Gone,
    /// It takes nothing new.
    Draining,
    /// A call.
    Call,
    /// A note, and no state.
    Note,
}

impl Mark {
    /// All marks.
    pub const ALL: [Self; 7] = [
        Self::Up,
        Self::Down,
        Self::Failing,
        Self::Gone,
        Self::Draining,
        Self::Call,
        Self::Note,
    ];

    /// Returns the sign.
    pub fn sign(self) -> char {
        match self {
            Self::Up => '●',
            Self::Down => '■',
            Self::Failing => '▲',
            Self::Gone => '○',
            Self::Draining => '◐',
            Self::Call => '→',
            Self::Note => '·',
        }
    }
}

/// Returns a line: its mark, its word in a column, and its text.
pub fn people_line<W: Display, T: Display>(mark: Mark, word: W, text: T) -> PeopleLine<W, T> {
    PeopleLine { mark, word, text }
}

/// A line for people. It is formatted only where people read.
#[derive(Debug, Clone, Copy)]
pub struct PeopleLine<W, T> {
    mark: Mark,
    word: W,
    text: T,
}

impl<W: Display, T: Display> Display for PeopleLine<W, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.to_string();
        let missing = WORD_COLUMNS.saturating_sub(word.chars().count());
        let sign = self.mark.sign();
        write!(f, "{sign} {word}{:missing$} {}", "", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_mark_a_word_in_a_column_and_a_text() {
        let line = |word: &str| people_line(Mark::Up, word, "text").to_string();

        assert_eq!(line("notes"), "● notes        text");
        assert_eq!(line("a-long-name-of-an-id"), "● a-long-name-of-an-id text");
    }
}
