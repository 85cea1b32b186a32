//! A POST of a client: read to its end within a bound, and parsed.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap};
use http_body::Body;
use llamapool_http::{CollectError, UNCOUNTED_BYTES, collect, held_with};
use llamapool_limits::MemoryAccount;
use llamapool_mcp::{
    Message, MessageError, Revision, RpcError, error_code, header as mcp, parse_messages,
};
use llamapool_wire::{CallError, Cause};

use crate::caller::BridgeCaller;
use crate::error::ServeError;
use crate::rewrite::parse_as_line;

/// The messages of one request.
#[derive(Debug)]
pub(crate) struct Post {
    /// The text, on one line.
    pub(crate) text: Bytes,
    /// One message, or those of a batch; never empty.
    pub(crate) messages: Vec<Message>,
    pub(crate) is_batch: bool,
}

/// The two kinds of revisions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// The revisions with sessions, up to 2025-11-25.
    Sessions,
    /// The revisions without, from 2026-07-28 on.
    Stateless,
}

impl Post {
    /// Checks the media types and reads the body, of up to `max_bytes`. It is counted twice in
    /// `memory`, as it came and as it goes to the program.
    pub(crate) async fn read<B>(
        headers: &HeaderMap,
        body: B,
        max_bytes: usize,
        memory: &MemoryAccount,
    ) -> Result<Self, ServeError>
    where
        B: Body<Data = Bytes>,
    {
        check_media_types(headers)?;
        match collect(body, max_bytes, memory).await {
            Ok(text) if text.len() <= UNCOUNTED_BYTES => Ok(Self::parse(text)?),
            Ok(text) => {
                let copy = memory
                    .take(text.len())
                    .map_err(BridgeCaller::out_of_memory)?;
                Ok(Self::parse(held_with(text, copy))?)
            }
            Err(CollectError::OutOfMemory(error)) => Err(BridgeCaller::out_of_memory(error).into()),
            Err(CollectError::TooLarge(_)) => {
                let message = format!(
                    "the message has more than {max_bytes} bytes, see PROVIDER_MAX_MESSAGE_BYTES"
                );
                Err(CallError::new(Cause::MessageTooLarge, message).into())
            }
            Err(CollectError::Broken) => {
                let message = "the request broke off before its end";
                Err(CallError::new(Cause::RequestBroken, message).into())
            }
        }
    }

    pub(crate) fn parse(text: Bytes) -> Result<Self, RpcError> {
        let parsed = parse_as_line(text, parse_messages);
        let (text, messages) = parsed.map_err(|error| match error {
            MessageError::NotJson(_) => {
                RpcError::bad_request(error_code::PARSE, format!("Parse error: {error}"))
            }
            MessageError::NotJsonRpc(_) => RpcError::bad_request(
                error_code::INVALID_REQUEST,
                format!("Invalid Request: {error}"),
            ),
        })?;

        let is_batch = text.trim_ascii_start().starts_with(b"[");
        Ok(Self {
            text,
            messages,
            is_batch,
        })
    }

    /// Returns the kind of revisions that the messages belong to: by the revision in their `_meta`,
    /// or without one, by the header (MCP 2026-07-28, versioning).
    pub(crate) fn era(&self, headers: &HeaderMap) -> Era {
        let names_revision =
            |message: &Message| message.is_request() && message.meta_revision().is_some();
        if self.messages.iter().any(names_revision) {
            return Era::Stateless;
        }

        let header = headers
            .get(mcp::PROTOCOL_VERSION)
            .and_then(|version| version.to_str().ok())
            .unwrap_or_default();
        let is_stateless =
            Revision::by_text_order(header).is_some_and(|revision| !revision.has_sessions());
        let is_initialize = self
            .messages
            .iter()
            .any(|message| message.method() == "initialize");
        if is_stateless && !self.is_batch && !is_initialize {
            Era::Stateless
        } else {
            Era::Sessions
        }
    }
}

/// Checks the media types that a client must accept and send (MCP 2025-11-25, streamable HTTP,
/// sending messages).
fn check_media_types(headers: &HeaderMap) -> Result<(), RpcError> {
    if !(accepts(headers, "application/json") && accepts(headers, "text/event-stream")) {
        return Err(RpcError::new(
            StatusCode::NOT_ACCEPTABLE,
            error_code::BAD_REQUEST,
            "Not Acceptable: Client must accept both application/json and text/event-stream",
        ));
    }

    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    if media_type.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(RpcError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        error_code::BAD_REQUEST,
        "Unsupported Media Type: Content-Type must be application/json",
    ))
}

/// Checks that a client that listens accepts event streams.
pub(crate) fn check_accepts_events(headers: &HeaderMap) -> Result<(), RpcError> {
    if accepts(headers, "text/event-stream") {
        return Ok(());
    }
    Err(RpcError::new(
        StatusCode::NOT_ACCEPTABLE,
        error_code::BAD_REQUEST,
        "Not Acceptable: Client must accept text/event-stream",
    ))
}

/// Returns whether the `Accept` headers contain a media type, or a range with it.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let (group, _) = wanted.split_once('/').unwrap_or_default();
    let values = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut ranges = values
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .map(str::trim);

    ranges.any(|range| {
        let is_group = range
            .strip_suffix("/*")
            .is_some_and(|range| range == "*" || range.eq_ignore_ascii_case(group));
        is_group || range.eq_ignore_ascii_case(wanted)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use http_body_util::Full;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    const TYPES: [(&str, &str); 2] = [
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json; charset=utf-8"),
    ];

    fn status(answer: Result<Post, ServeError>) -> u16 {
        match answer {
            Ok(_) => 200,
            Err(ServeError::Refused(refusal)) => refusal.status().as_u16(),
            Err(ServeError::Failed(failure)) => failure.cause.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn types_size_and_form_are_checked_in_this_order() {
        let good = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        for (fields, body, expected) in [
            (&TYPES[..], good, 200),
            (&[("accept", "*/*"), TYPES[1]], good, 200),
            (
                &[
                    ("accept", "application/*"),
                    ("accept", "text/event-stream;q=0.1"),
                    TYPES[1],
                ],
                good,
                200,
            ),
            (&[("accept", "application/json"), TYPES[1]], good, 406),
            (&[TYPES[1]], good, 406),
            (&[TYPES[0], ("content-type", "text/plain")], good, 415),
            (&[TYPES[0]], good, 415),
            (&TYPES, "{", 400),
            (&TYPES, "{}", 400),
            (&TYPES, "[]", 400),
            (&TYPES, &" ".repeat(101), 413),
        ] {
            let read = Post::read(
                &headers(fields),
                Full::new(Bytes::copy_from_slice(body.as_bytes())),
                100,
                &MemoryAccount::default(),
            )
            .await;
            assert_eq!(status(read), expected, "{fields:?} {body}");
        }
    }

    #[test]
    fn the_era_follows_from_meta_and_else_from_the_header() {
        let claim = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
        let request = |method: &str, params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
        };
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#.to_owned();

        for (text, version, era) in [
            (request("tools/list", claim), "", Era::Stateless),
            (request("tools/list", claim), "2025-11-25", Era::Stateless),
            (request("tools/list", "{}"), "", Era::Sessions),
            (request("tools/list", "{}"), "2025-11-25", Era::Sessions),
            (request("tools/list", "{}"), "2026-07-28", Era::Stateless),
            (request("initialize", "{}"), "2026-07-28", Era::Sessions),
            (notification.clone(), "2026-07-28", Era::Stateless),
            (notification.clone(), "", Era::Sessions),
            (format!("[{notification}]"), "2026-07-28", Era::Sessions),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(mcp::PROTOCOL_VERSION, HeaderValue::from_static(version));

            assert_eq!(
                Post::parse(text.clone().into()).unwrap().era(&fields),
                era,
                "{text} {version}"
            );
        }
    }
}
