//! JSON-RPC messages: the method that is found in the beginning of a message stays the same when
//! more of it has arrived, and agrees with a full parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use llamapool_mcp::{MethodLabel, Revision, is_response};

fuzz_target!(|data: &[u8]| {
    let found = MethodLabel::in_message(data);
    let first = (0..=data.len()).find_map(|length| MethodLabel::in_message(&data[..length]));
    assert_eq!(first, found);

    let _ = is_response(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Revision::parse(text);
        let _ = Revision::by_text_order(text);
    }
});
