//! Ollama's API made of OpenAI's. The first line chooses: `chat`, `generate` and `embed` read a request,
//! whose translation is read again; other inputs are a stream, and an answer, of a runtime. What is made
//! is JSON, on one line each.

#![no_main]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llamapool_dialect::{
    AnswerTimes, AnswerTranslator, Endpoint, EventReader, Framing, RequestError, RuntimeExtensions,
    StreamReader, read_request, translate_request,
};
use serde_json::value::RawValue;

const MAX_EVENT_BYTES: usize = 8192;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n');
    let Some(end) = end else {
        return;
    };
    let rest = &data[end + 1..];
    match &data[..end] {
        b"chat" => request(Endpoint::OllamaChat, rest),
        b"generate" => request(Endpoint::OllamaGenerate, rest),
        b"embed" => request(Endpoint::OllamaEmbed, rest),
        _ => {
            stream(rest);
            answer(rest);
        }
    }
});

fn request(endpoint: Endpoint, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    if read_request(endpoint, None, &body).is_err() {
        return;
    }
    for repeat_penalty in [None, Some("repeat_penalty")] {
        let extensions = RuntimeExtensions {
            repeat_penalty,
            template_arguments: repeat_penalty.is_some(),
        };
        if let Ok(translated) = translate_request(endpoint, &body, &extensions) {
            let again = read_request(translated.endpoint, None, &translated.body);
            // Some objects of it are nested one level deeper.
            assert!(
                matches!(again, Ok(_) | Err(RequestError::TooDeep)),
                "{again:?}"
            );
        }
    }
}

fn stream(stream: &[u8]) {
    let mut answer = translator(Endpoint::OllamaChat, r#"{"messages":[{"role":"user"}]}"#).stream();
    let mut reader = StreamReader::new(Endpoint::ChatCompletions);
    let mut events = EventReader::new(Framing::Sse, MAX_EVENT_BYTES);
    // The inputs are shorter than the bound.
    assert!(events.push(Bytes::copy_from_slice(stream)).is_ok());

    let mut lines = Vec::new();
    while let Some(event) = events.next() {
        reader.event(&event);
        match answer.event(&event, times()) {
            Ok(made) => lines.extend_from_slice(&made),
            Err(_) => break,
        }
    }
    if let Ok(made) = answer.end(&reader.usage(), times()) {
        lines.extend_from_slice(&made);
    }
    let lines = lines.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).for_each(is_json);
}

fn answer(body: &[u8]) {
    let chat = translator(Endpoint::OllamaChat, r#"{"messages":[{"role":"user"}]}"#);
    let embed = translator(Endpoint::OllamaEmbed, r#"{"input":"a"}"#);
    for (answer, endpoint) in [
        (chat, Endpoint::ChatCompletions),
        (embed, Endpoint::Embeddings),
    ] {
        if let Ok(made) = answer.whole(endpoint, body, times()) {
            is_json(&made);
        }
    }
    is_json(&AnswerTranslator::error(body));
}

fn translator(endpoint: Endpoint, request: &str) -> AnswerTranslator {
    let translated = translate_request(endpoint, request.as_bytes(), &RuntimeExtensions::default());
    translated.expect("a request").answer
}

fn times() -> AnswerTimes {
    AnswerTimes {
        at: SystemTime::UNIX_EPOCH,
        elapsed: Duration::from_millis(1),
    }
}

fn is_json(made: &[u8]) {
    let read = serde_json::from_slice::<&RawValue>(made);
    assert!(read.is_ok(), "{}", String::from_utf8_lossy(made));
}
