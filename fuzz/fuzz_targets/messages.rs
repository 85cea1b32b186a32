//! JSON-RPC messages: the method that is found in the beginning of a message stays the same when
//! more of it has arrived, and every id and token is found where it stands in the text: another one
//! put in its place makes a message again. What is a message for a program is read alike by every
//! reader of JSON, and the reader of broken lines takes anything.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llamapool_mcp::{
    Message, MethodLabel, Revision, UnambiguousMessage, is_response, parse_messages,
    parse_messages_tolerant, readable_responses,
};
use serde_json::Value;

/// The names in the envelope, in `params` and in `_meta` that programs read.
const KNOWN: [&[&str]; 3] = [
    &["jsonrpc", "id", "method", "params", "result", "error"],
    &[
        "_meta",
        "progressToken",
        "requestId",
        "name",
        "uri",
        "taskId",
        "arguments",
    ],
    &["progressToken", "io.modelcontextprotocol/subscriptionId"],
];

fuzz_target!(|data: &[u8]| {
    let found = MethodLabel::in_message(data);
    let first = (0..=data.len()).find_map(|length| MethodLabel::in_message(&data[..length]));
    assert_eq!(first, found);

    let _ = is_response(data);
    let _ = readable_responses(data);
    let text = Bytes::copy_from_slice(data);
    let strict = parse_messages(&text);
    let tolerant = parse_messages_tolerant(&text);
    assert!(strict.is_err() || tolerant.is_ok());

    for message in strict.unwrap_or_default() {
        envelope(&message);
        unambiguous(&message);
    }
    for message in tolerant.unwrap_or_default() {
        let _ = (message.meta_revision(), message.negotiated_revision());
        let _ = (message.result(), message.subscription_id());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Revision::parse(text);
        let _ = Revision::by_text_order(text);
    }
});

fn envelope(message: &Message) {
    let tokens = [
        message.id.clone(),
        message.progress_token(),
        message.reported_progress_token(),
        message.cancelled_request(),
        message.subscription_id(),
    ];
    for token in tokens.into_iter().flatten() {
        assert!(!token.raw(&message.text).is_empty());

        let (before, rest) = message.text.split_at(token.span.start);
        let after = &rest[token.span.len()..];
        let replaced = Bytes::from([before, b"7", after].concat());

        let again = Message::parse(replaced).unwrap();
        assert_eq!(again.method(), message.method());
    }

    let _ = (message.meta_revision(), message.negotiated_revision());
    let _ = (message.result(), message.has_result());
}

/// Reads a message that was accepted for a program as Go's `encoding/json` does, which compares
/// names without case: each name is a known one or none.
fn unambiguous(message: &Message) {
    let Ok(checked) = UnambiguousMessage::check(message) else {
        return;
    };
    for (span, escape) in checked.line_ends() {
        let text = format!("\"{escape}\"");
        let char: String = serde_json::from_str(&text).unwrap();
        assert_eq!(char.as_bytes(), &message.text[span]);
    }

    // Numbers beyond those of IEEE 754 and lone surrogates are no values of this reader.
    let Ok(envelope) = serde_json::from_slice::<Value>(&message.text) else {
        return;
    };
    let params = &envelope["params"];
    let objects = [&envelope, params, &params["_meta"]];
    for (object, known) in objects.into_iter().zip(KNOWN) {
        let names = object
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys());
        for name in names.filter(|name| !known.contains(&name.as_str())) {
            let folded = fold(name);
            assert!(known.iter().all(|known| fold(known) != folded), "{name:?}");
        }
    }
    let token = params["_meta"]["progressToken"].clone();
    assert_eq!(token.is_null(), message.progress_token().is_none());
}

fn fold(name: &str) -> String {
    let folded = name.chars().map(|char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    folded.collect()
}
