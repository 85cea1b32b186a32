//! JSON-RPC messages: the method that is found in the beginning of a message stays the same when
//! more of it has arrived, and every id and token is found where it stands in the text: another one
//! put in its place makes a message again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llamapool_mcp::{Message, MethodLabel, Revision, is_response, parse_messages};

fuzz_target!(|data: &[u8]| {
    let found = MethodLabel::in_message(data);
    let first = (0..=data.len()).find_map(|length| MethodLabel::in_message(&data[..length]));
    assert_eq!(first, found);

    let _ = is_response(data);
    let _ = Message::recover_response_id(data);
    for message in parse_messages(&Bytes::copy_from_slice(data)).unwrap_or_default() {
        envelope(&message);
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
    let _ = (message.result_text(), message.has_result());
}
