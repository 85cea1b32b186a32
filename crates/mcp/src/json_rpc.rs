//! The envelope of a JSON-RPC message: its values, and where in its text they are.
//!
//! A message is never serialized again from what is parsed here. Its text is forwarded as it came,
//! except for the spans that must change. Keys are compared with their escapes resolved.
//!
//! What a caller sends is parsed as JSON-RPC 2.0 is written. What a program writes is parsed as
//! tolerantly as the SDKs' clients do, so that a call does not fail that would succeed without
//! llamapool.

mod loose;
mod members;
mod token;
mod unambiguous;

use std::ops::Range;

use bytes::Bytes;

use self::members::{Members, elements, without_nan};

pub use self::loose::readable_responses;
pub use self::token::{Token, TokenKey};
pub use self::unambiguous::{AmbiguousMessageError, UnambiguousMessage, folded_name};

/// The place of a value in the text of its message; `None` if there is no such value.
type Part = Option<Range<usize>>;

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
    params: Part,
    result: Part,
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

/// The `params` of a message.
#[derive(Debug)]
pub struct Params<'a> {
    text: &'a str,
    members: Members,
}

/// How a text is parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As JSON-RPC 2.0 is written.
    Strict,
    /// As the SDKs' clients read: with `NaN`, with a null result beside an error, and with names
    /// that stand twice, unless these decide which call the message belongs to.
    Tolerant,
}

/// Parses a text of a caller that is one message, or a batch of messages (MCP 2025-03-26). Never
/// empty.
pub fn parse_messages(text: &Bytes) -> Result<Vec<Message>, MessageError> {
    parse_all(text, Reading::Strict)
}

/// Parses a line of a program, which is one message or a batch, as tolerantly as the SDKs' clients
/// do. Never empty.
pub fn parse_messages_tolerant(line: &Bytes) -> Result<Vec<Message>, MessageError> {
    parse_all(line, Reading::Tolerant)
}

fn parse_all(text: &Bytes, reading: Reading) -> Result<Vec<Message>, MessageError> {
    if !text.trim_ascii_start().starts_with(b"[") {
        return Ok(vec![Message::parse_as(text.clone(), reading)?]);
    }

    let read = utf8(text)?;
    let all = elements(read).or_else(|error| match without_nan(read) {
        Some(read) if reading == Reading::Tolerant => elements(&read),
        _ => Err(error),
    });
    let all = all.map_err(|error| MessageError::NotJson(error.to_string()))?;
    if all.is_empty() {
        return Err(MessageError::NotJsonRpc("the batch is empty"));
    }
    all.into_iter()
        .map(|one| Message::parse_as(text.slice(one), reading))
        .collect()
}

impl Message {
    /// Parses one message of a caller.
    pub fn parse(text: Bytes) -> Result<Self, MessageError> {
        Self::parse_as(text, Reading::Strict)
    }

    fn parse_as(text: Bytes, reading: Reading) -> Result<Self, MessageError> {
        let read = utf8(&text)?;
        let members = read_envelope(read, reading)?;
        let place = |name| members.get(name);
        let not_null = |name| place(name).filter(|place| &read[place.clone()] != "null");

        check_version(read, place("jsonrpc"))?;
        let method = method(read, not_null("method"))?;
        let id = not_null("id").map(|id| {
            let wrong = "the id is neither a string nor a number";
            Token::read(read, id).ok_or(MessageError::NotJsonRpc(wrong))
        });
        let id = id.transpose()?;

        let params = not_null("params");
        let error = not_null("error");
        let result = match (reading, &error) {
            (Reading::Tolerant, Some(_)) => not_null("result"),
            _ => place("result"),
        };
        let kind = if method.is_some() {
            kind_of_call(place("id").is_some(), id.is_some())?
        } else if result.is_some() != error.is_some() {
            MessageKind::Response
        } else {
            let wrong = "expected a method, or either a result or an error";
            return Err(MessageError::NotJsonRpc(wrong));
        };

        let error_code = error.and_then(|error| {
            let code = Members::read_at(read, error)?.get("code")?;
            read[code].parse().ok()
        });
        Ok(Self {
            kind,
            id,
            error_code,
            method,
            params,
            result,
            text,
        })
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
        Params {
            text: self.str(),
            members: self.members(self.params.clone()),
        }
    }

    /// Returns the token under which a request wants to receive progress.
    pub fn progress_token(&self) -> Option<Token> {
        self.token(self.meta().get("progressToken"))
    }

    /// Returns the token of a progress notification.
    pub fn reported_progress_token(&self) -> Option<Token> {
        self.token(self.params().members.get("progressToken"))
    }

    /// Returns the id of the request that a cancellation names.
    pub fn cancelled_request(&self) -> Option<Token> {
        self.token(self.params().members.get("requestId"))
    }

    /// Returns the id of the subscription that a notification or a result belongs to (MCP
    /// 2026-07-28).
    pub fn subscription_id(&self) -> Option<Token> {
        self.token(self.meta().get("io.modelcontextprotocol/subscriptionId"))
    }

    /// Returns the revision that a request names in `_meta` (MCP 2026-07-28).
    pub fn meta_revision(&self) -> Option<String> {
        let place = self.meta().get("io.modelcontextprotocol/protocolVersion")?;
        serde_json::from_str(&self.str()[place]).ok()
    }

    /// Returns the revision that a result of `initialize` names.
    pub fn negotiated_revision(&self) -> Option<String> {
        let place = self.members(self.result.clone()).get("protocolVersion")?;
        serde_json::from_str(&self.str()[place]).ok()
    }

    /// Returns the result. `None` if there is none, or it is nested too deep to be read.
    pub fn result(&self) -> Option<serde_json::Value> {
        let json = self.str().get(self.result.clone()?)?;
        let result = serde_json::from_str(json).ok();
        result.or_else(|| serde_json::from_str(&without_nan(json)?).ok())
    }

    /// Returns whether this is a response with a result.
    pub fn has_result(&self) -> bool {
        self.result.is_some()
    }

    /// Returns the members of `_meta`: that of the result in a response, else that of the params.
    fn meta(&self) -> Members {
        let part = match self.kind {
            MessageKind::Response => &self.result,
            MessageKind::Request | MessageKind::Notification => &self.params,
        };
        let place = self.members(part.clone()).get("_meta");
        self.members(place)
    }

    /// Returns the members of the object at a place; none if there is no object.
    fn members(&self, place: Part) -> Members {
        let members = place.and_then(|place| Members::read_at(self.str(), place));
        members.unwrap_or_default()
    }

    fn token(&self, place: Part) -> Option<Token> {
        Token::read(self.str(), place?)
    }

    fn str(&self) -> &str {
        // `parse_as` accepts UTF-8 only.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

impl<'a> Params<'a> {
    /// Returns the value that `Mcp-Name` repeats for this method, `None` if it repeats none (MCP
    /// 2026-07-28, streamable HTTP; the tasks extension).
    pub fn name_for(&self, method: &str) -> Option<String> {
        let name = match method {
            "tools/call" | "prompts/get" => "name",
            "resources/read" => "uri",
            "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
            _ => return None,
        };
        serde_json::from_str(self.json(name)?).ok()
    }

    /// Returns whether `_meta` is an object.
    pub fn has_meta(&self) -> bool {
        self.json("_meta").is_some_and(|meta| meta.starts_with('{'))
    }

    /// Returns the JSON text of the arguments of a tool.
    pub fn arguments(&self) -> Option<&'a str> {
        self.json("arguments")
    }

    fn json(&self, name: &str) -> Option<&'a str> {
        self.text.get(self.members.get(name)?)
    }
}

fn utf8(text: &[u8]) -> Result<&str, MessageError> {
    std::str::from_utf8(text).map_err(|error| MessageError::NotJson(error.to_string()))
}

/// Reads the members of a message, and checks those that stand twice.
fn read_envelope(text: &str, reading: Reading) -> Result<Members, MessageError> {
    const NAMES: [&str; 6] = ["id", "method", "jsonrpc", "params", "result", "error"];
    /// Those that decide which call a message belongs to.
    const DECIDING: usize = 2;

    let (members, unique) = match reading {
        Reading::Strict => (Members::read(text), &NAMES[..]),
        Reading::Tolerant => (Members::read_tolerant(text), &NAMES[..DECIDING]),
    };
    let members = members.map_err(|error| {
        if error.is_data() {
            MessageError::NotJsonRpc("expected an object")
        } else {
            MessageError::NotJson(error.to_string())
        }
    })?;

    if unique.iter().any(|name| members.repeats(name)) {
        return Err(MessageError::NotJsonRpc("a key stands twice"));
    }
    Ok(members)
}

fn check_version(text: &str, place: Part) -> Result<(), MessageError> {
    let version = place.and_then(|place| serde_json::from_str::<String>(&text[place]).ok());
    if version.as_deref() == Some("2.0") {
        return Ok(());
    }
    let wrong = "expected an object whose jsonrpc is \"2.0\"";
    Err(MessageError::NotJsonRpc(wrong))
}

fn method(text: &str, place: Part) -> Result<Option<Box<str>>, MessageError> {
    let method = place.map(|place| serde_json::from_str(&text[place]));
    method
        .transpose()
        .map_err(|_| MessageError::NotJsonRpc("the method is no string"))
}

/// Returns the kind of a message with a method.
fn kind_of_call(has_id: bool, id_is_token: bool) -> Result<MessageKind, MessageError> {
    if id_is_token {
        Ok(MessageKind::Request)
    } else if has_id {
        Err(MessageError::NotJsonRpc("the id of a request is null"))
    } else {
        Ok(MessageKind::Notification)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Message, MessageError> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
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
            TokenKey::Integer(3)
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

    fn parse_line(text: &str) -> Result<Message, MessageError> {
        let all = parse_messages_tolerant(&Bytes::copy_from_slice(text.as_bytes()))?;
        Ok(all.into_iter().next().unwrap())
    }

    /// Checked with the clients of the Python SDK 1.30 and 2.3.
    #[test]
    fn what_a_program_writes_is_read_as_sdks_do() {
        for line in [
            r#"{"jsonrpc":"2.0","id":5,"result":{"v":NaN,"w":[-Infinity]}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":null,"error":{"code":-1,"message":"boom"}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{},"error":null}"#,
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":5,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{"a":1},"result":{"b":NaN}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{},"method":null}"#,
            r#"[{"jsonrpc":"2.0","id":5,"result":NaN}]"#,
        ] {
            let message = parse_line(line).unwrap();
            assert_eq!(message.kind, MessageKind::Response, "{line}");
            assert_eq!(message.id.unwrap().key, TokenKey::Integer(5), "{line}");
        }

        let error = r#"{"jsonrpc":"2.0","id":5,"result":null,"error":{"code":-1}}"#;
        let error = parse_line(error).unwrap();
        assert!(!error.has_result() && error.error_code == Some(-1));

        let nan = r#"{"jsonrpc":"2.0","id":5,"result":{"v":NaN,"protocolVersion":"x"}}"#;
        let nan = parse_line(nan).unwrap();
        assert_eq!(nan.negotiated_revision().as_deref(), Some("x"));
        assert_eq!(nan.result().unwrap()["protocolVersion"], "x");
    }

    #[test]
    fn a_line_is_refused_whose_call_is_uncertain() {
        for line in [
            r#"{"jsonrpc":"2.0","id":4,"id":5,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{},"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":5,"method":"a","method":"b"}"#,
            r#"{"id":5,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":nan}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{}} done"#,
        ] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "\\PC*", cut in 0usize..200) {
            let text = Bytes::from(text.into_bytes());
            let _ = parse_messages(&text);
            let _ = parse_messages_tolerant(&text);
            let good = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"x"}}}"#;
            let _ = parse_messages(&Bytes::copy_from_slice(&good[..cut.min(good.len())]));
        }
    }
}
