//! Whether the log is coloured: the terminal, and what the environment asks for.

use std::env;
use std::ffi::OsString;

/// Colours of a text log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    /// For a terminal.
    On,
    /// For a file or a pipe.
    Off,
}

impl Colours {
    /// Returns the colours that suit the process.
    pub(super) fn of_process(is_terminal: bool) -> Self {
        Self::choose(is_terminal, |name| env::var_os(name))
    }

    /// Chooses by the conventions of <https://no-color.org> and <https://bixense.com/clicolors>: who
    /// wants none is obeyed first, and a terminal without any last.
    fn choose(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_set = |name: &str| variable(name).filter(|value| !value.is_empty());

        let is_refused = is_set("NO_COLOR").is_some();
        let is_forced = is_set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let is_suitable = is_terminal && is_set("TERM").is_none_or(|term| term != "dumb");
        if !is_refused && (is_forced || is_suitable) {
            Self::On
        } else {
            Self::Off
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_about_colours() {
        for (is_terminal, variables, colours) in [
            (true, &[][..], Colours::On),
            (false, &[], Colours::Off),
            (true, &[("NO_COLOR", "1")], Colours::Off),
            (true, &[("NO_COLOR", "")], Colours::On),
            (true, &[("TERM", "dumb")], Colours::Off),
            (true, &[("TERM", "xterm-256color")], Colours::On),
            (false, &[("CLICOLOR_FORCE", "1")], Colours::On),
            (false, &[("CLICOLOR_FORCE", "0")], Colours::Off),
            (
                true,
                &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")],
                Colours::On,
            ),
            (
                true,
                &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
                Colours::Off,
            ),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(it, _)| *it == name);
                found.map(|(_, value)| OsString::from(value))
            };

            assert_eq!(
                Colours::choose(is_terminal, variable),
                colours,
                "{is_terminal} {variables:?}"
            );
        }
    }
}
