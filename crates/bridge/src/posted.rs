//! What a client posts: read to its end within a bound, and known for what it is.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use llamapool_http::BoxError;
use llamapool_mcp::{Revision, header as mcp};
use llamapool_wire::{CallError, Cause};

use crate::answers::{NoAnswer, Refusal, code};
use crate::message::{Kind, Message, NotAMessage, messages};
use crate::rewrite::on_one_line;

/// What was posted.
#[derive(Debug)]
pub(crate) struct Posted {
    /// The text, on one line.
    pub(crate) text: Bytes,
    /// One message, or those of a batch; never none.
    pub(crate) messages: Vec<Message>,
    pub(crate) is_batch: bool,
}

/// Which revisions a message is of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// With sessions, up to 2025-11-25.
    Legacy,
    /// Without, from 2026-07-28 on.
    Modern,
}

/// Reads what a client posts.
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    max_bytes: usize,
) -> Result<Posted, NoAnswer>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    check_types(headers)?;
    let text = match Limited::new(body, max_bytes).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!(
                "the message has more than {max_bytes} bytes, see PROVIDER_MAX_MESSAGE_BYTES"
            );
            return Err(CallError::new(Cause::MessageTooLarge, message).into());
        }
        Err(_) => {
            return Err(CallError::new(
                Cause::RequestBroken,
                "the request broke off before its end",
            )
            .into());
        }
    };
    Ok(parse(text)?)
}

fn parse(text: Bytes) -> Result<Posted, Refusal> {
    let text = on_one_line(text);
    let messages = messages(&text).map_err(|error| match error {
        NotAMessage::NotJson(_) => {
            Refusal::bad_request(code::PARSE, format!("Parse error: {error}"))
        }
        NotAMessage::NotJsonRpc(_) => {
            Refusal::bad_request(code::INVALID_REQUEST, format!("Invalid Request: {error}"))
        }
    })?;
    let is_batch = text.trim_ascii_start().starts_with(b"[");
    Ok(Posted {
        text,
        messages,
        is_batch,
    })
}

/// What a client must take and say (MCP 2025-11-25, streamable HTTP, sending messages).
fn check_types(headers: &HeaderMap) -> Result<(), Refusal> {
    if !(accepts(headers, "application/json") && accepts(headers, "text/event-stream")) {
        let message =
            "Not Acceptable: Client must accept both application/json and text/event-stream";
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            code::BAD_REQUEST,
            message,
        ));
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
    {
        let message = "Unsupported Media Type: Content-Type must be application/json";
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::BAD_REQUEST,
            message,
        ));
    }
    Ok(())
}

/// Whether a client takes a media type.
pub(crate) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let group = wanted
        .split_once('/')
        .map(|(group, _)| group)
        .unwrap_or_default();
    let values = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let ranges = values
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next());
    ranges.map(str::trim).any(|range| {
        let is_group = range
            .strip_suffix("/*")
            .is_some_and(|range| range == "*" || range.eq_ignore_ascii_case(group));
        is_group || range.eq_ignore_ascii_case(wanted)
    })
}

/// A client that listens must take event streams.
pub(crate) fn check_listens(headers: &HeaderMap) -> Result<(), Refusal> {
    if accepts(headers, "text/event-stream") {
        return Ok(());
    }
    let message = "Not Acceptable: Client must accept text/event-stream";
    Err(Refusal::new(
        StatusCode::NOT_ACCEPTABLE,
        code::BAD_REQUEST,
        message,
    ))
}

impl Posted {
    /// Of which revisions it is: what its `_meta` claims, or for what has none, its header (MCP 2026-07-28, versioning).
    pub(crate) fn era(&self, headers: &HeaderMap) -> Era {
        let claims =
            |message: &Message| message.kind == Kind::Request && message.modern_version().is_some();
        let named = headers
            .get(mcp::PROTOCOL_VERSION)
            .and_then(|version| version.to_str().ok())
            .unwrap_or_default();
        let is_named_modern =
            Revision::by_text_order(named).is_some_and(|revision| !revision.has_sessions());
        let is_initialize = self
            .messages
            .iter()
            .any(|message| message.method() == "initialize");
        if self.messages.iter().any(claims) || is_named_modern && !self.is_batch && !is_initialize {
            Era::Modern
        } else {
            Era::Legacy
        }
    }
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

    fn status(answer: Result<Posted, NoAnswer>) -> u16 {
        match answer {
            Ok(_) => 200,
            Err(NoAnswer::Refusal(refusal)) => refusal.answer().status().as_u16(),
            Err(NoAnswer::CallError(failure)) => failure.cause.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn what_a_client_takes_says_and_sends_is_checked_in_this_order() {
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
            let read = read(
                &headers(fields),
                Full::new(Bytes::copy_from_slice(body.as_bytes())),
                100,
            )
            .await;
            assert_eq!(status(read), expected, "{fields:?} {body}");
        }
    }

    #[test]
    fn the_claim_in_a_message_says_its_era_and_where_there_is_none_the_header() {
        let claim = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
        let request = |method: &str, params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
        };
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#.to_owned();
        for (text, version, era) in [
            (request("tools/list", claim), "", Era::Modern),
            (request("tools/list", claim), "2025-11-25", Era::Modern),
            (request("tools/list", "{}"), "", Era::Legacy),
            (request("tools/list", "{}"), "2025-11-25", Era::Legacy),
            (request("tools/list", "{}"), "2026-07-28", Era::Modern),
            (request("initialize", "{}"), "2026-07-28", Era::Legacy),
            (notification.clone(), "2026-07-28", Era::Modern),
            (notification.clone(), "", Era::Legacy),
            (format!("[{notification}]"), "2026-07-28", Era::Legacy),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(mcp::PROTOCOL_VERSION, HeaderValue::from_static(version));
            assert_eq!(
                parse(text.clone().into()).unwrap().era(&fields),
                era,
                "{text} {version}"
            );
        }
    }
}
