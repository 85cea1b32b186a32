//! The checks of the fuzz targets in `fuzz/`, which need the frames and heads of this crate.
//!
//! Compiled for tests and with the feature `fuzzing` alone; not a part of the interface.

use bytes::{Bytes, BytesMut};

use crate::frame::{
    Decoder, Frame, FrameError, read_request, read_response, write_request, write_response,
};

pub use crate::socket::fuzzing::websocket_messages;

/// The bound of a frame's content, in bytes: small, so that short inputs exceed it.
const MAX_CONTENT: usize = 1024;

/// Checks that frames do not depend on how their bytes are cut, and survive encoding.
pub fn frames(bytes: &[u8]) {
    let (frames, error) = decode([bytes]);

    let in_pieces = [1, 10, 100].map(|size| decode(bytes.chunks(size)));
    for pieces in in_pieces {
        assert_eq!(pieces, (frames.clone(), error.clone()));
    }

    let mut encoded = BytesMut::new();
    for frame in &frames {
        frame.encode(&mut encoded);
    }
    assert_eq!(decode([&encoded[..]]), (frames, None));
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::new(MAX_CONTENT);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Checks that a head that can be read is the same after being written and read again.
pub fn heads(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(head) = read_request(bytes.clone()) {
        let mut written = BytesMut::new();
        write_request(&head, &mut written);

        let again =
            read_request(written.freeze()).unwrap_or_else(|error| panic!("{head:?}: {error}"));

        assert_eq!(again.method, head.method);
        assert_eq!(again.uri, head.uri);
        assert!(again.fields.iter().eq(head.fields.iter()));
    }
    if let Ok(head) = read_response(bytes) {
        let mut written = BytesMut::new();
        write_response(&head, &mut written);

        let again =
            read_response(written.freeze()).unwrap_or_else(|error| panic!("{head:?}: {error}"));

        assert_eq!(again.status, head.status);
        assert!(again.fields.iter().eq(head.fields.iter()));
    }
}
