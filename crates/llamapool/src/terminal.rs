//! What people see on standard error: lines with the time, banners, and one line of progress that is
//! rewritten in place.
//!
//! Texts of others are escaped and wrapped here, whoever writes them.

pub(crate) mod banner;
pub(crate) mod finishing;
mod text;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Local;
use llamapool_wire::Mark;
use parking_lot::Mutex;

pub(crate) use self::text::{escaped, middle_cut};
use self::text::{fit, wrap};
use crate::telemetry::Colours;

/// The columns of a line, at the most. Only a URL may be longer.
pub(crate) const COLUMNS: usize = 120;
/// The columns of the time and the space behind it.
const TIME_COLUMNS: usize = 10;
/// The lines that one event may take: a text of others is bounded, and who wants all of it reads the
/// full log.
const MAX_LINES: usize = 4;
/// Moves to the beginning of the line and clears it.
const CLEAR_LINE: &str = "\r\x1b[2K";

/// Standard error, as people read it. Clones are the same.
#[derive(Clone)]
pub struct Screen(Arc<Inner>);

struct Inner {
    is_terminal: bool,
    colours: Colours,
    clock: fn() -> String,
    /// True while a banner shows what some events would.
    has_banner: AtomicBool,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    /// The line of progress that is shown now; empty if there is none.
    progress: String,
}

impl Screen {
    /// Returns the screen that is standard error.
    pub(crate) fn stderr(is_terminal: bool, colours: Colours) -> Self {
        let clock = || Local::now().format("%H:%M:%S").to_string();
        Self::new(Box::new(io::stderr()), is_terminal, colours, clock)
    }

    fn new(
        out: Box<dyn Write + Send>,
        is_terminal: bool,
        colours: Colours,
        clock: fn() -> String,
    ) -> Self {
        Self(Arc::new(Inner {
            is_terminal,
            colours,
            clock,
            has_banner: AtomicBool::new(false),
            state: Mutex::new(State {
                out,
                progress: String::new(),
            }),
        }))
    }

    /// Begins a banner, which shows what some events would.
    pub(crate) fn open_banner(&self) {
        self.0.has_banner.store(true, Ordering::Relaxed);
    }

    /// Ends the banner: from now on every event has its own line.
    pub(crate) fn close_banner(&self) {
        self.0.has_banner.store(false, Ordering::Relaxed);
    }

    /// Returns whether a banner shows what some events would.
    pub(crate) fn has_banner(&self) -> bool {
        self.0.has_banner.load(Ordering::Relaxed)
    }

    /// Returns whether it is a terminal, on which a line can be rewritten.
    pub(crate) fn is_terminal(&self) -> bool {
        self.0.is_terminal
    }

    /// Shows what happens now, behind the time.
    pub(crate) fn line(&self, text: &str) {
        let text = escaped(text);
        let mut lines = wrap(&text, COLUMNS - TIME_COLUMNS, 2);
        if lines.len() > MAX_LINES {
            lines.truncate(MAX_LINES);
            lines.push("  …".to_owned());
        }

        let mut shown = String::new();
        for (number, line) in lines.iter().enumerate() {
            if number == 0 {
                let _ = writeln!(shown, "{}  {}", (self.0.clock)(), self.coloured(line));
            } else {
                let _ = writeln!(shown, "{:TIME_COLUMNS$}{line}", "");
            }
        }
        self.write(&shown);
    }

    /// Shows lines without a time, such as those of a banner. Their marks are coloured.
    pub(crate) fn block(&self, lines: &[String]) {
        let mut shown = String::new();
        for line in lines {
            let _ = writeln!(shown, "{}", self.coloured(&escaped(line)));
        }
        self.write(&shown);
    }

    /// Shows what still lasts, in one line that is rewritten; an empty text ends it. Only a terminal
    /// shows it.
    pub(crate) fn progress(&self, text: &str) {
        if !self.0.is_terminal {
            return;
        }
        let columns = terminal_size::terminal_size_of(io::stderr());
        let columns = columns.map_or(COLUMNS, |(width, _)| usize::from(width.0).min(COLUMNS));
        let text = fit(&escaped(text), columns.saturating_sub(1));

        let mut state = self.0.state.lock();
        if state.progress != text {
            let _ = write!(state.out, "{CLEAR_LINE}{text}");
            let _ = state.out.flush();
            state.progress = text;
        }
    }

    fn write(&self, text: &str) {
        let mut state = self.0.state.lock();
        let State { out, progress } = &mut *state;
        // A reader that is gone is no reason to end.
        let _ = if progress.is_empty() {
            out.write_all(text.as_bytes())
        } else {
            write!(out, "{CLEAR_LINE}{text}{progress}")
        };
        let _ = out.flush();
    }

    /// Colours the mark of a line, and nothing else.
    fn coloured(&self, line: &str) -> String {
        let mut marks = line.char_indices().filter(|(_, c)| *c != ' ');
        let found = marks.find_map(|(at, c)| Some((at, c, colour_of(c)?)));
        match found {
            Some((at, mark, colour)) if self.0.colours == Colours::On => {
                let (before, after) = line.split_at(at);
                let after = &after[mark.len_utf8()..];
                format!("{before}\x1b[{colour}m{mark}\x1b[0m{after}")
            }
            _ => line.to_owned(),
        }
    }

    /// Returns a screen that is no terminal, and a function that returns what it shows.
    #[cfg(test)]
    pub(crate) fn for_test() -> (Self, impl Fn() -> String) {
        Self::for_test_with(false, Colours::Off)
    }

    #[cfg(test)]
    fn for_test_with(is_terminal: bool, colours: Colours) -> (Self, impl Fn() -> String) {
        #[derive(Clone, Default)]
        struct Buffer(Arc<Mutex<Vec<u8>>>);

        impl Write for Buffer {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().extend_from_slice(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let buffer = Buffer::default();
        let out = Box::new(buffer.clone());
        let screen = Self::new(out, is_terminal, colours, || "22:13:42".to_owned());
        let text = move || String::from_utf8(buffer.0.lock().clone()).unwrap();
        (screen, text)
    }
}

/// Returns the colour of a mark in the codes of ECMA-48, `None` for what is no mark of a state.
fn colour_of(sign: char) -> Option<u8> {
    let mark = Mark::ALL.into_iter().find(|mark| mark.sign() == sign);
    match (mark, sign) {
        (Some(Mark::Up), _) => Some(32),
        (Some(Mark::Failing | Mark::Draining), _) | (_, '!') => Some(33),
        (Some(Mark::Down), _) | (_, '✗') => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mark_is_coloured() {
        let (screen, text) = Screen::for_test_with(true, Colours::On);

        screen.line("● connected    https://pool.example/●");
        screen.line("→ tools/call time/now   31 ms  ok");

        assert_eq!(
            text(),
            "22:13:42  \u{1b}[32m●\u{1b}[0m connected    https://pool.example/●\n\
             22:13:42  → tools/call time/now   31 ms  ok\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_but_for_urls() {
        let (screen, text) = Screen::for_test();
        let url = format!("https://pool.example/{}", "a".repeat(200));

        screen.line(&format!(
            "■ crash        provider down: {}",
            "word ".repeat(60)
        ));
        screen.line(&format!("■ crash        {}", "x".repeat(3000)));
        screen.line(&format!("● connected    {url}"));

        let text = text();
        assert!(text.contains(&url), "a URL stays whole:\n{text}");
        let long = |line: &&str| line.chars().count() > COLUMNS && !line.contains("https://");
        assert_eq!(text.lines().find(long), None);
        assert!(text.lines().count() < 15, "{text}");
    }

    #[test]
    fn a_line_does_not_break_into_the_progress() {
        let (screen, text) = Screen::for_test_with(true, Colours::Off);

        screen.progress("starting … 2 s");
        screen.line("● connected    x");
        screen.progress("");

        assert_eq!(
            text(),
            "\r\u{1b}[2Kstarting … 2 s\
             \r\u{1b}[2K22:13:42  ● connected    x\nstarting … 2 s\
             \r\u{1b}[2K"
        );
    }

    #[test]
    fn only_a_terminal_has_progress() {
        let (screen, text) = Screen::for_test();

        screen.progress("starting … 2 s");

        assert_eq!(text(), "");
    }
}
