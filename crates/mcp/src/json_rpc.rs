//! The envelope of a JSON-RPC message: its values, and where in its text they are.
//!
//! A message is never serialized again from what is parsed here. Its text is forwarded as it came,
//! except for the spans that must change. Keys are compared as they are spelled, and a key that
//! occurs twice makes the text invalid, so that a program never sees another message than the one
//! that is answered.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Above this, another program may have parsed a different number (IEEE 754).
const EXACT: u64 = 1 << 53;

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The JSON text.
    pub text: Bytes,
    /// Request, notification or response.
    pub kind: MessageKind,
    /// The id of a request or response; `None` also where it is null.
    pub id: Option<Token>,
    /// The code of a response that is an error.
    pub error_code: Option<i64>,
    method: Option<Box<str>>,
    params: Option<Range<usize>>,
    result: Option<Range<usize>>,
}

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// It has a method and an id.
    Request,
    /// It has a method and no id.
    Notification,
    /// It has a result or an error.
    Response,
}

/// An id or a progress token: its value and its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The value, for comparison.
    pub key: TokenKey,
    /// The place in the text of the message.
    pub span: Range<usize>,
}

/// The value of a token, independent of its spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenKey {
    /// A string.
    Text(Box<str>),
    /// An integer that is exact in every program.
    Integer(i64),
    /// The bits of a fraction, or of a number too large to be exact in every program.
    Float(u64),
}

/// Text that is no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The text is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// The text is JSON, but not JSON-RPC 2.0.
    #[error("it is not a JSON-RPC message: {0}")]
    NotJsonRpc(&'static str),
}

/// The members of `params` that are read.
#[derive(Debug, Default, Deserialize)]
pub struct Params<'a> {
    #[serde(borrow, default, rename = "_meta", deserialize_with = "present")]
    meta: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "progressToken",
        deserialize_with = "present"
    )]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "requestId")]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present", rename = "taskId")]
    task_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    arguments: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        deserialize_with = "present",
        rename = "protocolVersion"
    )]
    protocol_version: Option<&'a RawValue>,
}

/// The members of `_meta` that are read.
#[derive(Debug, Default, Deserialize)]
struct Meta<'a> {
    #[serde(
        borrow,
        default,
        rename = "progressToken",
        deserialize_with = "present"
    )]
    progress_token: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/protocolVersion",
        deserialize_with = "present"
    )]
    protocol_version: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/subscriptionId",
        deserialize_with = "present"
    )]
    subscription_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Deserializes a value that is present, even if it is null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Parses a text that is one message, or a batch of messages (MCP 2025-03-26). Never empty.
pub fn parse_messages(text: &Bytes) -> Result<Vec<Message>, MessageError> {
    if !text.trim_ascii_start().starts_with(b"[") {
        return Ok(vec![Message::parse(text.clone())?]);
    }

    let all: Vec<&RawValue> =
        serde_json::from_slice(text).map_err(|error| MessageError::NotJson(error.to_string()))?;
    if all.is_empty() {
        return Err(MessageError::NotJsonRpc("the batch is empty"));
    }
    all.into_iter()
        .map(|one| Message::parse(text.slice_ref(one.get().as_bytes())))
        .collect()
}

impl Message {
    /// Parses one message.
    pub fn parse(text: Bytes) -> Result<Self, MessageError> {
        let read =
            std::str::from_utf8(&text).map_err(|error| MessageError::NotJson(error.to_string()))?;
        let envelope = Envelope::parse(read)?;

        let id = envelope
            .id
            .filter(|id| id.get() != "null")
            .map(|id| Token::parse(read, id))
            .transpose()?;
        let kind = envelope.kind(id.is_some())?;

        let span = |value: Option<&RawValue>| value.map(|value| span_of(read, value.get()));
        let params = span(envelope.params);
        let result = span(envelope.result);
        let error_code = envelope.error.and_then(error_code_of);
        let method = envelope
            .method
            .map(|method| method.into_owned().into_boxed_str());

        Ok(Self {
            kind,
            id,
            method,
            params,
            result,
            error_code,
            text,
        })
    }

    /// Returns the id of a response in `line`, although `line` is not valid UTF-8 and so no
    /// message.
    /// `None` if even the valid rest is no response.
    pub fn recover_response_id(line: &[u8]) -> Option<Token> {
        let legible = Self::parse(String::from_utf8_lossy(line).into_owned().into()).ok()?;
        legible.id.filter(|_| legible.kind == MessageKind::Response)
    }

    /// Returns whether this is a request.
    pub fn is_request(&self) -> bool {
        self.kind == MessageKind::Request
    }

    /// Returns the method; empty for a response.
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    /// Returns the `params`; empty if there are none or they are no object.
    pub fn params(&self) -> Params<'_> {
        parse_object(self.part(&self.params)).unwrap_or_default()
    }

    /// Returns the token under which a request wants to receive progress.
    pub fn progress_token(&self) -> Option<Token> {
        self.token(self.meta().progress_token?)
    }

    /// Returns the token of a progress notification.
    pub fn reported_progress_token(&self) -> Option<Token> {
        self.token(self.params().progress_token?)
    }

    /// Returns the id of the request that a cancellation names.
    pub fn cancelled_request(&self) -> Option<Token> {
        self.token(self.params().request_id?)
    }

    /// Returns the id of the subscription that a notification or a result belongs to (MCP
    /// 2026-07-28).
    pub fn subscription_id(&self) -> Option<Token> {
        let meta = match self.kind {
            MessageKind::Response => {
                let result: Params<'_> = parse_object(self.result_text())?;
                parse_object::<Meta<'_>>(result.meta?.get())?
            }
            MessageKind::Request | MessageKind::Notification => self.meta(),
        };
        self.token(meta.subscription_id?)
    }

    /// Returns the revision that a request names in `_meta` (MCP 2026-07-28).
    pub fn meta_revision(&self) -> Option<String> {
        string_of(self.meta().protocol_version?)
    }

    /// Returns the revision that a result of `initialize` names.
    pub fn negotiated_revision(&self) -> Option<String> {
        let result: Params<'_> = parse_object(self.result_text())?;
        string_of(result.protocol_version?)
    }

    /// Returns the JSON text of the result; empty if there is none.
    pub fn result_text(&self) -> &str {
        self.part(&self.result)
    }

    /// Returns whether this is a response with a result.
    pub fn has_result(&self) -> bool {
        self.result.is_some()
    }

    fn meta(&self) -> Meta<'_> {
        self.params()
            .meta
            .and_then(|meta| parse_object(meta.get()))
            .unwrap_or_default()
    }

    fn token(&self, value: &RawValue) -> Option<Token> {
        Token::parse(self.str(), value).ok()
    }

    fn part(&self, span: &Option<Range<usize>>) -> &str {
        span.as_ref()
            .and_then(|span| self.str().get(span.clone()))
            .unwrap_or_default()
    }

    fn str(&self) -> &str {
        // `parse` accepts UTF-8 only.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

impl<'a> Envelope<'a> {
    fn parse(text: &'a str) -> Result<Self, MessageError> {
        let envelope: Self = serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                MessageError::NotJsonRpc("a key stands twice, or something is of the wrong type")
            } else {
                MessageError::NotJson(error.to_string())
            }
        })?;

        // A struct would also be deserialized from an array.
        let is_object = text.trim_start().starts_with('{');
        if is_object && envelope.jsonrpc.as_deref() == Some("2.0") {
            Ok(envelope)
        } else {
            Err(MessageError::NotJsonRpc(
                "expected an object whose jsonrpc is \"2.0\"",
            ))
        }
    }

    /// Returns the kind of the message. `has_id`: the id is present and not null.
    fn kind(&self, has_id: bool) -> Result<MessageKind, MessageError> {
        let has_method = self.method.is_some();
        let has_outcome = self.result.is_some() != self.error.is_some();

        if has_method && has_id {
            Ok(MessageKind::Request)
        } else if has_method && self.id.is_none() {
            Ok(MessageKind::Notification)
        } else if has_method {
            Err(MessageError::NotJsonRpc("the id of a request is null"))
        } else if has_outcome {
            Ok(MessageKind::Response)
        } else {
            Err(MessageError::NotJsonRpc(
                "expected a method, or either a result or an error",
            ))
        }
    }
}

impl<'a> Params<'a> {
    /// Returns the value that `Mcp-Name` repeats for this method, `None` if it repeats none (MCP
    /// 2026-07-28, streamable HTTP; the tasks extension).
    pub fn name_for(&self, method: &str) -> Option<String> {
        let value = match method {
            "tools/call" | "prompts/get" => self.name,
            "resources/read" => self.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => self.task_id,
            _ => None,
        };
        string_of(value?)
    }

    /// Returns whether `_meta` is an object.
    pub fn has_meta(&self) -> bool {
        self.meta.is_some_and(|meta| meta.get().starts_with('{'))
    }

    /// Returns the JSON text of the arguments of a tool.
    pub fn arguments(&self) -> Option<&'a RawValue> {
        self.arguments
    }
}

impl Token {
    fn parse(text: &str, value: &RawValue) -> Result<Self, MessageError> {
        let key = TokenKey::parse(value.get()).ok_or(MessageError::NotJsonRpc(
            "the id is neither a string nor a number",
        ))?;
        Ok(Self {
            key,
            span: span_of(text, value.get()),
        })
    }

    /// Returns the token as it is spelled in `text`, the text of its message.
    pub fn raw<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.span.clone()).unwrap_or_default()
    }
}

impl TokenKey {
    /// Parses a string or a number. `None` for any other JSON.
    fn parse(json: &str) -> Option<Self> {
        if json.starts_with('"') {
            return serde_json::from_str(json).ok().map(Self::Text);
        }

        let integer = json.parse().ok();
        if let Some(integer) = integer.filter(|integer: &i64| integer.unsigned_abs() <= EXACT) {
            return Some(Self::Integer(integer));
        }

        let number: f64 = json.parse().ok()?;
        let is_exact = number.fract() == 0.0 && number.abs() <= EXACT as f64;
        Some(if is_exact {
            Self::Integer(number as i64)
        } else {
            Self::Float(number.to_bits())
        })
    }
}

/// Parses an object and nothing else: serde would also fill a struct from an array.
fn parse_object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    if json.trim_start().starts_with('{') {
        serde_json::from_str(json).ok()
    } else {
        None
    }
}

fn string_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn error_code_of(error: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct Code {
        code: i64,
    }
    parse_object::<Code>(error.get()).map(|error| error.code)
}

/// Returns the place of `part`, which is a slice of `text`.
fn span_of(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Message, MessageError> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn key(json: &str) -> TokenKey {
        TokenKey::parse(json).unwrap()
    }

    #[test]
    fn a_message_is_a_request_notification_or_response() {
        for (text, kind, method) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                MessageKind::Request,
                "ping",
            ),
            (
                r#" {"method":"ping","id":"1","jsonrpc":"2.0"}"#,
                MessageKind::Request,
                "ping",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
                MessageKind::Notification,
                "notifications/x",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
                MessageKind::Response,
                "",
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#,
                MessageKind::Response,
                "",
            ),
            (
                r#"{"jsonrpc":"2.0","error":{"code":1}}"#,
                MessageKind::Response,
                "",
            ),
        ] {
            let message = parse(text).unwrap();
            assert_eq!((message.kind, message.method()), (kind, method), "{text}");
        }
    }

    #[test]
    fn invalid_messages_are_refused() {
        for bad in [
            "",
            "hello",
            "1",
            "null",
            "[]",
            r#"["2.0",1,"ping"]"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"} trailing"#,
            r#"{"jsonrpc":"2.0","id":1,"METHOD":"ping"}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(
            Message::parse(Bytes::from_static(
                b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}"
            ))
            .is_err()
        );
    }

    #[test]
    fn deep_nesting_is_accepted() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(parse(&deep).unwrap().kind, MessageKind::Request);
    }

    #[test]
    fn an_id_is_the_same_in_every_spelling() {
        assert_eq!(key("1"), key("1.0"));
        assert_eq!(key("-0"), key("0"));
        assert_eq!(key("1e2"), key("100"));
        assert_eq!(key(r#""a""#), key(r#""\u0061""#));
        assert_eq!(
            key("12345678901234567890123"),
            key("1.2345678901234568e+22")
        );
        assert_ne!(key("1"), key(r#""1""#));
        assert_ne!(key("1.5"), key("1"));
    }

    #[test]
    fn values_are_found_with_their_place_in_the_text() {
        let text = r#"{"jsonrpc":"2.0","id":"a b","method":"tools/call","params":{"name":"echo","_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let message = parse(text).unwrap();

        assert_eq!(message.id.as_ref().unwrap().raw(&message.text), br#""a b""#);
        assert_eq!(message.progress_token().unwrap().raw(&message.text), b"7");
        assert_eq!(message.meta_revision().as_deref(), Some("2026-07-28"));
        assert_eq!(
            message.params().name_for("tools/call").as_deref(),
            Some("echo")
        );
        assert_eq!(message.params().name_for("resources/read"), None);

        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}"#;
        let message = parse(text).unwrap();

        assert_eq!(
            message.subscription_id().unwrap().raw(&message.text),
            br#""s""#
        );

        let text =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#;

        assert_eq!(
            parse(text).unwrap().cancelled_request().unwrap().key,
            key("3")
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","method":"x","params":["a"]}"#)
                .unwrap()
                .params()
                .name_for("x"),
            None
        );
    }

    #[test]
    fn a_batch_is_parsed_into_its_messages() {
        let text = Bytes::from_static(
            br#" [ {"jsonrpc":"2.0","id":1,"method":"a"} , {"jsonrpc":"2.0","method":"b"} ]"#,
        );
        let all = parse_messages(&text).unwrap();
        let methods: Vec<_> = all.iter().map(Message::method).collect();

        assert_eq!(methods, ["a", "b"]);

        for bad in [
            &b"[]"[..],
            b"[1]",
            b"[",
            br#"[{"jsonrpc":"2.0","id":1,"method":"a"},]"#,
        ] {
            assert!(parse_messages(&Bytes::from_static(bad)).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "\\PC*", cut in 0usize..200) {
            let _ = parse_messages(&Bytes::from(text.into_bytes()));
            let good = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"x"}}}"#;
            let _ = parse_messages(&Bytes::copy_from_slice(&good[..cut.min(good.len())]));
        }
    }
}
