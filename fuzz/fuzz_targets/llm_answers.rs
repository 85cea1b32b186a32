//! Answers of LLM runtimes. The first byte chooses the endpoint: reading and assembly never panic,
//! what is assembled is JSON, and only what the reader calls whole is assembled.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llamapool_dialect::{
    Assembler, Endpoint, EventReader, Framing, StreamReader, read_answer, usage_of_answer,
};
use serde_json::value::RawValue;

const MAX_BYTES: usize = 1 << 16;
const ENDPOINTS: [Endpoint; 8] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::Messages,
    Endpoint::OllamaChat,
    Endpoint::OllamaGenerate,
    Endpoint::Embeddings,
    Endpoint::Transcriptions,
];

fuzz_target!(|data: &[u8]| {
    let [endpoint, stream @ ..] = data else {
        return;
    };
    let endpoint = ENDPOINTS[usize::from(*endpoint) % ENDPOINTS.len()];
    let framing = match endpoint {
        Endpoint::OllamaChat | Endpoint::OllamaGenerate => Framing::Lines,
        _ => Framing::Sse,
    };

    let mut events = EventReader::new(framing, MAX_BYTES);
    let _ = events.push(Bytes::copy_from_slice(stream));
    let mut reader = StreamReader::new(endpoint);
    let mut assembler = Assembler::new(endpoint, MAX_BYTES);
    while let Some(event) = events.finish() {
        reader.event(&event);
        if assembler
            .as_mut()
            .is_some_and(|assembler| assembler.event(&event).is_err())
        {
            assembler = None;
        }
    }

    if let Some(Ok(answer)) = assembler.map(|assembler| assembler.finish(true)) {
        let json = serde_json::from_slice::<&RawValue>(&answer);
        assert!(json.is_ok(), "what is assembled is JSON");
        assert!(reader.is_complete() || reader.has_failed());
    }
    let _ = (reader.usage(), reader.position());
    let _ = (
        read_answer(endpoint, stream),
        usage_of_answer(endpoint, stream),
    );
});
