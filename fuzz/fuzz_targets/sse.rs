//! Event streams: a reader finds the same events however the bytes are cut, and data that is
//! written as an event is read as one.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use llamapool_http::sse::{EventReader, write_event};

const MAX_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let whole = read([data]);

    assert_eq!(read(data.chunks(1)), whole, "one byte at a time");
    assert_eq!(read(data.chunks(7)), whole, "seven bytes at a time");
    assert!(llamapool_http::sse::lines(data).all(|line| line.end <= data.len()));

    let is_one_line = !data.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
    if is_one_line && !data.is_empty() {
        let mut written = BytesMut::new();
        write_event(&mut written, data);

        assert_eq!(read([&written[..]]), [data]);
    }
});

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut reader = EventReader::new(MAX_BYTES);
    let mut events = Vec::new();
    for mut piece in pieces {
        while let Some(event) = reader.next_event(&mut piece).unwrap() {
            events.push(event);
        }
        assert!(piece.is_empty());
    }
    events
}
