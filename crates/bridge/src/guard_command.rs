//! The command line between a bridge and its guard, which the bridge writes and the guard parses:
//! `guard <milliseconds to SIGTERM> <milliseconds to SIGKILL> PROGRAM ARGUMENT…`. And the one
//! between the guard and the process that becomes the program: `guard become PROGRAM ARGUMENT…`.

use std::ffi::OsString;
use std::time::Duration;

/// The first argument of an executable that makes it a guard.
pub const WORD: &str = "guard";
/// The second argument where the executable becomes the program: see [`crate::guard`].
#[cfg(target_os = "linux")]
pub(crate) const BECOME: &str = "become";

/// How long the guard waits before it uses more force. Milliseconds on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// From the end of the program's input to SIGTERM.
    pub(crate) input: Duration,
    /// From SIGTERM to SIGKILL.
    pub(crate) term: Duration,
}

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) patience: Patience,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// A command line that no bridge has written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandLineError {
    /// The two spans are missing or are no numbers.
    #[error("is started by relays alone")]
    MissingPatience,
    /// The program is missing.
    #[error("has no program to guard")]
    MissingProgram,
}

impl Patience {
    /// Returns the arguments that precede the program: [`WORD`] and the two spans.
    pub(crate) fn to_arguments(self) -> [String; 3] {
        let milliseconds = |span: Duration| span.as_millis().to_string();
        [
            WORD.to_owned(),
            milliseconds(self.input),
            milliseconds(self.term),
        ]
    }
}

impl CommandLine {
    /// Parses the arguments that follow [`WORD`].
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, CommandLineError> {
        let mut arguments = arguments.into_iter();
        let mut span = || {
            let milliseconds = arguments.next()?.to_str()?.parse().ok()?;
            Some(Duration::from_millis(milliseconds))
        };

        let input = span().ok_or(CommandLineError::MissingPatience)?;
        let term = span().ok_or(CommandLineError::MissingPatience)?;
        let program = arguments.next().ok_or(CommandLineError::MissingProgram)?;

        Ok(Self {
            patience: Patience { input, term },
            program,
            arguments: arguments.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        input: Duration::from_millis(1500),
        term: Duration::from_secs(2),
    };

    fn os(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_guard_parses_what_the_bridge_writes() {
        let written = PATIENCE.to_arguments();

        assert_eq!(written, ["guard", "1500", "2000"]);

        let mut arguments: Vec<OsString> = written[1..].iter().map(OsString::from).collect();
        arguments.extend(os(&["server", "--flag", "guard"]));

        let parsed = CommandLine::parse(arguments).unwrap();

        assert_eq!(parsed.patience, PATIENCE);
        assert_eq!(parsed.program, "server");
        assert_eq!(parsed.arguments, os(&["--flag", "guard"]));
    }

    #[test]
    fn a_command_line_that_no_bridge_wrote_is_refused() {
        for arguments in [&[][..], &["2000"], &["2000", "soon", "server"]] {
            let parsed = CommandLine::parse(os(arguments));
            assert_eq!(
                parsed,
                Err(CommandLineError::MissingPatience),
                "{arguments:?}"
            );
        }

        let parsed = CommandLine::parse(os(&["2000", "2000"]));

        assert_eq!(parsed, Err(CommandLineError::MissingProgram));
    }
}
