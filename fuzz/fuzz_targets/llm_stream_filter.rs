//! What llamapool had asked for is taken out of a stream. The first byte chooses what: what is left
//! are bytes of the stream in their order, a chunk stays JSON, and nothing more goes a second time.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llamapool_dialect::{Endpoint, EventReader, Framing, RawEvent, StreamFilter};
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    let [choice, stream @ ..] = data else {
        return;
    };
    let filter = StreamFilter {
        strip_usage: choice & 1 != 0,
        strip_progress: choice & 2 != 0,
    };

    for (place, event) in events(stream).into_iter().enumerate() {
        let is_json = serde_json::from_slice::<&RawValue>(&event.data).is_ok();
        let Some(left) = filter.apply(Endpoint::ChatCompletions, event.clone()) else {
            continue;
        };

        let mut raw = event.raw.iter();
        assert!(left.iter().all(|byte| raw.any(|other| other == byte)));
        let with_data = |event: &RawEvent| !event.data.is_empty();
        // A mark of the byte order counts at a stream's start alone: elsewhere, an empty line goes before it.
        let before: &[u8] = if place == 0 { b"" } else { b"\n" };
        let left = [before, &left].concat();
        let Some(again) = events(&left).into_iter().find(with_data) else {
            continue;
        };
        if is_json {
            let json = serde_json::from_slice::<&RawValue>(&again.data);
            assert!(json.is_ok(), "a chunk stays JSON");
            let kept = again.raw.clone();
            assert_eq!(filter.apply(Endpoint::ChatCompletions, again), Some(kept));
        }
    }
});

fn events(stream: &[u8]) -> Vec<RawEvent> {
    let mut reader = EventReader::new(Framing::Sse, 1 << 16);
    let _ = reader.push(Bytes::copy_from_slice(stream));
    std::iter::from_fn(|| reader.finish()).collect()
}
