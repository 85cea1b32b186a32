//! Changes to spans of a message's text. The rest stays byte for byte.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Returns `text` with some of its spans replaced. The spans must not overlap.
pub(crate) fn replace_spans(text: &Bytes, mut changes: Vec<(Range<usize>, Bytes)>) -> Bytes {
    if changes.is_empty() {
        return text.clone();
    }
    changes.sort_by_key(|(span, _)| span.start);
    let added: usize = changes.iter().map(|(_, new)| new.len()).sum();

    let mut rewritten = BytesMut::with_capacity(text.len() + added);
    let mut from = 0;
    for (span, new) in changes {
        rewritten.extend_from_slice(&text[from..span.start]);
        rewritten.extend_from_slice(&new);
        from = span.end;
    }
    rewritten.extend_from_slice(&text[from..]);
    rewritten.freeze()
}

/// Returns a message as a single line of the same length: every line end becomes a space.
///
/// A line end in JSON is only white space (RFC 8259, section 2), never part of a string. This is
/// the one change to messages whose ids are not remapped.
pub(crate) fn to_single_line(text: Bytes) -> Bytes {
    if memchr2(b'\n', b'\r', &text).is_none() {
        return text;
    }

    let mut line = BytesMut::from(text);
    for byte in line.iter_mut() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_replaced_in_any_order() {
        let text = Bytes::from_static(b"0123456789");
        let changes = vec![
            (7..8, Bytes::from_static(b"seven")),
            (1..3, Bytes::from_static(b"")),
            (10..10, "!".into()),
        ];

        assert_eq!(replace_spans(&text, changes), "03456seven89!");
        assert_eq!(replace_spans(&text, Vec::new()), text);
    }

    #[test]
    fn a_message_of_several_lines_becomes_one_line() {
        let text = Bytes::from_static(b"{\r\n\t\"a\": \"b\\n\"\n}");
        assert_eq!(to_single_line(text), "{  \t\"a\": \"b\\n\" }");
    }
}
