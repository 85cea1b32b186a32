//! The log, on standard error, as text or JSON.
//!
//! Control characters of a value are always escaped, and so are those that turn or hide text:
//! values come from callers, relays and providers, and could otherwise forge a line or control a
//! terminal. `tracing-subscriber` alone does not escape line ends.
//!
//! However many events there are, the log has a bound; see `throttle`.

mod throttle;

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use llamapool_wire::controls_display;
use tracing::Dispatch;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::Registry;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt as lines};

pub use self::throttle::LeftOutReports;
use self::throttle::Throttle;
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

/// Installs the log of the process. Dropping the reports, at the end of the process, logs how many
/// lines were left out last; `None` if none ever are.
///
/// # Errors
///
/// If it was installed before.
pub fn install(log: &LogSettings) -> Result<Option<LeftOutReports>, SetGlobalDefaultError> {
    let colours = if io::stderr().is_terminal() {
        Colours::On
    } else {
        Colours::Off
    };
    let throttle = Throttle::new(log.limit);
    let reports = throttle.as_ref().map(Throttle::reports);

    let dispatch = dispatch(log, colours, throttle, io::stderr);
    tracing::dispatcher::set_global_default(dispatch)?;

    for flag in &log.secret_flags {
        tracing::warn!(
            flag,
            "every user of this machine can read a flag in the list of processes: \
             set the secret as a variable of the environment, or its file with {flag}-file"
        );
    }
    Ok(reports)
}

fn dispatch<W>(
    log: &LogSettings,
    colours: Colours,
    throttle: Option<Throttle>,
    writer: W,
) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    match log.format {
        LogFormat::Text => {
            let layer = lines::layer()
                .fmt_fields(debug_fn(write_field).delimited(" "))
                .with_ansi(colours == Colours::On)
                .with_writer(writer);
            finish(layer, log.level, throttle)
        }
        LogFormat::Json => {
            let layer = lines::layer()
                .json()
                .flatten_event(true)
                .with_writer(JsonEscapingWriter(writer));
            finish(layer, log.level, throttle)
        }
    }
}

fn finish(
    lines: impl Layer<Registry> + Send + Sync,
    level: LevelFilter,
    throttle: Option<Throttle>,
) -> Dispatch {
    let log = tracing_subscriber::registry().with(lines);
    // The filters are for all of the log: the last one sees the events that the others admit. Those
    // of `with_filter` are for one layer of several, and cannot refuse an event.
    match throttle {
        Some(throttle) => Dispatch::new(log.with(throttle).with(targets(level))),
        None => Dispatch::new(log.with(targets(level))),
    }
}

/// Returns the filter by level.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(OWN_TARGETS, level)
        .with_target(DEMO_TARGETS, level.min(LevelFilter::ERROR))
}

/// Writes `name=value`, or the message alone, with every character escaped that controls how text is
/// shown.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let mut text = EscapingWriter(writer);

    if field.name() == "message" {
        write!(text, "{value:?}")
    } else {
        write!(text, "{field}={value:?}")
    }
}

/// A writer of text that escapes characters that control how it is shown.
struct EscapingWriter<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for EscapingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| {
            if controls_display(c) {
                write!(self.0, "{}", c.escape_default())
            } else {
                self.0.write_char(c)
            }
        })
    }
}

/// A writer of JSON lines that escapes the characters that control how text is shown, as far as JSON
/// does not. It receives whole lines, so that no character is cut in two.
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
            // The end of the line is the only such character outside of strings.
            if c == '\n' || !controls_display(c) {
                escaped.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
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
    use crate::settings::LogLimit;

    /// Control characters of every kind: line end, carriage return, escape sequence, DEL, and CSI
    /// as one character; then text that is turned around, and text without width.
    const HOSTILE: &str =
        "a\nINFO b\r\u{1b}[31mc\u{7f}\u{9b}31md\te\0f\u{202e}g\u{2028}h\u{feff}i\u{e0041}";

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
        let limit = LogLimit {
            burst: 0,
            per_minute: 0,
        };
        let settings = LogSettings {
            level,
            format,
            limit,
            secret_flags: Vec::new(),
        };
        let dispatch = dispatch(&settings, colours, None, move || writer.clone());

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
            text.trim_end_matches('\n').find(controls_display),
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
        for escaped in ["\\u009b", "\\u202e", "\\udb40\\udc41"] {
            assert!(text.contains(escaped), "{text:?}");
        }
        assert_eq!(
            text.trim_end_matches('\n').find(controls_display),
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
