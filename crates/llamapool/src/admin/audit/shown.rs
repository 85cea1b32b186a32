//! Lines for people.

use llamapool_identity::AuditLine;
use llamapool_wire::controls_display;
use serde_json::Value;

/// Returns a line as people read it. A line that is none is shown as it is.
pub(super) fn shown(line: &[u8]) -> String {
    let Ok(line) = AuditLine::parse(line) else {
        return format!("? {}", harmless(&String::from_utf8_lossy(line)));
    };
    let mut text = format!("{} {:<20}", line.at, line.event);
    let members = [
        ("by", line.actor),
        ("key", line.key),
        ("id", line.id),
        ("client", line.client),
        ("grant", line.grant),
        ("from", line.address),
        ("req_id", line.req_id),
        ("outcome", line.outcome),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={}", quoted(&value)));
        }
    }
    for (name, value) in line.detail {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => quoted(&text),
            other => other.to_string(),
        };
        text.push_str(&format!(" {name}={value}"));
    }
    harmless(text.trim_end())
}

/// Returns a text in quotes where it would not be one word.
fn quoted(text: &str) -> String {
    let is_word = !text.is_empty() && !text.contains([' ', '"', '=']);
    if is_word {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('"', "\\\""))
}

/// Returns a text that controls no terminal.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        if controls_display(character) {
            harmless.extend(character.escape_default());
        } else {
            harmless.push(character);
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_controls_no_terminal() {
        let line = br#"{"seq":1,"at":"2026-11-27T05:01:15.123Z","event":"client.registered",
            "actor":"server","client":"client_a","detail":{"name":"a\n\u001b[31m\u202e b","count":3,
            "none":null},"prev":"00"}"#;

        assert_eq!(
            shown(line),
            "2026-11-27T05:01:15.123Z client.registered    by=server client=client_a count=3 \
             name=\"a\\n\\u{1b}[31m\\u{202e} b\""
        );
        assert_eq!(shown(b"x\x1b"), "? x\\u{1b}");
    }
}
