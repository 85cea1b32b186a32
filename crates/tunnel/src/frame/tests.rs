//! Golden bytes, a round trip at every cut, and input that is no frame.

use proptest::prelude::*;

use super::*;

#[test]
fn every_frame_has_the_bytes_of_the_table() {
    let hello = Hello {
        window: 0x0008_0000,
        max_streams: 0x1000,
        max_header_bytes: 0x0001_0000,
    };
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let table: [(Frame, &[u8]); 10] = [
        (
            Frame::Hello(hello),
            b"\x01\0\0\0\0\0\0\0\x0d\x01\0\x08\0\0\0\0\x10\0\0\x01\0\0",
        ),
        (
            Frame::Head {
                stream: 7,
                head: bytes("head"),
                ends: false,
            },
            b"\x02\0\0\0\x07\0\0\0\x04head",
        ),
        (
            Frame::Head {
                stream: 7,
                head: bytes("head"),
                ends: true,
            },
            b"\x82\0\0\0\x07\0\0\0\x04head",
        ),
        (
            Frame::Data {
                stream: 0x0102_0304,
                data: bytes("data"),
                ends: false,
            },
            b"\x03\x01\x02\x03\x04\0\0\0\x04data",
        ),
        (
            Frame::Data {
                stream: 7,
                data: bytes(""),
                ends: true,
            },
            b"\x83\0\0\0\x07\0\0\0\0",
        ),
        (Frame::Abort { stream: 7 }, b"\x04\0\0\0\x07\0\0\0\0"),
        (Frame::Enough { stream: 7 }, b"\x05\0\0\0\x07\0\0\0\0"),
        (
            Frame::Cancel {
                stream: 7,
                why: CancelReason::HeadTooLarge,
            },
            b"\x06\0\0\0\x07\0\0\0\x01\x03",
        ),
        (
            Frame::Room {
                stream: 7,
                bytes: 0x0004_0000,
            },
            b"\x07\0\0\0\x07\0\0\0\x04\0\x04\0\0",
        ),
        (Frame::Drain, b"\x08\0\0\0\0\0\0\0\0"),
    ];
    for (frame, golden) in table {
        let mut bytes = BytesMut::new();
        frame.put(&mut bytes);
        assert_eq!(&bytes[..], golden, "{frame:?}");
        assert_eq!(decoded(&[golden]), Ok(vec![frame]));
    }
}

#[test]
fn every_reason_comes_back_and_an_unknown_one_gives_up() {
    for why in [
        CancelReason::CallerLeft,
        CancelReason::NotBegun,
        CancelReason::GivenUp,
        CancelReason::HeadTooLarge,
        CancelReason::Malformed,
    ] {
        assert_eq!(CancelReason::from_code(why.code()), why);
    }
    assert_eq!(CancelReason::from_code(200), CancelReason::GivenUp);
}

#[test]
fn what_is_no_frame_is_refused_by_name() {
    let refused = |bytes: &[u8]| decoded(&[bytes]).unwrap_err().to_string();
    assert_eq!(
        refused(b"\x09\0\0\0\0\0\0\0\0"),
        "a frame of kind 9, expected 1 to 8"
    );
    assert_eq!(
        refused(b"\x00\0\0\0\0\0\0\0\0"),
        "a frame of kind 0, expected 1 to 8"
    );
    assert_eq!(
        refused(b"\x84\0\0\0\x01\0\0\0\0"),
        "a frame of kind 132, expected 1 to 8"
    );
    assert_eq!(
        refused(b"\x01\0\0\0\0\0\0\0\x0d\x02\0\0\0\0\0\0\0\0\0\0\0\0"),
        "a hello of version 2, expected 1"
    );
    for (bytes, expected) in [
        (
            &b"\x01\0\0\0\0\0\0\0\x01x"[..],
            "kind 1 with 1 bytes, expected 13",
        ),
        (
            b"\x04\0\0\0\x01\0\0\0\x01x",
            "kind 4 with 1 bytes, expected 0",
        ),
        (b"\x06\0\0\0\x01\0\0\0\0", "kind 6 with 0 bytes, expected 1"),
        (
            b"\x07\0\0\0\x01\0\0\0\x05xxxxx",
            "kind 7 with 5 bytes, expected 4",
        ),
        (
            b"\x08\0\0\0\0\0\0\0\x01x",
            "kind 8 with 1 bytes, expected 0",
        ),
        (
            b"\x03\0\0\0\x01\0\0\x04\x01",
            "kind 3 with 1025 bytes, expected no more than",
        ),
    ] {
        assert!(refused(bytes).contains(expected), "{}", refused(bytes));
    }
}

#[test]
fn a_frame_in_the_smallest_pieces_is_copied_once() {
    let mut bytes = BytesMut::new();
    put_data(&mut bytes, 1, &[7; 1000], true);
    let mut decoder = Decoder::new(1024);
    for byte in &bytes[..bytes.len() - 1] {
        decoder.push(Bytes::copy_from_slice(&[*byte]));
        let is_looked_at = !decoder.whole.is_empty();
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(
            is_looked_at,
            decoder.begun.len() == 1 || decoder.begun.len() == PRELUDE_BYTES
        );
    }
    decoder.push(bytes.split_off(bytes.len() - 1).freeze());
    assert_eq!(
        decoder.next(),
        Ok(Some(Frame::Data {
            stream: 1,
            data: Bytes::from(vec![7; 1000]),
            ends: true
        }))
    );
}

#[test]
fn most_of_a_message_is_not_copied_and_a_little_does_not_keep_it() {
    for (pieces, keeps) in [
        (&[20_000, 8000][..], true),
        (&[8000, 20_000], true),
        (&[9000, 9000, 9000], false),
    ] {
        let mut bytes = BytesMut::new();
        pieces
            .iter()
            .for_each(|&length| put_data(&mut bytes, 1, &vec![7; length], false));
        let message = bytes.freeze();
        let mut decoder = Decoder::new(20_000);
        decoder.push(message.clone());
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = decoder.next() {
            frames.push(frame);
        }
        assert_eq!(frames.len(), pieces.len());
        drop(decoder);
        assert_eq!(!message.is_unique(), keeps, "{pieces:?}");
        frames.retain(|frame| matches!(frame, Frame::Data { data, .. } if data.len() < 10_000));
        assert!(message.is_unique(), "a little keeps nothing");
    }
}

proptest! {
    #[test]
    fn frames_come_back_wherever_they_are_cut(
        frames in proptest::collection::vec(frame(), 1..12),
        cuts in proptest::collection::vec(1..40_usize, 0..60),
    ) {
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| frame.put(&mut bytes));
        let mut pieces: Vec<Bytes> = Vec::new();
        for cut in cuts {
            pieces.push(bytes.split_to(cut.min(bytes.len())).freeze());
        }
        pieces.push(bytes.freeze());
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
        prop_assert_eq!(decoded(&pieces), Ok(frames));
    }

    #[test]
    fn whatever_comes_is_frames_or_an_error(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
        let _ = decoded(&pieces);
    }
}

fn decoded(pieces: &[&[u8]]) -> Result<Vec<Frame>, NoFrame> {
    let mut decoder = Decoder::new(1024);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn frame() -> impl Strategy<Value = Frame> {
    let content = || proptest::collection::vec(any::<u8>(), 0..80).prop_map(Bytes::from);
    let why = prop::sample::select(vec![
        CancelReason::CallerLeft,
        CancelReason::NotBegun,
        CancelReason::GivenUp,
        CancelReason::HeadTooLarge,
        CancelReason::Malformed,
    ]);
    prop_oneof![
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(window, max_streams, max_header_bytes)| Frame::Hello(Hello {
                window,
                max_streams,
                max_header_bytes
            })
        ),
        (any::<u32>(), content(), any::<bool>()).prop_map(|(stream, head, ends)| Frame::Head {
            stream,
            head,
            ends
        }),
        (any::<u32>(), content(), any::<bool>()).prop_map(|(stream, data, ends)| Frame::Data {
            stream,
            data,
            ends
        }),
        any::<u32>().prop_map(|stream| Frame::Abort { stream }),
        any::<u32>().prop_map(|stream| Frame::Enough { stream }),
        (any::<u32>(), why).prop_map(|(stream, why)| Frame::Cancel { stream, why }),
        (any::<u32>(), any::<u32>()).prop_map(|(stream, bytes)| Frame::Room { stream, bytes }),
        Just(Frame::Drain),
    ]
}
