//! Logs what a program writes to standard error: harmless lines, and not more of them than a log
//! bears.
//!
//! Callers never receive it (MCP 2025-11-25, stdio). It is always read, for a program blocks when
//! the pipe is full.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::program_log::ProgramLog;

/// How many lines are logged at once, and how many more in each second.
const BURST_LINES: f64 = 100.0;
const LINES_PER_SECOND: f64 = 20.0;
/// How much of a line is logged.
const SHOWN_CHARS: usize = 1000;
/// How much of a line is held until its end is read: more than its logged part can have.
const HELD_BYTES: usize = 4 * SHOWN_CHARS;
/// The width of a tab in the log.
const TAB: &str = "    ";
/// How much is read at once.
const READ_BYTES: usize = 2 * 1024;

/// The last line that a program wrote to standard error, byte for byte.
#[derive(Clone, Default)]
pub(crate) struct LastLine(Arc<Mutex<Vec<u8>>>);

impl LastLine {
    /// Returns the line without control characters and indentation; empty if there is none.
    pub(crate) fn get(&self) -> String {
        without_controls(&self.0.lock()).trim_start().to_owned()
    }

    fn set(&self, line: &[u8]) {
        let mut last = self.0.lock();
        last.clear();
        last.extend_from_slice(line);
    }
}

/// Logs standard error until its end.
pub(crate) async fn log_lines(mut stderr: impl AsyncRead + Unpin, log: ProgramLog) {
    let mut buffer = [0; READ_BYTES];
    let mut line = Vec::new();
    let mut budget = LogBudget::new();

    loop {
        let read = stderr.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            break;
        }
        for piece in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
            let room = HELD_BYTES - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                log_line(&line, &log, &mut budget);
                line.clear();
            }
        }
    }
    log_line(&line, &log, &mut budget);
}

/// Logs one line within the budget. A line outside of it costs next to nothing, for a program may
/// write many.
fn log_line(line: &[u8], log: &ProgramLog, budget: &mut LogBudget) {
    if line.trim_ascii().is_empty() {
        return;
    }
    log.last_line.set(line);
    if let Some(left_out) = budget.try_take(Instant::now()) {
        log.stderr_line(&without_controls(line), left_out);
    }
}

/// Returns the beginning of a line without anything that a terminal would interpret. Indentation is
/// kept, by which tracebacks are read.
pub(crate) fn without_controls(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown = String::new();
    let mut chars = text.trim_end().chars();
    while let Some(char) = chars.next() {
        match char {
            // A control sequence such as a colour: from the bracket to its final letter (ECMA-48,
            // 5.4).
            '\u{1b}' if chars.as_str().starts_with('[') => {
                let _ = chars
                    .by_ref()
                    .skip(1)
                    .find(|char| matches!(char, '@'..='~'));
            }
            '\t' => shown.push_str(TAB),
            char if is_harmful(char) => shown.push(' '),
            char => shown.push(char),
        }
    }
    shown.trim_end().chars().take(SHOWN_CHARS).collect()
}

/// Returns whether a terminal interprets a character: a control character, or one that changes the
/// order in which a line is shown (Unicode, UAX #9).
fn is_harmful(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A token bucket of log lines.
pub(crate) struct LogBudget {
    lines: f64,
    at: Instant,
    left_out: u64,
}

impl LogBudget {
    pub(crate) fn new() -> Self {
        Self {
            lines: BURST_LINES,
            at: Instant::now(),
            left_out: 0,
        }
    }

    /// Takes one line out of the budget. Returns how many lines before it were left out, `None` if
    /// the budget is used up.
    pub(crate) fn try_take(&mut self, now: Instant) -> Option<u64> {
        let passed: Duration = now - self.at;
        self.lines = (self.lines + passed.as_secs_f64() * LINES_PER_SECOND).min(BURST_LINES);
        self.at = now;

        if self.lines < 1.0 {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_removed_from_a_line() {
        assert_eq!(
            without_controls(b"\x1b[31mred\x1b[0m and \x07bell\r\n"),
            "red and  bell"
        );
        assert_eq!(
            without_controls(b"\x1b]0;title\x07x \xff"),
            " ]0;title x \u{fffd}"
        );
        assert_eq!(without_controls(b"a\x1b["), "a");
        assert_eq!(without_controls(&[b'x'; 5000]).len(), SHOWN_CHARS);
        assert_eq!(without_controls(b" \n"), "");
        assert_eq!(without_controls("a\u{202e}b".as_bytes()), "a b");
    }

    #[test]
    fn the_indentation_of_a_traceback_is_kept() {
        assert_eq!(
            without_controls(b"  File \"a.py\", line 1\r\n"),
            "  File \"a.py\", line 1"
        );
        assert_eq!(without_controls(b"\tat main\n"), "    at main");

        let last = LastLine::default();
        last.set(b"    ^^^^\n");
        assert_eq!(last.get(), "^^^^");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_logged_in_part_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut budget = LogBudget::new();

        let logged = (0..1000).filter_map(|_| budget.try_take(start)).count();

        assert_eq!(logged, BURST_LINES as usize);
        assert_eq!(
            budget.try_take(start + Duration::from_secs(1)),
            Some(1000 - BURST_LINES as u64)
        );

        let more = (0..1000)
            .filter_map(|_| budget.try_take(start + Duration::from_secs(1)))
            .count();

        assert_eq!(more, LINES_PER_SECOND as usize - 1);
    }

    #[tokio::test]
    async fn everything_is_read_and_the_last_line_is_kept() {
        let (mut near, far) = tokio::io::duplex(16);
        let log = ProgramLog::default();
        let writing = async move {
            use tokio::io::AsyncWriteExt;

            for _ in 0..100 {
                near.write_all(&[b'x'; 1000]).await.unwrap();
            }
            near.write_all(b"\nwhy it ended").await.unwrap();
        };
        tokio::join!(log_lines(far, log.clone()), writing);

        assert_eq!(log.last_line.get(), "why it ended");
    }
}
