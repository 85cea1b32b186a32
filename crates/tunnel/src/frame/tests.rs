//! Golden bytes, a round trip at every cut, and bytes that are no frame.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

const REASONS: [CancelReason; 5] = [
    CancelReason::CallerLeft,
    CancelReason::NotBegun,
    CancelReason::GivenUp,
    CancelReason::HeadTooLarge,
    CancelReason::Malformed,
];

#[test]
fn every_frame_has_the_bytes_of_the_table() {
    let hello = Hello {
        window: 0x0008_0000,
        max_streams: 0x1000,
        max_header_bytes: 0x0001_0000,
    };
    let head = |is_last| Frame::Head {
        stream: 7,
        head: Bytes::from_static(b"head"),
        is_last,
    };
    let data = |stream, data: &'static [u8], is_last| Frame::Data {
        stream,
        data: Bytes::from_static(data),
        is_last,
    };
    let cancel = Frame::Cancel {
        stream: 7,
        reason: CancelReason::HeadTooLarge,
    };
    let window_update = Frame::WindowUpdate {
        stream: 7,
        bytes: 0x0004_0000,
    };
    let table: [(Frame, &[u8]); 10] = [
        (
            Frame::Hello(hello),
            b"\x01\0\0\0\0\0\0\0\x0d\x01\0\x08\0\0\0\0\x10\0\0\x01\0\0",
        ),
        (head(false), b"\x02\0\0\0\x07\0\0\0\x04head"),
        (head(true), b"\x82\0\0\0\x07\0\0\0\x04head"),
        (
            data(0x0102_0304, b"data", false),
            b"\x03\x01\x02\x03\x04\0\0\0\x04data",
        ),
        (data(7, b"", true), b"\x83\0\0\0\x07\0\0\0\0"),
        (Frame::Abort { stream: 7 }, b"\x04\0\0\0\x07\0\0\0\0"),
        (Frame::StopSending { stream: 7 }, b"\x05\0\0\0\x07\0\0\0\0"),
        (cancel, b"\x06\0\0\0\x07\0\0\0\x01\x03"),
        (window_update, b"\x07\0\0\0\x07\0\0\0\x04\0\x04\0\0"),
        (Frame::Drain, b"\x08\0\0\0\0\0\0\0\0"),
    ];

    for (frame, golden) in table {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);

        assert_eq!(&bytes[..], golden, "{frame:?}");
        assert_eq!(decode(&[golden]), Ok(vec![frame]));
    }
}

#[test]
fn reasons_survive_a_round_trip() {
    for reason in REASONS {
        let mut bytes = BytesMut::new();
        let cancel = Frame::Cancel { stream: 7, reason };
        cancel.encode(&mut bytes);

        assert_eq!(decode(&[&bytes]), Ok(vec![cancel]));
    }
}

#[test]
fn an_unknown_reason_counts_as_given_up() {
    let decoded = decode(&[b"\x06\0\0\0\x07\0\0\0\x01\xc8"]);

    let given_up = Frame::Cancel {
        stream: 7,
        reason: CancelReason::GivenUp,
    };
    assert_eq!(decoded, Ok(vec![given_up]));
}

#[test]
fn bytes_that_are_no_frame_are_refused_by_name() {
    let table: [(&[u8], &str); 4] = [
        (
            b"\x09\0\0\0\0\0\0\0\0",
            "a frame of kind 9, expected 1 to 8",
        ),
        (
            b"\x00\0\0\0\0\0\0\0\0",
            "a frame of kind 0, expected 1 to 8",
        ),
        (
            b"\x84\0\0\0\x01\0\0\0\0",
            "a frame of kind 132, expected 1 to 8",
        ),
        (
            b"\x01\0\0\0\0\0\0\0\x0d\x02\0\0\0\0\0\0\0\0\0\0\0\0",
            "a hello of version 2, expected 1",
        ),
    ];

    for (bytes, expected) in table {
        assert_eq!(decode(&[bytes]).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_wrong_length_is_refused_by_name() {
    let table: [(&[u8], &str); 6] = [
        (
            b"\x01\0\0\0\0\0\0\0\x01x",
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
    ];

    for (bytes, expected) in table {
        let error = decode(&[bytes]).unwrap_err().to_string();

        assert!(error.contains(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn frames_survive_every_cut(
        frames in proptest::collection::vec(frame(), 1..12),
        cuts in proptest::collection::vec(1..40_usize, 0..60),
    ) {
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));

        let mut pieces: Vec<Bytes> = Vec::new();
        for cut in cuts {
            pieces.push(bytes.split_to(cut.min(bytes.len())).freeze());
        }
        pieces.push(bytes.freeze());

        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
        prop_assert_eq!(decode(&pieces), Ok(frames));
    }

    #[test]
    fn random_bytes_are_frames_or_an_error(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
    ) {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
        let _ = decode(&pieces);
    }
}

fn decode(pieces: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
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
    let stream = any::<u32>;
    let content = || proptest::collection::vec(any::<u8>(), 0..80).prop_map(Bytes::from);
    let hello = (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(window, max_streams, max_header_bytes)| {
            Frame::Hello(Hello {
                window,
                max_streams,
                max_header_bytes,
            })
        },
    );
    let head =
        (stream(), content(), any::<bool>()).prop_map(|(stream, head, is_last)| Frame::Head {
            stream,
            head,
            is_last,
        });
    let data =
        (stream(), content(), any::<bool>()).prop_map(|(stream, data, is_last)| Frame::Data {
            stream,
            data,
            is_last,
        });
    let cancel = (stream(), prop::sample::select(REASONS.to_vec()))
        .prop_map(|(stream, reason)| Frame::Cancel { stream, reason });
    let window_update =
        (stream(), any::<u32>()).prop_map(|(stream, bytes)| Frame::WindowUpdate { stream, bytes });

    prop_oneof![
        hello,
        head,
        data,
        stream().prop_map(|stream| Frame::Abort { stream }),
        stream().prop_map(|stream| Frame::StopSending { stream }),
        cancel,
        window_update,
        Just(Frame::Drain),
    ]
}
