//! Changes spans of a message's text, and nothing else of it.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// A text with some of its spans replaced. The spans do not overlap.
pub(crate) fn replaced(text: &Bytes, mut changes: Vec<(Range<usize>, Bytes)>) -> Bytes {
    if changes.is_empty() {
        return text.clone();
    }
    changes.sort_by_key(|(span, _)| span.start);
    let more: usize = changes.iter().map(|(_, new)| new.len()).sum();
    let mut rewritten = BytesMut::with_capacity(text.len() + more);
    let mut from = 0;
    for (span, new) in changes {
        rewritten.extend_from_slice(&text[from..span.start]);
        rewritten.extend_from_slice(&new);
        from = span.end;
    }
    rewritten.extend_from_slice(&text[from..]);
    rewritten.freeze()
}

/// A message as one line: what ends a line is only white space in JSON (RFC 8259, section 2), never part of a string, so
/// each is exchanged for a blank. The one change of a text that nobody remaps.
pub(crate) fn on_one_line(text: Bytes) -> Bytes {
    if memchr2(b'\n', b'\r', &text).is_none() {
        return text;
    }
    let mut line = BytesMut::from(text);
    line.iter_mut()
        .filter(|byte| matches!(byte, b'\n' | b'\r'))
        .for_each(|byte| *byte = b' ');
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_replaced_in_any_order_and_the_rest_stays() {
        let text = Bytes::from_static(b"0123456789");
        let changes = vec![
            (7..8, Bytes::from_static(b"seven")),
            (1..3, Bytes::from_static(b"")),
            (10..10, "!".into()),
        ];
        assert_eq!(replaced(&text, changes), "03456seven89!");
        assert_eq!(replaced(&text, Vec::new()), text);
    }

    #[test]
    fn a_message_of_many_lines_becomes_one_of_the_same_length() {
        let text = Bytes::from_static(b"{\r\n\t\"a\": \"b\\n\"\n}");
        assert_eq!(on_one_line(text), "{  \t\"a\": \"b\\n\" }");
    }
}
