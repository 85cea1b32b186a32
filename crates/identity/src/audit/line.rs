//! A line: an event with its number, its time and its place in the chain, as one line of JSON.

use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;
use serde_json::{Map, Serializer, Value};

use super::chain::Link;
use super::event::{AddressForm, AuditEvent};

/// The most bytes of a line, without its newline. An event with more is written without its detail.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// A line that was read. Members that this version does not have are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditLine {
    /// Its number; the first one is 1.
    pub seq: u64,
    /// When it was written.
    pub at: String,
    /// The word for what happened.
    pub event: String,
    /// Who did it.
    pub actor: Option<String>,
    /// The key that it happened to.
    pub key: Option<String>,
    /// The OAuth client.
    pub client: Option<String>,
    /// The grant.
    pub grant: Option<String>,
    /// The id, or the pattern of ids.
    pub id: Option<String>,
    /// Where it came from.
    pub address: Option<String>,
    /// The id of the request.
    pub req_id: Option<String>,
    /// What came of it.
    pub outcome: Option<String>,
    /// What else is to be known.
    #[serde(default)]
    pub detail: Map<String, Value>,
    /// The number of the change of the store.
    pub change: Option<i64>,
    /// The hash of the line before.
    pub prev: String,
}

/// The members of a line, in their order.
#[derive(Serialize)]
struct Written<'a> {
    seq: u64,
    at: String,
    #[serde(flatten)]
    event: &'a AuditEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<i64>,
    prev: String,
}

/// Writes JSON in printable ASCII, so that no terminal takes a line for anything but text.
struct Ascii;

impl AuditEvent {
    /// Returns the line of the event, without a newline.
    pub fn to_line(&self, seq: u64, at: SystemTime, prev: &Link, form: AddressForm) -> Vec<u8> {
        let line = self.line_of(seq, at, prev, form);
        if line.len() <= MAX_LINE_BYTES {
            return line;
        }
        let mut brief = self.clone();
        brief.detail = Map::from_iter([("cut".to_owned(), line.len().into())]);
        brief.line_of(seq, at, prev, form)
    }

    fn line_of(&self, seq: u64, at: SystemTime, prev: &Link, form: AddressForm) -> Vec<u8> {
        let written = Written {
            seq,
            at: humantime::format_rfc3339_millis(at).to_string(),
            event: self,
            address: self.address.and_then(|address| form.text(address)),
            change: self.change,
            prev: prev.to_string(),
        };
        let mut line = Vec::new();
        // Texts, numbers and maps with names that are texts always have a JSON text.
        let _ = written.serialize(&mut Serializer::with_formatter(&mut line, Ascii));
        line
    }
}

impl AuditLine {
    /// Parses a line without its newline.
    ///
    /// # Errors
    ///
    /// With the reason, if it is none.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| error.to_string())
    }

    /// Returns a number of the detail.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.detail.get(name)?.as_u64()
    }
}

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_plain = |byte: u8| (b' '..=b'~').contains(&byte);
        if fragment.bytes().all(is_plain) {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            match u8::try_from(character) {
                Ok(byte) if is_plain(byte) => writer.write_all(&[byte])?,
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llamapool_wire::Secret;
    use serde_json::json;

    use super::*;
    use crate::audit::{ChainKey, EventKind};

    fn line(event: &AuditEvent) -> String {
        let prev = ChainKey::new(&Secret::new("key")).start();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_000_000_123);
        let line = event.to_line(812, at, &prev, AddressForm::Cut);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_has_its_members_in_this_order() {
        let event = AuditEvent::new(EventKind::GrantCreated)
            .actor("key:7k3x")
            .client("client_a")
            .grant("4sqg")
            .id("notes")
            .address("203.0.113.77".parse().ok())
            .req_id("r1")
            .outcome("ok")
            .with("scope", "mcp")
            .of_change(17);

        let start = "{\"seq\":812,\"at\":\"2026-11-18T11:06:40.123Z\",\"event\":\"grant.created\",\
             \"actor\":\"key:7k3x\",\"client\":\"client_a\",\"grant\":\"4sqg\",\"id\":\"notes\",\
             \"req_id\":\"r1\",\"outcome\":\"ok\",\"detail\":{\"scope\":\"mcp\"},\
             \"address\":\"203.0.113.0/24\",\"change\":17,\"prev\":\"";
        let written = line(&event);

        assert!(written.starts_with(start), "{written}");
        let read = AuditLine::parse(written.as_bytes()).unwrap();
        assert_eq!((read.seq, read.change), (812, Some(17)));
        assert_eq!(read.event, "grant.created");
        assert!(read.prev.parse::<Link>().is_ok());
    }

    #[test]
    fn text_of_others_is_escaped_to_printable_ascii() {
        let name = "a\nb\u{1b}[31m\u{202e}\u{7f}é😀\"\\";
        let written = line(&AuditEvent::new(EventKind::ClientRegistered).with("name", name));

        assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        let read = AuditLine::parse(written.as_bytes()).unwrap();
        assert_eq!(read.detail["name"], name);
    }

    #[test]
    fn an_event_that_is_too_long_loses_its_detail() {
        let text = "é".repeat(200);
        let list = vec![json!([text, text, text, text]); 50];
        let written = line(
            &AuditEvent::new(EventKind::KeyCreated)
                .key("a")
                .with("x", list),
        );

        assert!(written.len() < 500, "{}", written.len());
        let read = AuditLine::parse(written.as_bytes()).unwrap();
        assert_eq!(read.key.as_deref(), Some("a"));
        assert!(read.number("cut").unwrap() > MAX_LINE_BYTES as u64);
    }
}
