//! The full log: every field of every event, as text or as one JSON object a line. Fields that only
//! declare a line for people are in neither.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use llamapool_wire::controls_display;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::{Layer, Registry, fmt as lines};

use super::colours::Colours;
use super::people::DECLARING_FIELDS;

/// The keys of [`DECLARING_FIELDS`] in JSON. Inside a text of an event they have other quotes.
const DECLARING_KEYS: [&str; 4] = [
    r#""people":"#,
    r#""banner":"#,
    r#""progress":"#,
    r#""repeats":"#,
];

/// Returns the layer of text lines.
pub(super) fn text<W>(colours: Colours, writer: W) -> impl Layer<Registry> + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    lines::layer()
        .fmt_fields(EscapedFields)
        .with_ansi(colours == Colours::On)
        .with_writer(writer)
}

/// Returns the layer of JSON lines.
pub(super) fn json<W>(writer: W) -> impl Layer<Registry> + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    lines::layer()
        .json()
        .flatten_event(true)
        .with_writer(JsonEscapingWriter(writer))
}

/// Writes `name=value`, or the message alone, with every character escaped that controls how text is
/// shown.
struct EscapedFields;

impl<'w> FormatFields<'w> for EscapedFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = FieldWriter {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct FieldWriter<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl FieldWriter<'_> {
    fn write(&mut self, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
        if !std::mem::replace(&mut self.is_first, false) {
            self.writer.write_char(' ')?;
        }
        let mut text = EscapingWriter(&mut self.writer);

        if field.name() == "message" {
            write!(text, "{value:?}")
        } else {
            write!(text, "{field}={value:?}")
        }
    }
}

impl Visit for FieldWriter<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let is_shown = !DECLARING_FIELDS.contains(&field.name());
        if is_shown && self.result.is_ok() {
            self.result = self.write(field, value);
        }
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
/// does not, and leaves out what only declares a line for people. It receives whole lines, so that no
/// character is cut in two.
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
        let shorter = without_declarations(&text);
        let text = shorter.as_deref().unwrap_or(&text);

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

/// Returns a JSON line without the fields that only declare a line for people, `None` if it has none
/// of them. Few events have any, and the lines of calls never do.
fn without_declarations(line: &str) -> Option<String> {
    if !DECLARING_KEYS.iter().any(|key| line.contains(key)) {
        return None;
    }

    let mut event: Map<String, Value> = serde_json::from_str(line).ok()?;
    event.retain(|name, _| !DECLARING_FIELDS.contains(&name.as_str()));
    let mut line = serde_json::to_string(&event).ok()?;
    line.push('\n');
    Some(line)
}
