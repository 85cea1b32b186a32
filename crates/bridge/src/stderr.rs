//! What a program says on its standard error goes into the log: a line each, harmless, and not more than a log bears.
//!
//! Callers never see it (MCP 2025-11-25, stdio). The one rule: it is always read, or the program would stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// How many lines are logged at once, and how many more in each second.
const BURST_LINES: f64 = 100.0;
const LINES_PER_SECOND: f64 = 20.0;
/// How much of a line is logged.
const SHOWN_CHARS: usize = 1000;
/// How much of a line is kept while its end is not there; more than its shown part can have.
const HELD_BYTES: usize = 4 * SHOWN_CHARS;
/// How much is read at once.
const READ_BYTES: usize = 2 * 1024;

/// The last line that a program said on standard error, as it came.
#[derive(Clone, Default)]
pub(crate) struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    /// The line without anything that does harm, or nothing.
    pub(crate) fn get(&self) -> String {
        harmless(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, line: &[u8]) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clear();
        last.extend_from_slice(line);
    }
}

/// Logs all of it until its end.
pub(crate) async fn log(mut stderr: impl AsyncRead + Unpin, pid: u32, last: LastWords) {
    let mut buffer = [0; READ_BYTES];
    let (mut line, mut budget) = (Vec::new(), Budget::new());
    loop {
        let read = stderr.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            break;
        }
        for piece in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
            let room = HELD_BYTES - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                say(&line, pid, &last, &mut budget);
                line.clear();
            }
        }
    }
    say(&line, pid, &last, &mut budget);
}

/// What is not logged costs next to nothing: a program may say a lot.
fn say(line: &[u8], pid: u32, last: &LastWords, budget: &mut Budget) {
    if line.trim_ascii().is_empty() {
        return;
    }
    last.set(line);
    let Some(left_out) = budget.allows(Instant::now()) else {
        return;
    };
    if left_out > 0 {
        tracing::warn!(
            pid,
            left_out,
            "the provider says more on standard error than is logged"
        );
    }
    tracing::info!(pid, line = harmless(line), "the provider says");
}

/// A line without anything that a terminal would obey.
fn harmless(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown = String::new();
    let mut chars = text.trim_end().chars();
    while let Some(char) = chars.next() {
        match char {
            // A control sequence such as a colour: from the bracket to its final letter (ECMA-48, 5.4).
            '\u{1b}' if chars.as_str().starts_with('[') => {
                let _ = chars
                    .by_ref()
                    .skip(1)
                    .find(|char| matches!(char, '@'..='~'));
            }
            char if char.is_control() => shown.push(' '),
            char => shown.push(char),
        }
    }
    shown.trim().chars().take(SHOWN_CHARS).collect()
}

/// How many lines may be logged: so many at once, and then so many a second.
struct Budget {
    lines: f64,
    at: Instant,
    left_out: u64,
}

impl Budget {
    fn new() -> Self {
        Self {
            lines: BURST_LINES,
            at: Instant::now(),
            left_out: 0,
        }
    }

    /// Whether a line may be logged now: then, how many were left out before it.
    fn allows(&mut self, now: Instant) -> Option<u64> {
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
    fn a_line_is_harmless_whatever_is_in_it() {
        assert_eq!(
            harmless(b"\x1b[31mred\x1b[0m and \x07bell\r\n"),
            "red and  bell"
        );
        assert_eq!(harmless(b"\x1b]0;title\x07x \xff"), "]0;title x \u{fffd}");
        assert_eq!(harmless(b"a\x1b["), "a");
        assert_eq!(harmless(&[b'x'; 5000]).len(), SHOWN_CHARS);
        assert_eq!(harmless(b" \n"), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_logged_in_part_and_what_was_left_out_is_counted() {
        let (start, mut budget) = (Instant::now(), Budget::new());
        let logged = (0..1000).filter_map(|_| budget.allows(start)).count();
        assert_eq!(logged, BURST_LINES as usize);
        assert_eq!(
            budget.allows(start + Duration::from_secs(1)),
            Some(1000 - BURST_LINES as u64)
        );
        let more = (0..1000)
            .filter_map(|_| budget.allows(start + Duration::from_secs(1)))
            .count();
        assert_eq!(more, LINES_PER_SECOND as usize - 1);
    }

    #[tokio::test]
    async fn the_last_line_is_remembered_and_all_is_read() {
        let (mut near, far) = tokio::io::duplex(16);
        let last = LastWords::default();
        let writing = async move {
            use tokio::io::AsyncWriteExt;
            for _ in 0..100 {
                near.write_all(&[b'x'; 1000]).await.unwrap();
            }
            near.write_all(b"\nwhy it ended").await.unwrap();
        };
        tokio::join!(log(far, 1, last.clone()), writing);
        assert_eq!(last.get(), "why it ended");
    }
}
