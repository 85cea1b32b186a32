//! The log, on standard error, as text or JSON.
//!
//! Control characters of a value are always escaped: values come from callers, relays and
//! providers, and could otherwise forge a line or control a terminal. `tracing-subscriber` alone
//! does not escape line ends.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use tracing::Dispatch;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt as lines};

use crate::settings::{LogFormat, LogSettings};

/// Prefix of the targets of llamapool's crates. Other crates log from `warn` on: in detail they
/// would log what passes through them, headers with keys included.
const OWN_TARGETS: &str = "llamapool";

/// Targets of the SDK of the demo's MCP server, which warns of tool names with a slash, such as the
/// walkthrough's `time/now`.
const DEMO_TARGETS: &str = "rmcp";

/// Colours of a text log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    /// For a terminal.
    On,
    /// For a file or a pipe.
    Off,
}

/// Installs the log of the process.
///
/// # Errors
///
/// If it was installed before.
pub fn install(log: &LogSettings) -> Result<(), SetGlobalDefaultError> {
    let colours = if io::stderr().is_terminal() {
        Colours::On
    } else {
        Colours::Off
    };

    tracing::dispatcher::set_global_default(dispatch(log, colours, io::stderr))?;

    for flag in &log.secret_flags {
        tracing::warn!(
            flag,
            "every user of this machine can read a flag in the list of processes: \
             set the secret as a variable of the environment, or its file with {flag}-file"
        );
    }
    Ok(())
}

fn dispatch<W>(log: &LogSettings, colours: Colours, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = Targets::new()
        .with_default(log.level.min(LevelFilter::WARN))
        .with_target(OWN_TARGETS, log.level)
        .with_target(DEMO_TARGETS, log.level.min(LevelFilter::ERROR));

    match log.format {
        LogFormat::Text => {
            let layer = lines::layer()
                .fmt_fields(debug_fn(write_field).delimited(" "))
                .with_ansi(colours == Colours::On)
                .with_writer(writer);
            finish(layer.with_filter(filter))
        }
        LogFormat::Json => {
            let layer = lines::layer()
                .json()
                .flatten_event(true)
                .with_writer(JsonEscapingWriter(writer));
            finish(layer.with_filter(filter))
        }
    }
}

fn finish(layer: impl Layer<tracing_subscriber::Registry> + Send + Sync) -> Dispatch {
    Dispatch::new(tracing_subscriber::registry().with(layer))
}

/// Writes `name=value`, or the message alone, with every control character escaped.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let mut text = EscapingWriter(writer);

    if field.name() == "message" {
        write!(text, "{value:?}")
    } else {
        write!(text, "{field}={value:?}")
    }
}

/// A writer of text that escapes control characters.
struct EscapingWriter<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for EscapingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| {
            if c.is_control() {
                write!(self.0, "{}", c.escape_default())
            } else {
                self.0.write_char(c)
            }
        })
    }
}

/// A writer of JSON lines that escapes the control characters that JSON does not. It receives whole
/// lines, so that no character is cut in two.
struct JsonEscapingWriter<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for JsonEscapingWriter<W> {
    type Writer = JsonEscapingWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonEscapingWriter(self.0.make_writer())
    }
}

impl<W: Write> Write for JsonEscapingWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);

        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            // Outside of strings JSON has no such characters.
            if ('\u{7f}'..='\u{9f}').contains(&c) {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                escaped.push(c);
            }
        }

        self.0.write_all(escaped.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// Control characters of every kind: line end, carriage return, escape sequence, DEL, and CSI
    /// as one character.
    const HOSTILE: &str = "a\nINFO b\r\u{1b}[31mc\u{7f}\u{9b}31md\te\0";

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

    fn logged(
        level: LevelFilter,
        format: LogFormat,
        colours: Colours,
        events: impl FnOnce(),
    ) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let settings = LogSettings {
            level,
            format,
            secret_flags: Vec::new(),
        };
        let dispatch = dispatch(&settings, colours, move || writer.clone());

        tracing::dispatcher::with_default(&dispatch, events);

        let bytes = buffer.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn hostile_events() {
        let error = io::Error::other(HOSTILE);
        let span = tracing::info_span!("span", name = %HOSTILE);
        let _entered = span.enter();

        tracing::info!(
            text = HOSTILE,
            shown = %HOSTILE,
            debug = ?HOSTILE,
            error = &error as &dyn std::error::Error,
            "{HOSTILE}"
        );
    }

    #[test]
    fn control_characters_never_reach_a_text_log() {
        let text = logged(
            LevelFilter::INFO,
            LogFormat::Text,
            Colours::Off,
            hostile_events,
        );

        for part in ["shown=", "span{", "error="] {
            assert!(text.contains(part), "{text:?}");
        }
        assert!(text.ends_with('\n'));
        assert_eq!(
            text.trim_end_matches('\n').find(char::is_control),
            None,
            "{text:?}"
        );
    }

    #[test]
    fn control_characters_never_reach_a_json_log() {
        let text = logged(
            LevelFilter::INFO,
            LogFormat::Json,
            Colours::On,
            hostile_events,
        );

        assert!(text.starts_with('{') && text.ends_with("}\n"), "{text:?}");
        assert!(text.contains("\\u009b"), "{text:?}");
        assert_eq!(
            text.trim_end_matches('\n').find(char::is_control),
            None,
            "{text:?}"
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        let event = || tracing::info!(port = 8080, "hello");

        let coloured = logged(LevelFilter::INFO, LogFormat::Text, Colours::On, event);
        let plain = logged(LevelFilter::INFO, LogFormat::Text, Colours::Off, event);

        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
        assert!(
            plain.ends_with("INFO llamapool::telemetry::tests: hello port=8080\n"),
            "{plain:?}"
        );
    }

    #[test]
    fn other_crates_log_from_warn_on() {
        let events = || {
            tracing::debug!("ours");
            tracing::trace!("too much");
            tracing::debug!(target: "llamapool_relay::supervisor", "sister");
            tracing::info!(target: "hyper::client", "theirs");
            tracing::warn!(target: "hyper::client", "loud");
        };
        let text = |level| logged(level, LogFormat::Text, Colours::Off, events);

        let debug = text(LevelFilter::DEBUG);

        for word in ["ours", "sister", "loud"] {
            assert!(debug.contains(word), "{debug}");
        }
        for word in ["too much", "theirs"] {
            assert!(!debug.contains(word), "{debug}");
        }
        assert_eq!(text(LevelFilter::OFF), "");
        assert_eq!(text(LevelFilter::ERROR), "");
    }
}
