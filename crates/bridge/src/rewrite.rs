//! Changes to spans of a message's text. The rest stays byte for byte.
//!
//! What is made of a long message holds the message itself: its memory was counted for both.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use llamapool_http::{UNCOUNTED_BYTES, held_with};
use llamapool_mcp::{Message, MessageError};
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
    with_memory_of(text.clone(), rewritten.freeze())
}

/// Parses a text as it came, and returns it as a single line of the same length, with the messages
/// in it: every line end has become a space.
///
/// In JSON a line end is only white space (RFC 8259, section 2). A text with one inside a string is
/// not JSON, so it must be parsed before the line ends are replaced. This is the one change to
/// messages whose ids are not remapped.
pub(crate) fn parse_as_line(
    text: Bytes,
    parse: fn(&Bytes) -> Result<Vec<Message>, MessageError>,
) -> Result<(Bytes, Vec<Message>), MessageError> {
    let messages = parse(&text)?;
    if memchr2(b'\n', b'\r', &text).is_none() {
        return Ok((text, messages));
    }

    drop(messages);
    let line = to_single_line(text);
    let messages = parse(&line)?;
    Ok((line, messages))
}

fn to_single_line(text: Bytes) -> Bytes {
    let mut line = BytesMut::from(&text[..]);
    for byte in line.iter_mut() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    with_memory_of(text, line.freeze())
}

fn with_memory_of(original: Bytes, rewritten: Bytes) -> Bytes {
    if original.len() <= UNCOUNTED_BYTES {
        rewritten
    } else {
        held_with(rewritten, original)
    }
}

#[cfg(test)]
mod tests {
    use llamapool_mcp::{parse_messages, parse_messages_tolerant};
    use proptest::prelude::*;

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
        let text = "{\r\n\t\"jsonrpc\": \"2.0\",\n\"method\": \"a\\nb\"\r}\n";
        let (line, messages) = parse_as_line(text.into(), parse_messages).unwrap();

        assert_eq!(line, "{  \t\"jsonrpc\": \"2.0\", \"method\": \"a\\nb\" } ");
        assert_eq!(messages[0].text, line);
        assert_eq!(messages[0].method(), "a\nb");
    }

    #[test]
    fn a_line_end_inside_a_string_is_no_json() {
        for parse in [parse_messages, parse_messages_tolerant] {
            for end in ["\n", "\r"] {
                let text = format!(r#"{{"jsonrpc":"2.0","method":"a{end}b"}}"#);
                assert!(parse_as_line(text.into(), parse).is_err());
            }
        }
    }

    proptest! {
        /// What stands between the replaced spans stays byte for byte.
        #[test]
        fn replacing_spans_keeps_all_other_bytes(
            pieces in proptest::collection::vec(("[a-z]{0,5}", "[A-Z]{0,5}", "[0-9]{0,5}"), 0..8),
            reversed: bool,
        ) {
            let mut text = String::new();
            let mut expected = String::new();
            let mut changes = Vec::new();
            for (kept, old, new) in &pieces {
                text.push_str(kept);
                let start = text.len();
                text.push_str(old);
                changes.push((start..text.len(), Bytes::from(new.clone())));
                expected.push_str(kept);
                expected.push_str(new);
            }
            changes.retain(|(span, _)| !span.is_empty());
            prop_assume!(changes.len() == pieces.len());
            if reversed {
                changes.reverse();
            }

            prop_assert_eq!(replace_spans(&Bytes::from(text), changes), expected);
        }

        /// Only line ends outside of strings are replaced, each by one space.
        #[test]
        fn joining_lines_keeps_all_other_bytes(ends in proptest::collection::vec("[ \t\r\n]{0,3}", 4), value in r#"([a-zäß ]|\\[nrt"\\])*"#) {
            let [a, b, c, d] = &ends[..] else { unreachable!() };
            let text = format!(r#"{{{a}"jsonrpc":{b}"2.0",{c}"method":"{value}"{d}}}"#);
            let (line, messages) = parse_as_line(text.clone().into(), parse_messages).unwrap();

            prop_assert_eq!(line, text.replace(['\r', '\n'], " "));
            prop_assert_eq!(messages.len(), 1);
        }
    }
}
