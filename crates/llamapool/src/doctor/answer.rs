//! An answer that was read, and what is in it.

use http::{HeaderMap, HeaderName, StatusCode, header};
use serde_json::Value;

/// The longest text of an answer that is repeated, in characters.
const MAX_SHOWN_CHARS: usize = 200;

/// An answer with its body.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Returns a header as text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the body, if it is JSON by its content and its type.
    pub(super) fn json(&self) -> Option<Value> {
        let media_type = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let is_json = media_type.to_ascii_lowercase().contains("json");
        serde_json::from_slice(&self.body).ok().filter(|_| is_json)
    }

    /// Returns whether pages of any origin can read it.
    pub(super) fn is_readable_by_pages(&self) -> bool {
        self.header(header::ACCESS_CONTROL_ALLOW_ORIGIN) == Some("*")
    }

    /// Returns what it is, in a few words.
    pub(super) fn shown(&self) -> String {
        let mut shown = format!("the status {}", self.status.as_u16());
        if let Some(server) = self.header(header::SERVER) {
            shown.push_str(&format!(" of {server}"));
        }
        if let Some(message) = self.message() {
            shown.push_str(&format!(": {message}"));
        }
        shown.chars().take(MAX_SHOWN_CHARS).collect()
    }

    /// Returns the cause of a refusal, if llamapool itself refuses.
    pub(super) fn cause(&self) -> Option<&str> {
        self.header(HeaderName::from_static("llamapool-error"))
    }

    fn message(&self) -> Option<String> {
        let json = self.json()?;
        let places = [
            &json["error"]["message"],
            &json["error_description"],
            &json["message"],
            &json["error"],
        ];
        let mut texts = places.into_iter().filter_map(Value::as_str);
        texts.next().map(str::to_owned)
    }
}
