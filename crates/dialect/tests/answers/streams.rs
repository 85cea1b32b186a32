//! Streams for the other tests: made of lines, cut into pieces, read to their end.

use bytes::Bytes;
use llamapool_dialect::{
    AssembleError, Assembler, Endpoint, EventMeaning, EventReader, Framing, RawEvent, StreamReader,
};
use serde_json::Value;

/// No event and no answer of a test is larger.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Returns the framing of an endpoint's streams.
pub(crate) fn framing(endpoint: Endpoint) -> Framing {
    match endpoint {
        Endpoint::OllamaChat | Endpoint::OllamaGenerate => Framing::Lines,
        _ => Framing::Sse,
    }
}

/// Returns a stream with one event for each text.
pub(crate) fn stream(endpoint: Endpoint, data: &[&str]) -> String {
    let event = |data: &&str| match framing(endpoint) {
        Framing::Sse => format!("data: {data}\n\n"),
        Framing::Lines => format!("{data}\n"),
    };
    data.iter().map(event).collect()
}

/// Returns the events of a stream that arrives in these pieces.
pub(crate) fn events_of_pieces(framing: Framing, pieces: &[&[u8]]) -> Vec<RawEvent> {
    let mut reader = EventReader::new(framing, MAX_BYTES);
    let mut events = Vec::new();
    for piece in pieces {
        reader.push(Bytes::copy_from_slice(piece)).unwrap();
        while let Some(event) = reader.next() {
            events.push(event);
        }
    }
    while let Some(event) = reader.finish() {
        events.push(event);
    }
    events
}

/// Returns the events of a stream.
pub(crate) fn events(endpoint: Endpoint, stream: &str) -> Vec<RawEvent> {
    events_of_pieces(framing(endpoint), &[stream.as_bytes()])
}

/// Returns the answer of a stream that ends as it should.
pub(crate) fn assemble(endpoint: Endpoint, data: &[&str]) -> Result<Value, AssembleError> {
    assemble_events(endpoint, &events(endpoint, &stream(endpoint, data)), true)
}

/// Returns the answer of events.
pub(crate) fn assemble_events(
    endpoint: Endpoint,
    events: &[RawEvent],
    ended_orderly: bool,
) -> Result<Value, AssembleError> {
    let mut assembler = Assembler::new(endpoint, MAX_BYTES).unwrap();
    for event in events {
        assembler.event(event)?;
    }
    let answer = assembler.finish(ended_orderly)?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

/// Returns a reader after all events of a stream, and what they were.
pub(crate) fn read(endpoint: Endpoint, data: &[&str]) -> (StreamReader, Vec<EventMeaning>) {
    let mut reader = StreamReader::new(endpoint);
    let events = events(endpoint, &stream(endpoint, data));
    let meanings = events.iter().map(|event| reader.event(event)).collect();
    (reader, meanings)
}
