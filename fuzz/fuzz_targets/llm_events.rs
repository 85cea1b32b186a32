//! Streams of LLM runtimes as events. The first byte chooses the framing, the second one the size of
//! the pieces: all bytes are kept, no event is larger than its bound, and cuts change nothing, neither
//! into pieces of a size nor in two at any place of a short stream.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llamapool_dialect::{EventReader, Framing, RawEvent};

const MAX_EVENT_BYTES: usize = 8192;
/// The longest stream that is cut at every byte.
const MAX_CUT_EVERYWHERE: usize = 128;

fuzz_target!(|data: &[u8]| {
    let [framing, size, stream @ ..] = data else {
        return;
    };
    let framing = match framing % 2 {
        0 => Framing::Sse,
        _ => Framing::Lines,
    };

    let whole = events(framing, stream, stream.len().max(1));
    let cut = events(framing, stream, usize::from(*size).max(1));
    for events in [&whole, &cut] {
        let raw: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
        assert_eq!(raw, stream, "every byte is kept");
        for event in events {
            assert!(event.raw.len() <= MAX_EVENT_BYTES);
        }
    }
    assert_eq!(contents(&whole), contents(&cut), "cuts change nothing");
    if stream.len() <= MAX_CUT_EVERYWHERE {
        for at in 0..stream.len() {
            let (start, end) = stream.split_at(at);
            let cut = events_of(framing, [start, end].into_iter());
            assert_eq!(
                contents(&whole),
                contents(&cut),
                "a cut at {at} changes nothing"
            );
        }
    }
});

fn events(framing: Framing, stream: &[u8], size: usize) -> Vec<RawEvent> {
    events_of(framing, stream.chunks(size))
}

fn events_of<'a>(framing: Framing, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<RawEvent> {
    let mut reader = EventReader::new(framing, MAX_EVENT_BYTES);
    let mut events = Vec::new();
    for piece in pieces {
        // The inputs are shorter than the bound.
        assert!(reader.push(Bytes::copy_from_slice(piece)).is_ok());
        events.extend(std::iter::from_fn(|| reader.next()));
    }
    events.extend(std::iter::from_fn(|| reader.finish()));
    events
}

fn contents(events: &[RawEvent]) -> Vec<(Option<&[u8]>, &[u8])> {
    let with_data = events.iter().filter(|event| !event.data.is_empty());
    with_data
        .map(|event| (event.name.as_deref(), &*event.data))
        .collect()
}
