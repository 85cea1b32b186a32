//! Foreign text on a terminal: cut, and without what would control it. And colours, where they are wanted.

use std::io::{IsTerminal, stdout};

use llamapool_wire::controls_display;

/// Returns a text in one line of this many characters at most, with a mark for each character that would control the
/// terminal.
pub(super) fn shown(text: &str, max: usize) -> String {
    let mut shown: String = text.chars().take(max).map(harmless).collect();
    if text.chars().nth(max).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// Returns a text with its lines, and a mark for every other character that would control the terminal.
pub(super) fn lines(text: &str) -> String {
    let keeps = |c| matches!(c, '\n' | '\t');
    let shown = |c| if keeps(c) { c } else { harmless(c) };
    text.chars().map(shown).collect()
}

fn harmless(c: char) -> char {
    if controls_display(c) { '\u{fffd}' } else { c }
}

/// The colours of standard output, if it has some.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Returns the colours as the environment wants them: none with `NO_COLOR` or `TERM=dumb`, some with
    /// `CLICOLOR_FORCE`, else those of a terminal.
    pub(super) fn of(get: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name| get(name).is_some_and(|value| !value.is_empty() && value != "0");
        let is_off = get("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = get("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_on: !is_off && (is_set("CLICOLOR_FORCE") || (stdout().is_terminal() && !is_dumb)),
        }
    }

    /// Returns no colours.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { is_on: false }
    }

    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.is_on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_controls_no_terminal() {
        assert_eq!(
            shown("a\x1b[31mb\nc\u{202e}", 20),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}"
        );
        assert_eq!(shown("abcdef", 4), "abc…");
        assert_eq!(shown("abcd", 4), "abcd");
        assert_eq!(lines("a\nb\x1b\tc"), "a\nb\u{fffd}\tc");
    }

    #[test]
    fn colours_are_as_the_environment_wants_them() {
        let of = |set: &'static [(&'static str, &'static str)]| {
            Paint::of(|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
            .is_on
        };

        assert!(of(&[("CLICOLOR_FORCE", "1")]));
        assert!(!of(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
        assert!(of(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")]));
        assert!(!of(&[("CLICOLOR_FORCE", "0"), ("TERM", "dumb")]));
    }
}
