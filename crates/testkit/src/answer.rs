//! An answer that was read to its end, for tests that look at all of it.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::{RawHead, json_snapshot};

/// A whole HTTP answer.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// Reads an answer to its end. Panics if it breaks off or is not UTF-8.
    pub async fn read(response: reqwest::Response) -> Self {
        let status = response.status();
        let headers = response.headers().clone();
        let body = super::soon("the answer ends", response.bytes()).await;
        let body = body.expect("a whole body").to_vec();
        Self {
            status,
            headers,
            body: String::from_utf8(body).expect("a body in UTF-8"),
        }
    }

    /// Converts an answer that was read byte by byte. Panics if it is not valid UTF-8.
    pub fn from_raw(head: &RawHead, body: Vec<u8>) -> Self {
        let fields = head.fields.iter().map(|(name, value)| {
            let name = HeaderName::try_from(name).expect("a name");
            (name, HeaderValue::from_bytes(value).expect("a value"))
        });
        Self {
            status: StatusCode::from_u16(head.status()).expect("a status"),
            headers: fields.collect(),
            body: String::from_utf8(body).expect("a body in UTF-8"),
        }
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Returns the first value of a header as text, `None` if there is none.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("a header in ASCII"))
    }

    /// Returns the body as text.
    pub fn text(&self) -> &str {
        &self.body
    }

    /// Parses the body. Panics if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Formats the answer for a snapshot: status, sorted headers and pretty JSON, with the values
    /// that differ from run to run replaced by their name in brackets.
    pub fn snapshot(&self) -> String {
        const VARIABLE: [&str; 3] = ["content-length", "date", "x-request-id"];
        let mut fields: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| {
                let value = match name.as_str() {
                    name if VARIABLE.contains(&name) => format!("[{name}]"),
                    _ => String::from_utf8_lossy(value.as_bytes()).into_owned(),
                };
                format!("{name}: {value}")
            })
            .collect();
        fields.sort();

        let mut text = format!("{}\n{}\n", self.status, fields.join("\n"));
        if !self.body.is_empty() {
            text.push('\n');
            match serde_json::from_str(&self.body) {
                Ok(json) => text.push_str(&json_snapshot(&json)),
                Err(_) => text.push_str(&self.body),
            }
            text.push('\n');
        }
        text
    }
}
