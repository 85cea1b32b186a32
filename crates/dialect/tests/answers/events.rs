//! Streams as events, by WHATWG HTML 9.2 and line by line.

use bytes::Bytes;
use llamapool_dialect::{EventReader, EventTooLargeError, Framing, RawEvent};

use crate::streams::{MAX_BYTES, events_of_pieces};

/// Returns the names and data of the events that have any.
fn read(framing: Framing, pieces: &[&[u8]]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let events = events_of_pieces(framing, pieces).into_iter();
    events
        .filter(|event| !event.data.is_empty())
        .map(|event| {
            (
                text(event.name.as_deref().unwrap_or_default()),
                text(&event.data),
            )
        })
        .collect()
}

fn sse(stream: &str) -> Vec<(String, String)> {
    read(Framing::Sse, &[stream.as_bytes()])
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, data): &(&str, &str)| ((*name).to_owned(), (*data).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn fields_are_read_as_whatwg_says() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("data: a\n\n", &[("", "a")]),
        ("data:a\n\n", &[("", "a")]),
        ("data:  a \n\n", &[("", " a ")]),
        ("data: a\r\n\r\n", &[("", "a")]),
        ("data: a\r\r", &[("", "a")]),
        ("data: a\r\n\n", &[("", "a")]),
        ("data: a\ndata: b\n\n", &[("", "a\nb")]),
        ("data: a\ndata:\ndata\ndata: d\n\n", &[("", "a\n\n\nd")]),
        ("event: x\ndata: a\n\n", &[("x", "a")]),
        ("data: a\nevent:x\n\ndata: b\n\n", &[("x", "a"), ("", "b")]),
        ("event: x\nevent: y\ndata: a\n\n", &[("y", "a")]),
        ("event:\ndata: a\n\n", &[("", "a")]),
        ("event: x\n\ndata: a\n\n", &[("", "a")]),
        (": c\ndata: a\n: d\n\n: e\n\n", &[("", "a")]),
        ("id: 7\nretry: 3\nfoo: x\nbar\ndata: a\n\n", &[("", "a")]),
        ("Data: a\n data: b\n\n", &[]),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &[("", "a")]),
        ("\n\u{feff}data: a\n\n", &[]),
        ("\n\n\ndata: a\n\n\n\n", &[("", "a")]),
        ("data: a:b: c\n\n", &[("", "a:b: c")]),
        ("data: a\n\ndata: [DONE]", &[("", "a"), ("", "[DONE]")]),
        ("data: a\n\ndata: [DONE]\n", &[("", "a"), ("", "[DONE]")]),
        ("data: a\n\n: c", &[("", "a")]),
        ("", &[]),
    ];
    for (stream, expected) in cases {
        assert_eq!(sse(stream), pairs(expected), "{stream:?}");
    }
}

#[test]
fn events_are_the_same_and_all_bytes_at_every_cut() {
    let streams = [
        "data:{\"a\":1}\r\n\r\n: c\r\n\r\nevent: x\r\ndata: b\r\ndata: c\r\n\r\ndata:[DONE]",
        "data: a\r\rdata: b\r\r\revent: y\r: c\rdata: c\r\r",
        "data: ä€😀\n\n\n: c\n\ndata: b\n\r\ndata: c\r\n\rdata: d\n\n",
        "\u{feff}: c\ndata: a\n\nid: 1\n\ndata: b",
    ];
    for stream in streams {
        let bytes = stream.as_bytes();
        let whole = sse(stream);
        assert!(whole.len() > 1);

        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let raw: Vec<RawEvent> = events_of_pieces(Framing::Sse, &pieces);

                let raw: Vec<u8> = raw.iter().flat_map(|event| event.raw.to_vec()).collect();
                assert_eq!(raw, bytes, "{stream:?} at {first}, {second}");
                assert_eq!(
                    read(Framing::Sse, &pieces),
                    whole,
                    "{stream:?} at {first}, {second}"
                );
            }
        }
    }
}

#[test]
fn lines_are_events_without_white_space_around() {
    let stream = "{\"a\":1}\n   {\"b\":2}\r\n\n \n{\"c\":3}";
    let expected = pairs(&[("", "{\"a\":1}"), ("", "{\"b\":2}"), ("", "{\"c\":3}")]);

    for cut in 0..=stream.len() {
        let pieces = [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]];
        let events = events_of_pieces(Framing::Lines, &pieces);

        let raw: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
        assert_eq!(raw, stream.as_bytes(), "at {cut}");
        assert_eq!(read(Framing::Lines, &pieces), expected, "at {cut}");
    }
}

#[test]
fn an_event_comes_with_its_last_byte_and_not_before() {
    for (framing, stream) in [
        (Framing::Sse, "data: a\n\n"),
        (Framing::Sse, "data: a\r\r"),
        (Framing::Sse, "data: a\r\n\r"),
        (Framing::Sse, ": ping\n"),
        (Framing::Lines, "{}\n"),
    ] {
        let mut reader = EventReader::new(framing, MAX_BYTES);
        let (last, begin) = stream.as_bytes().split_last().unwrap();

        reader.push(Bytes::copy_from_slice(begin)).unwrap();
        assert_eq!(reader.next(), None, "{stream:?}");
        reader.push(Bytes::copy_from_slice(&[*last])).unwrap();

        let event = reader.next().unwrap();
        assert_eq!(event.raw, stream, "{stream:?}");
        assert_eq!(reader.next(), None);
    }
}

#[test]
fn an_event_may_have_just_its_bound() {
    for piece in [1, 3, 100] {
        let mut reader = EventReader::new(Framing::Sse, 10);
        for piece in b"data: aa\n\ndata: bb\n\n".chunks(piece) {
            reader.push(Bytes::copy_from_slice(piece)).unwrap();
        }
        assert_eq!(reader.next().unwrap().data, "aa");
        assert_eq!(reader.next().unwrap().data, "bb");
    }
}

#[test]
fn a_larger_event_is_an_error_from_then_on() {
    let streams: [&[u8]; 3] = [
        b"data: aa\n\ndata: bbb\n\ndata: c\n\n",
        b"data: aa\n\ndata: bbbbbbbbbbbb",
        b"data: aa\n\ndata:\ndata:\ndata:\ndata:\n\n",
    ];
    for stream in streams {
        for piece in [1, 7, 100] {
            let mut reader = EventReader::new(Framing::Sse, 10);
            let pushed: Vec<_> = stream
                .chunks(piece)
                .map(|piece| reader.push(Bytes::copy_from_slice(piece)))
                .collect();

            assert_eq!(pushed.last(), Some(&Err(EventTooLargeError { max: 10 })));
            assert!(reader.push(Bytes::from_static(b"data: d\n\n")).is_err());
            assert_eq!(reader.next().unwrap().data, "aa");
            assert_eq!(reader.finish(), None);
        }
    }
}

#[test]
fn only_types_of_streams_have_a_framing() {
    let cases = [
        ("text/event-stream", Some(Framing::Sse)),
        ("Text/Event-Stream; charset=utf-8", Some(Framing::Sse)),
        (" text/event-stream ;x", Some(Framing::Sse)),
        ("application/x-ndjson", Some(Framing::Lines)),
        ("application/ndjson;charset=utf-8", Some(Framing::Lines)),
        ("application/jsonl", Some(Framing::Lines)),
        ("application/json", None),
        ("text/event-stream-2", None),
        ("", None),
    ];
    for (content_type, expected) in cases {
        assert_eq!(Framing::of(content_type), expected, "{content_type:?}");
    }
}
