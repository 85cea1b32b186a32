//! What a JSON-RPC message says on its envelope, and where in its text it says so.
//!
//! A message is never rebuilt from what was read here: its text goes on as it came, but for the spans that must be others
//! (`rewrite.rs`). Keys are read as they are spelt, and one that stands twice makes the text no message, so that nobody is
//! shown another message than the one that is answered.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// From here on a number that another program has read may not be the same any more (IEEE 754).
const EXACT: u64 = 1 << 53;

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) text: Bytes,
    pub(crate) kind: Kind,
    /// Of a request or response; none also where it is null.
    pub(crate) id: Option<Token>,
    pub(crate) method: Option<Box<str>>,
    params: Option<Range<usize>>,
    result: Option<Range<usize>>,
    pub(crate) error_code: Option<i64>,
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Notification,
    Response,
}

/// An id or a progress token: what it is, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) key: Key,
    pub(crate) span: Range<usize>,
}

/// An id as it can be compared, however it is spelt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Text(Box<str>),
    Integer(i64),
    /// The bits of a number that is not a whole one, or too large to be exact everywhere.
    Float(u64),
}

/// What stands where a message was expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAMessage {
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("it is not a JSON-RPC message: {0}")]
    NotJsonRpc(&'static str),
}

/// What is read of `params`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Params<'a> {
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
    pub(crate) arguments: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        deserialize_with = "present",
        rename = "protocolVersion"
    )]
    protocol_version: Option<&'a RawValue>,
}

/// What is read of `_meta`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Meta<'a> {
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

/// A value that is there, be it null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The messages of a text: one, or those of a batch (MCP 2025-03-26).
pub(crate) fn messages(text: &Bytes) -> Result<Vec<Message>, NotAMessage> {
    if !text.trim_ascii_start().starts_with(b"[") {
        return Ok(vec![Message::read(text.clone())?]);
    }
    let all: Vec<&RawValue> =
        serde_json::from_slice(text).map_err(|error| NotAMessage::NotJson(error.to_string()))?;
    if all.is_empty() {
        return Err(NotAMessage::NotJsonRpc("the batch is empty"));
    }
    all.into_iter()
        .map(|one| Message::read(text.slice_ref(one.get().as_bytes())))
        .collect()
}

impl Message {
    /// Reads one message.
    pub(crate) fn read(text: Bytes) -> Result<Self, NotAMessage> {
        let read =
            std::str::from_utf8(&text).map_err(|error| NotAMessage::NotJson(error.to_string()))?;
        let envelope: Envelope<'_> =
            serde_json::from_str(read).map_err(|error| match error.is_data() {
                true => {
                    NotAMessage::NotJsonRpc("a key stands twice, or something is of the wrong type")
                }
                false => NotAMessage::NotJson(error.to_string()),
            })?;
        if !read.trim_start().starts_with('{') || envelope.jsonrpc.as_deref() != Some("2.0") {
            return Err(NotAMessage::NotJsonRpc(
                "expected an object whose jsonrpc is \"2.0\"",
            ));
        }
        let (given_id, method) = (envelope.id, envelope.method);
        let id = given_id
            .filter(|id| id.get() != "null")
            .map(|id| Token::of(read, id))
            .transpose()?;
        let kind = match (&method, &id) {
            (Some(_), Some(_)) => Kind::Request,
            (Some(_), None) if given_id.is_none() => Kind::Notification,
            (Some(_), None) => return Err(NotAMessage::NotJsonRpc("the id of a request is null")),
            (None, _) if envelope.result.is_some() != envelope.error.is_some() => Kind::Response,
            (None, _) => {
                return Err(NotAMessage::NotJsonRpc(
                    "expected a method, or either a result or an error",
                ));
            }
        };
        let span = |value: Option<&RawValue>| value.map(|value| span_of(read, value.get()));
        let (params, result) = (span(envelope.params), span(envelope.result));
        let error_code = envelope.error.and_then(code_of);
        let method = method.map(|method| method.into_owned().into_boxed_str());
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

    /// Whose answer a line was to be that is no message, if that can be told all the same.
    pub(crate) fn answered_by(line: &[u8]) -> Option<Token> {
        let legible = Self::read(String::from_utf8_lossy(line).into_owned().into()).ok()?;
        legible.id.filter(|_| legible.kind == Kind::Response)
    }

    /// The method, or nothing.
    pub(crate) fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    /// What is read of its `params`.
    pub(crate) fn params(&self) -> Params<'_> {
        object(self.part(&self.params)).unwrap_or_default()
    }

    /// What is read of the `_meta` of its `params`.
    pub(crate) fn meta(&self) -> Meta<'_> {
        self.params()
            .meta
            .and_then(|meta| object(meta.get()))
            .unwrap_or_default()
    }

    /// The token under which a request wants to hear of its progress.
    pub(crate) fn wants_progress(&self) -> Option<Token> {
        self.token(self.meta().progress_token?)
    }

    /// The token that a notification of progress names.
    pub(crate) fn progress_of(&self) -> Option<Token> {
        self.token(self.params().progress_token?)
    }

    /// The request that a notification of a cancellation names.
    pub(crate) fn cancelled(&self) -> Option<Token> {
        self.token(self.params().request_id?)
    }

    /// The id of the request that listens, of a notification for it or of its result.
    pub(crate) fn subscription(&self) -> Option<Token> {
        let meta = match self.kind {
            Kind::Response => {
                let result: Params<'_> = object(self.part(&self.result))?;
                result
                    .meta
                    .and_then(|meta| object::<Meta<'_>>(meta.get()))?
            }
            Kind::Request | Kind::Notification => self.meta(),
        };
        self.token(meta.subscription_id?)
    }

    /// The revision that the request names in `_meta`, as MCP 2026-07-28 wants it.
    pub(crate) fn modern_version(&self) -> Option<String> {
        text_of(self.meta().protocol_version?)
    }

    /// The revision that a result of `initialize` names.
    pub(crate) fn negotiated_version(&self) -> Option<String> {
        let result: Params<'_> = object(self.part(&self.result))?;
        text_of(result.protocol_version?)
    }

    /// The text of the result.
    pub(crate) fn result(&self) -> &str {
        self.part(&self.result)
    }

    /// Whether it is a response with a result.
    pub(crate) fn is_result(&self) -> bool {
        self.result.is_some()
    }

    fn token(&self, value: &RawValue) -> Option<Token> {
        Token::of(self.str(), value).ok()
    }

    fn part(&self, span: &Option<Range<usize>>) -> &str {
        span.as_ref()
            .and_then(|span| self.str().get(span.clone()))
            .unwrap_or_default()
    }

    fn str(&self) -> &str {
        // It was read as UTF-8.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

impl Params<'_> {
    /// What `Mcp-Name` repeats for this method, if anything (MCP 2026-07-28, streamable-http; the tasks extension).
    pub(crate) fn name_for(&self, method: &str) -> Option<String> {
        let value = match method {
            "tools/call" | "prompts/get" => self.name,
            "resources/read" => self.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" => self.task_id,
            _ => None,
        };
        text_of(value?)
    }

    /// Whether the params have a `_meta` object.
    pub(crate) fn has_meta(&self) -> bool {
        self.meta.is_some_and(|meta| meta.get().starts_with('{'))
    }
}

impl Token {
    fn of(text: &str, value: &RawValue) -> Result<Self, NotAMessage> {
        let key = Key::of(value.get()).ok_or(NotAMessage::NotJsonRpc(
            "the id is neither a string nor a number",
        ))?;
        Ok(Self {
            key,
            span: span_of(text, value.get()),
        })
    }

    /// The text that stands there.
    pub(crate) fn raw<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.span.clone()).unwrap_or_default()
    }
}

impl Key {
    /// A string or a number as it can be compared.
    fn of(json: &str) -> Option<Self> {
        if json.starts_with('"') {
            return serde_json::from_str(json).ok().map(Self::Text);
        }
        if let Some(integer) = json
            .parse()
            .ok()
            .filter(|integer: &i64| integer.unsigned_abs() <= EXACT)
        {
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

/// An object and nothing else: a struct would be read from an array too.
fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    json.trim_start()
        .starts_with('{')
        .then(|| serde_json::from_str(json).ok())?
}

fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn code_of(error: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct Code {
        code: i64,
    }
    object::<Code>(error.get()).map(|error| error.code)
}

/// Where a part of a text stands in it.
fn span_of(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Message, NotAMessage> {
        Message::read(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn key(json: &str) -> Key {
        Key::of(json).unwrap()
    }

    #[test]
    fn a_message_is_a_request_a_notification_or_a_response() {
        for (text, kind, method) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                Kind::Request,
                "ping",
            ),
            (
                r#" {"method":"ping","id":"1","jsonrpc":"2.0"}"#,
                Kind::Request,
                "ping",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
                Kind::Notification,
                "notifications/x",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
                Kind::Response,
                "",
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#,
                Kind::Response,
                "",
            ),
            (
                r#"{"jsonrpc":"2.0","error":{"code":1}}"#,
                Kind::Response,
                "",
            ),
        ] {
            let message = read(text).unwrap();
            assert_eq!((message.kind, message.method()), (kind, method), "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
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
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(
            Message::read(Bytes::from_static(
                b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}"
            ))
            .is_err()
        );
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(read(&deep).unwrap().kind, Kind::Request);
    }

    #[test]
    fn an_id_is_the_same_however_it_is_spelt() {
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
    fn what_a_message_says_is_found_where_it_stands() {
        let text = r#"{"jsonrpc":"2.0","id":"a b","method":"tools/call","params":{"name":"echo","_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let message = read(text).unwrap();
        assert_eq!(message.id.as_ref().unwrap().raw(&message.text), br#""a b""#);
        assert_eq!(message.wants_progress().unwrap().raw(&message.text), b"7");
        assert_eq!(message.modern_version().as_deref(), Some("2026-07-28"));
        assert_eq!(
            message.params().name_for("tools/call").as_deref(),
            Some("echo")
        );
        assert_eq!(message.params().name_for("resources/read"), None);
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}"#;
        let message = read(text).unwrap();
        assert_eq!(
            message.subscription().unwrap().raw(&message.text),
            br#""s""#
        );
        let text =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#;
        assert_eq!(read(text).unwrap().cancelled().unwrap().key, key("3"));
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","method":"x","params":["a"]}"#)
                .unwrap()
                .params()
                .name_for("x"),
            None
        );
    }

    #[test]
    fn a_batch_is_its_messages() {
        let text = Bytes::from_static(
            br#" [ {"jsonrpc":"2.0","id":1,"method":"a"} , {"jsonrpc":"2.0","method":"b"} ]"#,
        );
        let all = messages(&text).unwrap();
        let methods: Vec<_> = all.iter().map(Message::method).collect();
        assert_eq!(methods, ["a", "b"]);
        for bad in [
            &b"[]"[..],
            b"[1]",
            b"[",
            br#"[{"jsonrpc":"2.0","id":1,"method":"a"},]"#,
        ] {
            assert!(messages(&Bytes::from_static(bad)).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", cut in 0usize..200) {
            let _ = messages(&Bytes::from(text.into_bytes()));
            let good = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"x"}}}"#;
            let _ = messages(&Bytes::copy_from_slice(&good[..cut.min(good.len())]));
        }
    }
}
