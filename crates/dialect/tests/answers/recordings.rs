//! Answers of a real Ollama 0.17.4, byte for byte.

use std::path::Path;

use llamapool_dialect::{
    AnswerMeaning, Assembler, CountSource, Endpoint, EventMeaning, RawEvent, StreamReader, Usage,
    read_answer, usage_of_answer,
};
use serde_json::{Value, json};

use crate::streams::{MAX_BYTES, assemble_events, events, events_of_pieces, framing};

/// The streams: their names, and those of the answers without a stream.
const STREAMS: &[(&str, Endpoint, Option<&str>)] = &[
    ("chat-stream", Endpoint::ChatCompletions, Some("chat")),
    ("chat-stream-usage", Endpoint::ChatCompletions, Some("chat")),
    (
        "completions-stream-usage",
        Endpoint::Completions,
        Some("completions"),
    ),
    ("messages-stream", Endpoint::Messages, Some("messages")),
    ("responses-stream", Endpoint::Responses, Some("responses")),
    (
        "native-chat",
        Endpoint::OllamaChat,
        Some("native-chat-whole"),
    ),
    ("native-generate", Endpoint::OllamaGenerate, None),
];

/// Returns the body of a recorded answer.
fn body(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/ollama-0.17.4")
        .join(name)
        .with_extension("http");
    let recording = std::fs::read_to_string(&path).unwrap();
    let answer = recording.split_once("\n\nHTTP/1.1 ").unwrap().1;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if head.contains("Transfer-Encoding: chunked") {
        unchunked(body.as_bytes())
    } else {
        body.as_bytes().to_vec()
    }
}

fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = std::str::from_utf8(&chunks[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
}

fn stream_events(name: &str, endpoint: Endpoint) -> Vec<RawEvent> {
    events(endpoint, std::str::from_utf8(&body(name)).unwrap())
}

/// Replaces what two answers to the same request differ in.
fn without_ids_and_times(mut answer: Value) -> Value {
    fn replace(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members.iter_mut() {
                    let is_id = name == "id" || name == "created";
                    if is_id || name.ends_with("_at") || name.ends_with("_duration") {
                        *value = json!(value.is_string());
                    }
                    replace(value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(replace),
            _ => {}
        }
    }
    replace(&mut answer);
    answer
}

#[test]
fn recorded_streams_are_their_events_at_every_cut() {
    for (name, endpoint, _) in STREAMS {
        let body = body(name);
        let whole = stream_events(name, *endpoint);
        let data: Vec<_> = whole
            .iter()
            .map(|event| (&event.name, &event.data))
            .collect();
        assert!(whole.len() > 4, "{name}");

        for cut in 0..=body.len() {
            let (left, right) = body.split_at(cut);
            let events = events_of_pieces(framing(*endpoint), &[left, right]);

            let raw: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
            assert_eq!(raw, body, "{name} cut at {cut}");
            let same: Vec<_> = events
                .iter()
                .map(|event| (&event.name, &event.data))
                .collect();
            assert_eq!(same, data, "{name} cut at {cut}");
        }
        let bytes: Vec<_> = body.chunks(1).collect();
        assert_eq!(
            events_of_pieces(framing(*endpoint), &bytes),
            whole,
            "{name}"
        );
    }
}

#[test]
fn recorded_streams_assemble_to_answers_without_one() {
    for (name, endpoint, whole) in STREAMS {
        let Some(whole) = whole else { continue };
        let mut whole: Value = serde_json::from_slice(&body(whole)).unwrap();
        if *name == "chat-stream" {
            // This one was not asked for usage.
            whole.as_object_mut().unwrap().remove("usage");
        }

        let assembled = assemble_events(*endpoint, &stream_events(name, *endpoint), true).unwrap();

        assert_eq!(
            without_ids_and_times(assembled),
            without_ids_and_times(whole),
            "{name}"
        );
    }
}

#[test]
fn a_recorded_generation_assembles_with_its_context() {
    let endpoint = Endpoint::OllamaGenerate;

    let answer = assemble_events(endpoint, &stream_events("native-generate", endpoint), true);

    let expected = json!({
        "model": "smollm2", "created_at": "2026-11-26T01:14:28.710423237Z",
        "response": "Amina's", "done": true, "done_reason": "length",
        "context": [1, 4093, 198, 2705, 2, 198, 1, 520, 9531, 198, 49, 1659, 81, 506],
        "total_duration": 936_268_658, "load_duration": 84_933_142, "prompt_eval_count": 10,
        "prompt_eval_duration": 566_591_085, "eval_count": 4, "eval_duration": 280_134_773,
    });
    assert_eq!(answer.unwrap(), expected);
}

#[test]
fn recorded_streams_are_whole_only_at_their_end() {
    for (name, endpoint, _) in STREAMS {
        let events = stream_events(name, *endpoint);
        // What an answer needs to be whole: the chunk with `finish_reason`, else the last event.
        let is_chunked = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        let has_end = |event: &RawEvent| event.data.windows(8).any(|part| part == b"\"length\"");
        let end = if is_chunked {
            events.iter().position(has_end).unwrap()
        } else {
            events.len() - 1
        };

        let mut reader = StreamReader::new(*endpoint);
        for (i, event) in events.iter().enumerate() {
            let before = assemble_events(*endpoint, &events[..i], true);
            assert_eq!(before.is_ok(), i > end, "{name} {i}: {before:?}");
            assert_eq!(reader.is_complete(), i > end, "{name} {i}");
            reader.event(event);
        }

        assert!(reader.is_complete(), "{name}");
        assert!(
            !reader.has_failed() && !reader.lacks_finish_reason(),
            "{name}"
        );
    }
}

#[test]
fn first_content_of_recorded_streams_is_their_first_text() {
    let preludes = [0, 0, 0, 1, 2, 0, 0];
    for ((name, endpoint, _), preludes) in STREAMS.iter().zip(preludes) {
        let mut reader = StreamReader::new(*endpoint);
        let mut meanings = Vec::new();
        for event in stream_events(name, *endpoint) {
            assert_eq!(reader.has_content(), meanings.len() > preludes, "{name}");
            meanings.push(reader.event(&event));
        }

        let prelude = vec![EventMeaning::Prelude; preludes];
        assert_eq!(meanings[..preludes], prelude, "{name}");
        assert_eq!(meanings[preludes], EventMeaning::Content, "{name}");
        assert_eq!(meanings.last(), Some(&EventMeaning::End), "{name}");
    }
}

#[test]
fn usage_of_recorded_streams_is_trusted() {
    let counts = |prompt, completion, source| Usage {
        prompt: Some(prompt),
        completion: Some(completion),
        source,
        ..Usage::default()
    };
    let expected = [
        Usage {
            completion: Some(6),
            source: CountSource::Events,
            ..Usage::default()
        },
        counts(12, 6, CountSource::Usage),
        counts(11, 4, CountSource::Usage),
        counts(12, 6, CountSource::Usage),
        Usage {
            cached: Some(0),
            ..counts(12, 6, CountSource::Usage)
        },
        counts(12, 4, CountSource::Timings),
        counts(10, 4, CountSource::Timings),
    ];

    for ((name, endpoint, whole), expected) in STREAMS.iter().zip(expected) {
        let mut reader = StreamReader::new(*endpoint);
        for event in stream_events(name, *endpoint) {
            reader.event(&event);
        }
        assert_eq!(reader.usage(), expected, "{name}");

        if let Some(whole) = whole.filter(|_| *name != "chat-stream") {
            assert_eq!(
                usage_of_answer(*endpoint, &body(whole)),
                expected,
                "{whole}"
            );
        }
    }
}

#[test]
fn zeros_before_the_counts_are_not_counts() {
    let mut reader = StreamReader::new(Endpoint::Completions);
    let events = stream_events("completions-stream-usage", Endpoint::Completions);

    for event in &events[..3] {
        reader.event(event);
    }

    let usage = reader.usage();
    assert_eq!((usage.prompt, usage.completion), (None, Some(3)));
    assert_eq!(usage.source, CountSource::Events);
}

#[test]
fn recorded_embeddings_are_counted() {
    let recorded = [
        ("v1-embeddings", Endpoint::Embeddings, CountSource::Usage),
        (
            "v1-embeddings-base64",
            Endpoint::Embeddings,
            CountSource::Usage,
        ),
        ("embed", Endpoint::OllamaEmbed, CountSource::Timings),
    ];
    for (name, endpoint, source) in recorded {
        let usage = usage_of_answer(endpoint, &body(name));

        let expected = Usage {
            prompt: Some(1),
            embeddings: Some(1),
            source,
            ..Usage::default()
        };
        assert_eq!(usage, expected, "{name}");
        assert_eq!(
            read_answer(endpoint, &body(name)).meaning,
            AnswerMeaning::Answer
        );
    }
}

#[test]
fn loading_and_unloading_have_no_counts() {
    for name in ["preload", "unload"] {
        let body = body(name);

        assert_eq!(
            usage_of_answer(Endpoint::OllamaGenerate, &body),
            Usage::default()
        );
        assert_eq!(
            read_answer(Endpoint::OllamaGenerate, &body).meaning,
            AnswerMeaning::Answer
        );
    }
}

#[test]
fn recorded_errors_are_errors_in_a_200_too() {
    let recorded = [
        (
            "bad-json",
            Endpoint::ChatCompletions,
            400,
            "json: cannot unmarshal string into",
        ),
        (
            "no-messages",
            Endpoint::ChatCompletions,
            400,
            "[] is too short - 'messages'",
        ),
        (
            "no-model",
            Endpoint::ChatCompletions,
            502,
            "model is required",
        ),
        (
            "tools-unsupported",
            Endpoint::ChatCompletions,
            502,
            "registry.ollama.ai/library/",
        ),
        (
            "unknown-chat",
            Endpoint::ChatCompletions,
            502,
            "model 'nope' not found",
        ),
        (
            "unknown-messages",
            Endpoint::Messages,
            404,
            "model 'nope' not found",
        ),
        (
            "unknown-native",
            Endpoint::OllamaChat,
            502,
            "model 'nope' not found",
        ),
        (
            "unknown-responses",
            Endpoint::Responses,
            502,
            "model 'nope' not found",
        ),
    ];
    for (name, endpoint, expected_status, begin) in recorded {
        let body = body(name);
        let text = std::str::from_utf8(&body).unwrap().trim();
        let event = &events(endpoint, &crate::streams::stream(endpoint, &[text]))[0];

        let whole = read_answer(endpoint, &body).meaning;
        let streamed = StreamReader::new(endpoint).event(event);
        let assembled = Assembler::new(endpoint, MAX_BYTES).unwrap().event(event);

        let AnswerMeaning::Error { status, message } = whole else {
            panic!("{name}: {whole:?}");
        };
        assert_eq!(status, expected_status, "{name}");
        assert!(message.starts_with(begin), "{name}: {message}");
        assert!(
            assembled.unwrap_err().to_string().ends_with(&message),
            "{name}"
        );
        assert_eq!(streamed, EventMeaning::Error { status, message }, "{name}");
    }
}

#[test]
fn a_page_of_text_is_no_answer() {
    for (name, endpoint) in [
        ("unknown-path", Endpoint::ChatCompletions),
        ("count-tokens", Endpoint::CountTokens),
    ] {
        assert_eq!(
            read_answer(endpoint, &body(name)).meaning,
            AnswerMeaning::Garbage,
            "{name}"
        );
    }
}

#[test]
fn recorded_answers_are_answers_of_their_endpoint_alone() {
    let answers = [
        ("chat", Endpoint::ChatCompletions),
        ("image-unsupported", Endpoint::ChatCompletions),
        ("messages", Endpoint::Messages),
        ("responses", Endpoint::Responses),
        ("native-chat-whole", Endpoint::OllamaChat),
        ("embed", Endpoint::OllamaEmbed),
        ("v1-embeddings", Endpoint::Embeddings),
    ];
    for (name, endpoint) in answers {
        for (_, other) in answers {
            let expected = if endpoint == other {
                AnswerMeaning::Answer
            } else {
                AnswerMeaning::Garbage
            };
            assert_eq!(
                read_answer(other, &body(name)).meaning,
                expected,
                "{name} as {other:?}"
            );
        }
    }
}

#[test]
fn the_position_follows_a_recorded_response() {
    let mut reader = StreamReader::new(Endpoint::Responses);
    for (i, event) in stream_events("responses-stream", Endpoint::Responses)
        .iter()
        .enumerate()
    {
        reader.event(event);

        let position = reader.position();
        assert_eq!(position.response_id.as_deref(), Some("resp_64284"));
        assert_eq!(position.sequence_number, Some(i as u64));
    }
}
