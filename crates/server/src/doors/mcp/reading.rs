//! Reads the message of a call to an id that has rules of messages, or by a credential that only reads,
//! and decides whether it may pass.
//!
//! Only there: the bodies of all other calls are streamed and unread. It is read whole before a relay
//! is chosen, as a provider may act on the beginning of a message, and forwarded byte for byte.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use http_body::Body as _;
use llamapool_head::{FieldLookup, FieldValue, Fields};
use llamapool_http::{CollectError, LimitedBody, UNCOUNTED_BYTES, collect, reserved};
use llamapool_identity::{
    MessageHeaders, MessageRules, ReadingError, RefusedMessageError, RuleSource,
};
use llamapool_limits::{Claim, MemoryAccount, Owner, ShareError};
use llamapool_mcp::header as mcp;
use llamapool_wire::{CallError, Cause, RelayId};

use super::context::McpDoor;
use super::error::McpError;
use crate::auth::Caller;
use crate::calls::{CallRequest, RequestBody, failure};

/// Bodies above this many bytes are read on a thread that may block.
const BLOCKING_BYTES: usize = 1 << 20;
/// The factor of the share of memory of one id, as for its other calls.
const ID_MEMORY_FACTOR: usize = 8;

/// Reads the message of a request by the caller's rules, and returns the request as it may be
/// forwarded.
pub(super) async fn read<'c>(
    door: &McpDoor,
    id: &RelayId,
    caller: &Caller,
    request: CallRequest<'c>,
) -> Result<CallRequest<'c>, McpError> {
    let CallRequest {
        mut head,
        body,
        alarm,
    } = request;
    let intake = Intake::new(door, id, caller);
    if !carries_message(&head.method) {
        let body = intake.take_none(&head.method, body).await?;
        return Ok(CallRequest { head, body, alarm });
    }

    if let Err(refused) = intake.check_head(&head.fields) {
        CallRequest { head, body, alarm }.discard().await;
        return Err(refused.into());
    }
    let body = intake.take(body).await?;
    let decided = decide(&caller.rules, &head.fields, &body).await?;
    decided.map_err(|error| refused(error, caller))?;

    let length = HeaderValue::from(body.len());
    head.fields.insert(&header::CONTENT_LENGTH, &length);
    head.fields.remove(&header::TRANSFER_ENCODING);
    let body = RequestBody::Whole(body);
    Ok(CallRequest { head, body, alarm })
}

/// Returns whether a request of a method has a message as its body. Methods that HTTP does not have
/// are read as well: a provider may take one for POST.
fn carries_message(method: &Method) -> bool {
    let without = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];
    !without.contains(method)
}

/// The intake of one body.
struct Intake<'a> {
    door: &'a McpDoor,
    id: &'a RelayId,
    memory: MemoryAccount,
    max_bytes: usize,
}

impl<'a> Intake<'a> {
    fn new(door: &'a McpDoor, id: &'a RelayId, caller: &Caller) -> Self {
        let [caller, address] = caller.owners.claims();
        let of_id = Claim {
            owner: Owner::of(&("id", id)),
            factor: ID_MEMORY_FACTOR,
        };
        let memory = door.memory.account([caller, address, of_id]);
        let most = usize::try_from(door.config.max_request_bytes).unwrap_or(usize::MAX);
        Self {
            door,
            id,
            memory: memory.within(&door.policy_memory),
            max_bytes: door.config.policy_max_bytes.min(most),
        }
    }

    /// Checks the head of a request, before its body is read.
    fn check_head(&self, headers: &Fields) -> Result<(), CallError> {
        check_coding(headers)?;
        check_media_type(headers)?;

        let declared = headers.text_of(&header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.parse::<usize>().ok());
        match declared {
            Some(declared) if declared > self.max_bytes => Err(self.too_large()),
            Some(declared) if declared > UNCOUNTED_BYTES => {
                let room = self.memory.take(declared).map(drop);
                room.map_err(|error| self.no_memory(error))
            }
            _ => Ok(()),
        }
    }

    /// Takes a body whole. Its bytes are counted as long as they live.
    async fn take(&self, body: RequestBody) -> Result<Bytes, CallError> {
        let body = match body {
            RequestBody::Whole(bytes) => Body::from(bytes),
            RequestBody::Stream(body) => body,
        };
        let pace = self.door.forwarder.pace;
        let (body, meter) = LimitedBody::new(body, self.max_bytes as u64, pace);
        let collecting = collect(body, self.max_bytes, &self.memory);
        let patience = self.door.config.policy_timeout;
        let Ok(collected) = tokio::time::timeout(patience, collecting).await else {
            let message =
                format!("the message did not arrive within {patience:?}, see POLICY_TIMEOUT");
            return Err(CallError::new(Cause::RequestTooSlow, message));
        };
        collected.map_err(|error| match error {
            CollectError::OutOfMemory(error) => self.no_memory(error),
            CollectError::TooLarge(_) => self.too_large(),
            CollectError::Broken if meter.has_exceeded() => self.too_large(),
            CollectError::Broken if meter.is_too_slow() => {
                failure::too_slow(meter.bytes(), &self.door.forwarder.pace)
            }
            CollectError::Broken => CallError::new(
                Cause::RequestBroken,
                "the request's body broke off, or its framing is not that of HTTP",
            ),
        })
    }

    /// Takes the body of a request that has none.
    async fn take_none(
        &self,
        method: &Method,
        body: RequestBody,
    ) -> Result<RequestBody, CallError> {
        let body = match body {
            RequestBody::Whole(bytes) => Body::from(bytes),
            RequestBody::Stream(body) => body,
        };
        if body.is_end_stream() {
            return Ok(RequestBody::Whole(Bytes::new()));
        }
        let nothing = collect(body, 0, &self.memory);
        match tokio::time::timeout(self.door.config.policy_timeout, nothing).await {
            Ok(Ok(_)) => Ok(RequestBody::Whole(Bytes::new())),
            _ => {
                let message = format!("a {method} to this id must have no body");
                Err(CallError::new(Cause::MessageUnreadable, message))
            }
        }
    }

    fn too_large(&self) -> CallError {
        let Self { id, max_bytes, .. } = self;
        let message = format!(
            "the message exceeds {max_bytes} bytes, the most that {id} takes, see POLICY_MAX_BYTES"
        );
        CallError::new(Cause::RequestTooLarge, message)
    }

    fn no_memory(&self, error: ShareError) -> CallError {
        match error {
            ShareError::Full => CallError::new(
                Cause::MemoryFull,
                "the memory for messages that are read is in use, see POLICY_MAX_MEMORY and MAX_MEMORY",
            ),
            ShareError::Owner(_) => failure::no_memory(error, self.id),
        }
    }
}

/// Decides on a message that was taken whole.
async fn decide(
    rules: &MessageRules,
    headers: &Fields,
    body: &Bytes,
) -> Result<Result<(), RefusedMessageError>, CallError> {
    if body.len() <= BLOCKING_BYTES {
        return Ok(rules.decide(body, &message_headers(headers)));
    }

    let owned = (rules.clone(), headers.clone(), body.clone());
    let deciding = tokio::task::spawn_blocking(move || {
        let (rules, headers, body) = owned;
        rules.decide(&body, &message_headers(&headers))
    });
    deciding.await.map_err(|error| {
        let failure = CallError::new(Cause::MessageUnreadable, "the message cannot be read");
        failure.with_source(error.to_string())
    })
}

/// Returns the failure of a message of a caller that is refused. Where only the scope of its token does
/// not allow it, the answer has the challenge by which a client asks for another one.
fn refused(refused: RefusedMessageError, caller: &Caller) -> McpError {
    let RefusedMessageError { error, id } = refused;
    let failure = match error {
        ReadingError::HeaderMismatch(message) => return McpError::HeaderMismatch { message, id },
        ReadingError::Unreadable(why) => {
            let message = format!("the message cannot be read in one way alone: {why}");
            CallError::new(Cause::MessageUnreadable, message)
        }
        ReadingError::Denied(denial) => {
            let source = format!("{} \"{}\"", denial.rule.word(), denial.denied);
            let failure = CallError::new(Cause::MessageDenied, denial.to_string());
            let failure = failure.with_source(source);
            let step_up = caller.step_up.clone();
            match step_up.filter(|_| denial.source == RuleSource::Credential) {
                Some(challenge) => failure.with_challenge(challenge),
                None => failure,
            }
        }
    };
    McpError::Refused { failure, id }
}

/// Returns the headers that repeat a message, in any spelling: some servers take `_` for `-`.
fn message_headers(headers: &Fields) -> MessageHeaders<'_> {
    let values = |name: &HeaderName| all_of(headers, name).map(FieldValue::as_bytes).collect();
    MessageHeaders {
        revision: values(&mcp::PROTOCOL_VERSION),
        method: values(&mcp::METHOD),
        name: values(&mcp::NAME),
    }
}

/// Returns the values of a header, in any spelling of its name.
fn all_of<'a>(headers: &'a Fields, name: &HeaderName) -> impl Iterator<Item = FieldValue<'a>> {
    headers
        .iter()
        .filter(move |(found, _)| reserved::folded(*found) == name.as_str())
        .map(|(_, value)| value)
}

/// Checks that a body is not encoded: what is read must be what the provider reads.
fn check_coding(headers: &Fields) -> Result<(), CallError> {
    let mut codings = all_of(headers, &header::CONTENT_ENCODING);
    match codings.find(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        None => Ok(()),
        Some(coding) => {
            let message = format!(
                "the content encoding {} is refused, expected none",
                quoted(coding)
            );
            Err(CallError::new(Cause::MediaTypeRefused, message))
        }
    }
}

/// Checks that a body is JSON in UTF-8, as the provider is told.
fn check_media_type(headers: &Fields) -> Result<(), CallError> {
    let mut types = all_of(headers, &header::CONTENT_TYPE);
    let only = types.next().filter(|_| types.next().is_none());
    if only.is_some_and(is_json) {
        return Ok(());
    }
    let found = match only {
        Some(value) => format!("the content type {} is refused", quoted(value)),
        None => "the request has no content type, or several".to_owned(),
    };
    let message = format!("{found}, expected application/json");
    Err(CallError::new(Cause::MediaTypeRefused, message))
}

/// Returns whether a content type is JSON, with no charset but UTF-8. A quoted parameter other than
/// the charset is refused: what is in it could be read as another one.
fn is_json(value: FieldValue<'_>) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    let is_harmless = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim().to_ascii_lowercase().starts_with("charset") {
            let utf8 = ["utf-8", "\"utf-8\""];
            return name.eq_ignore_ascii_case("charset")
                && utf8.iter().any(|utf8| value.eq_ignore_ascii_case(utf8));
        }
        !parameter.contains('"')
    };
    is_json && parts.all(is_harmless)
}

/// Returns a value as an error shows it.
fn quoted(value: FieldValue<'_>) -> String {
    format!("{:?}", String::from_utf8_lossy(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> Fields {
        let lines = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        lines.collect()
    }

    fn is_json_type(media_type: &'static str) -> bool {
        let headers = headers(&[("content-type", media_type)]);
        is_json(headers.get(&header::CONTENT_TYPE).unwrap())
    }

    #[test]
    fn json_in_utf_8_alone_is_read() {
        for json in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json; charset=\"utf-8\"",
            "application/json; profile=x",
            "application/json;",
        ] {
            assert!(is_json_type(json), "{json}");
        }
        for other in [
            "",
            "text/plain",
            "application/json-rpc",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; charset =utf-16",
            "application/json; charset*=utf-16",
            "application/json; x=\"; charset=utf-16\"",
            "application/json, text/plain",
        ] {
            assert!(!is_json_type(other), "{other}");
        }
    }

    #[test]
    fn a_second_content_type_in_any_spelling_is_refused() {
        let json = ("content-type", "application/json");

        assert!(check_media_type(&headers(&[json])).is_ok());
        assert!(check_media_type(&headers(&[])).is_err());
        assert!(check_media_type(&headers(&[json, json])).is_err());
        assert!(check_media_type(&headers(&[json, ("content_type", "text/plain")])).is_err());
    }

    #[test]
    fn an_encoded_body_is_refused() {
        let check = |name: &'static str, value| check_coding(&headers(&[(name, value)]));

        assert!(check_coding(&headers(&[])).is_ok());
        assert!(check("content-encoding", "Identity").is_ok());
        for coding in ["gzip", "identity, gzip", "", "x"] {
            assert!(check("content-encoding", coding).is_err(), "{coding}");
        }
        assert!(check("content_encoding", "gzip").is_err());
    }

    #[test]
    fn headers_are_found_in_every_spelling() {
        let headers = headers(&[("mcp-method", "a"), ("mcp_method", "b"), ("mcp-name", "c")]);

        let found = message_headers(&headers);

        assert_eq!(found.method.len(), 2);
        assert_eq!(found.name, [b"c"]);
        assert!(found.revision.is_empty());
    }
}
