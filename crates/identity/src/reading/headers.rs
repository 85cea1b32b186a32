//! The headers that repeat a message (MCP 2026-07-28, streamable HTTP, SEP-2243): a program that
//! reads the body must check them.

use std::borrow::Cow;

use data_encoding::BASE64;
use llamapool_mcp::Revision;

use super::{Message, ReadingError};

/// The values of the headers of MCP that repeat a part of the body: all values of each header, in
/// every spelling of its name.
#[derive(Debug, Clone, Default)]
pub struct MessageHeaders<'a> {
    /// `MCP-Protocol-Version`.
    pub revision: Vec<&'a [u8]>,
    /// `Mcp-Method`.
    pub method: Vec<&'a [u8]>,
    /// `Mcp-Name`.
    pub name: Vec<&'a [u8]>,
}

impl MessageHeaders<'_> {
    /// Returns whether a revision is named that is later than this one.
    pub(super) fn names_later_than(&self, revision: Revision) -> bool {
        let named = self.revision.iter();
        named
            .map(|name| String::from_utf8_lossy(name.trim_ascii()))
            .any(|name| revision.is_older_than(&name))
    }

    /// Checks that no header repeats a message: there are several.
    pub(super) fn check_absent(&self) -> Result<(), ReadingError> {
        for (values, header) in [(&self.method, "Mcp-Method"), (&self.name, "Mcp-Name")] {
            if !values.is_empty() {
                return Err(mismatch(header, "stands before a batch"));
            }
        }
        Ok(())
    }

    /// Checks that the headers repeat the message. From MCP 2026-07-28 on those of a request
    /// must be there; where they are sent, they must be right in every revision: a provider may read
    /// them.
    pub(super) fn check(&self, message: &Message<'_>) -> Result<(), ReadingError> {
        let revision = value(&self.revision, "MCP-Protocol-Version")?;
        let method = value(&self.method, "Mcp-Method")?;
        let name = value(&self.name, "Mcp-Name")?;

        let of_body = message.revision();
        let is_repeated = [revision.as_deref(), of_body]
            .into_iter()
            .flatten()
            .any(|named| Revision::by_text_order(named) >= Some(Revision::V2026_07_28));
        // Notifications and answers need not have them.
        let is_request = message
            .method
            .is_some_and(|method| !method.starts_with("notifications/"));

        if let (Some(header), Some(body)) = (revision.as_deref(), of_body)
            && header != body
        {
            return Err(mismatch(
                "MCP-Protocol-Version",
                "is not what the body says",
            ));
        }
        let must_be_there = is_repeated && is_request;
        check_equal(
            "Mcp-Method",
            method.as_deref(),
            message.method,
            must_be_there,
        )?;
        check_equal(
            "Mcp-Name",
            name.as_deref(),
            message.repeated_name(),
            must_be_there,
        )
    }
}

fn check_equal(
    header: &str,
    sent: Option<&str>,
    body: Option<&str>,
    must_be_there: bool,
) -> Result<(), ReadingError> {
    match (sent, body) {
        (Some(sent), Some(body)) if sent == body => Ok(()),
        (Some(_), _) => Err(mismatch(header, "is not what the body says")),
        (None, Some(_)) if must_be_there => Err(mismatch(header, "is missing")),
        (None, _) => Ok(()),
    }
}

/// Returns the single value of a header, decoded if it is encoded; `None` if there is none.
fn value<'a>(values: &[&'a [u8]], header: &str) -> Result<Option<Cow<'a, str>>, ReadingError> {
    let [value] = values else {
        return match values {
            [] => Ok(None),
            _ => Err(mismatch(header, "stands there twice")),
        };
    };
    let value = value.trim_ascii();
    let text = std::str::from_utf8(value).ok();
    let text = text.filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    let text = text.ok_or_else(|| mismatch(header, "is not printable ASCII"))?;

    let encoded = text.strip_prefix("=?base64?");
    let Some(encoded) = encoded.and_then(|text| text.strip_suffix("?=")) else {
        return Ok(Some(Cow::Borrowed(text)));
    };
    let decoded = BASE64.decode(encoded.as_bytes()).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .map(|text| Some(Cow::Owned(text)))
        .ok_or_else(|| mismatch(header, "is not the Base64 of UTF-8"))
}

fn mismatch(header: &str, what: &str) -> ReadingError {
    ReadingError::HeaderMismatch(format!("Header mismatch: {header} {what}"))
}
