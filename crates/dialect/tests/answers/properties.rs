//! Laws that hold for all streams: every byte is kept, cuts change nothing, an answer that was cut
//! into deltas comes together again, the filter takes nothing else, and no input panics.

use llamapool_dialect::{
    Assembler, Endpoint, EventReader, Framing, RawEvent, StreamFilter, StreamReader, read_answer,
    usage_of_answer,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::streams::{MAX_BYTES, assemble_events, events_of_pieces, framing};

const ENDPOINTS: &[Endpoint] = &[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::Messages,
    Endpoint::OllamaChat,
    Endpoint::OllamaGenerate,
    Endpoint::Transcriptions,
];

/// Cuts bytes at some places, which are taken modulo their number.
fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

fn raw(events: &[RawEvent]) -> Vec<u8> {
    events.iter().flat_map(|event| event.raw.to_vec()).collect()
}

/// Returns the names and data of the events with data.
fn contents(events: &[RawEvent]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let with_data = events.iter().filter(|event| !event.data.is_empty());
    with_data
        .map(|event| {
            (
                event.name.as_deref().unwrap_or_default().to_vec(),
                event.data.to_vec(),
            )
        })
        .collect()
}

/// Returns the events of a stream as the text of WHATWG HTML 9.2.6 has it, without any cut.
fn by_the_book(stream: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let stream = stream.replace("\r\n", "\n").replace('\r', "\n") + "\n\n";
    let mut events = Vec::new();
    let mut name = String::new();
    let mut data: Vec<String> = Vec::new();
    for line in stream.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                let text = data.join("\n");
                if !text.is_empty() {
                    events.push((name.clone().into_bytes(), text.into_bytes()));
                }
                name.clear();
                data.clear();
            }
            "event" => name = value.to_owned(),
            "data" => data.push(value.to_owned()),
            _ => {}
        }
    }
    events
}

/// Parts of streams that matter to how they are read.
fn stream_parts() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "data: a",
        "data:",
        "data",
        "data:  b ",
        "event: x",
        "event:",
        "id: 1",
        ": c",
        ":",
        "retry",
        "\r",
        "\n",
        "\r\n",
        "\n\n",
        "\r\n\r\n",
        "\r\r",
        " ",
        "\u{feff}",
        "ä",
        "data: {\"a\":1}",
    ]);
    vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// Cuts a JSON text between quotes into parts that are texts between quotes: not within an escape.
fn parts_of_json_text(text: &str, cuts: &[usize]) -> Vec<String> {
    let mut places = vec![0];
    let mut chars = text.char_indices();
    while let Some((i, char)) = chars.next() {
        if char == '\\' {
            let is_unicode = chars.next().is_some_and(|(_, escaped)| escaped == 'u');
            chars
                .by_ref()
                .take(if is_unicode { 4 } else { 0 })
                .for_each(drop);
        }
        places.push(chars.clone().next().map_or(text.len(), |(next, _)| next));
        let _ = i;
    }

    let chosen = cuts.iter().map(|cut| places[cut % places.len()]);
    let mut ends: Vec<usize> = chosen.chain([0, text.len()]).collect();
    ends.sort_unstable();
    ends.windows(2)
        .map(|pair| text[pair[0]..pair[1]].to_owned())
        .collect()
}

/// Returns a text as JSON between quotes, with all but ASCII escaped, so that surrogate pairs exist.
fn ascii_json_text(text: &str) -> String {
    let json = Value::from(text).to_string();
    let escaped: String = json[1..json.len() - 1]
        .encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect();
    escaped
}

#[derive(Debug, Clone)]
struct Call {
    name: String,
    arguments: String,
}

fn call() -> impl Strategy<Value = Call> {
    let arguments = vec(("[a-z]{1,4}", any::<String>()), 0..3).prop_map(|members| {
        let members: Map<String, Value> = members
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        Value::Object(members).to_string()
    });
    ("[a-z_]{1,8}", arguments).prop_map(|(name, arguments)| Call { name, arguments })
}

/// How a runtime writes its tool calls.
#[derive(Debug, Clone, Copy)]
struct Habits {
    /// All calls have the index 0 (B10).
    has_one_index: bool,
    /// Each delta repeats id, type and name (B11).
    repeats: bool,
    /// `finish_reason` is empty until `[DONE]` (B12).
    names_no_end: bool,
}

fn delta_chunk(delta: &str, habits: Habits) -> String {
    let reason = if habits.names_no_end { "\"\"" } else { "null" };
    format!(
        "{{\"id\":\"i\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]}}"
    )
}

/// Returns the chunks of a chat with this content and these calls.
fn chunks(content: &str, calls: &[Call], cuts: &[usize], habits: Habits) -> Vec<String> {
    let mut chunks = vec![delta_chunk(
        r#"{"role":"assistant","content":null}"#,
        habits,
    )];
    for part in parts_of_json_text(&ascii_json_text(content), cuts) {
        chunks.push(delta_chunk(&format!("{{\"content\":\"{part}\"}}"), habits));
    }
    for (i, call) in calls.iter().enumerate() {
        let index = if habits.has_one_index { 0 } else { i };
        let parts = parts_of_json_text(&ascii_json_text(&call.arguments), cuts);
        for (n, part) in parts.iter().enumerate() {
            let has_head = n == 0 || habits.repeats;
            let head = has_head.then(|| format!("\"id\":\"c{i}\",\"type\":\"function\","));
            let head = head.unwrap_or_default();
            let name = has_head.then(|| format!("\"name\":\"{}\",", call.name));
            let name = name.unwrap_or_default();
            chunks.push(delta_chunk(
                &format!(
                    "{{\"tool_calls\":[{{\"index\":{index},{head}\"function\":{{{name}\"arguments\":\"{part}\"}}}}]}}"
                ),
                habits,
            ));
        }
    }
    if !habits.names_no_end {
        let end = r#"{"id":"i","choices":[{"index":0,"delta":{},"finish_reason":"x"}]}"#;
        chunks.push(end.to_owned());
    }
    chunks.push("[DONE]".to_owned());
    chunks
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z\"\\\\ä]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let names = prop::sample::select(vec!["usage", "a", "delta", "content", "x\"y"]);
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((names, inner), 0..3).prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                Value::Object(members.collect())
            }),
        ]
    })
}

fn choice_value() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["usage", "index", "text", "finish_reason", "logprobs"]);
    vec((names, json_value()), 0..4).prop_map(|members| {
        let members = members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Value::Object(members.collect())
    })
}

fn chunk_value() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["usage", "id", "model", "x_sources", "timings"]);
    let choices = prop::option::of(vec(choice_value(), 0..3));
    (vec((names, json_value()), 0..5), choices).prop_map(|(members, choices)| {
        let members = members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let mut members: Map<String, Value> = members.collect();
        if let Some(choices) = choices {
            members.insert("choices".to_owned(), choices.into());
        }
        Value::Object(members)
    })
}

/// Returns a chunk without usage, where the filter is to take it out.
fn without_usage(mut chunk: Value) -> Value {
    chunk.as_object_mut().unwrap().remove("usage");
    let choices = chunk.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten() {
        choice.as_object_mut().unwrap().remove("usage");
    }
    chunk
}

/// Runs everything that reads an answer over bytes.
fn read_all(endpoint: Endpoint, bytes: &[u8], cuts: &[usize]) {
    let events = events_of_pieces(framing(endpoint), &pieces(bytes, cuts));
    assert_eq!(raw(&events), bytes);

    let filter = StreamFilter {
        strip_usage: true,
        strip_progress: true,
    };
    let mut reader = StreamReader::new(endpoint);
    let mut assembler = Assembler::new(endpoint, MAX_BYTES);
    for event in events {
        reader.event(&event);
        let _ = reader.usage();
        if assembler
            .as_mut()
            .is_some_and(|taking| taking.event(&event).is_err())
        {
            assembler = None;
        }
        let _ = filter.apply(endpoint, event);
    }

    let assembled = assembler.map(|assembler| assembler.finish(true));
    if let Some(Ok(answer)) = &assembled {
        // Strings are not decoded: halves of surrogate pairs stay as the runtime sent them.
        let json: Result<IgnoredAny, _> = serde_json::from_slice(answer);
        assert!(json.is_ok(), "{answer:?}");
        assert!(
            reader.is_complete() || reader.has_failed(),
            "assembled, but not complete"
        );
    }
    let _ = reader.position();
    let _ = usage_of_answer(endpoint, bytes);
    let _ = read_answer(endpoint, bytes);
}

/// Streams of every API, to be mutated.
const SEEDS: &[&str] = &[
    "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\ud83d\",\"tool_calls\":[{\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1},\"prompt_progress\":{\"total\":2,\"processed\":1}}\r\n\r\ndata: [DONE]\n\n",
    "data: {\"choices\":[{\"index\":0,\"text\":\"a\",\"logprobs\":{\"tokens\":[1]},\"finish_reason\":\"\"}],\"timings\":{\"prompt_n\":1,\"cache_n\":2,\"predicted_n\":3}}\n\ndata: [DONE]\n\n",
    "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\"}}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[],\"usage\":{\"input_tokens\":3}}}\n\n",
    "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":3}}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"input\":{}}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":1}\"}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"x\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
    "{\"message\":{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{}]},\"done\":false}\n {\"response\":\"b\",\"done\":true,\"eval_count\":2}\n",
    "data: {\"error\":{\"message\":\"m\",\"type\":\"BadRequestError\",\"code\":\"400\"}}\n\ndata: [DONE]\n\n",
];

proptest! {
    #[test]
    fn events_are_those_of_the_standard(stream in stream_parts(), cuts in vec(any::<usize>(), 0..6)) {
        let events = events_of_pieces(Framing::Sse, &pieces(stream.as_bytes(), &cuts));

        prop_assert_eq!(raw(&events), stream.as_bytes());
        prop_assert_eq!(contents(&events), by_the_book(&stream));
    }

    #[test]
    fn lines_are_all_bytes_at_any_cut(stream in "[ab{}\": \r\n]{0,60}", cuts in vec(any::<usize>(), 0..6)) {
        let whole = events_of_pieces(Framing::Lines, &[stream.as_bytes()]);
        let cut = events_of_pieces(Framing::Lines, &pieces(stream.as_bytes(), &cuts));

        prop_assert_eq!(raw(&cut), stream.as_bytes());
        prop_assert_eq!(contents(&cut), contents(&whole));
    }

    #[test]
    fn a_bound_holds_for_every_event(stream in stream_parts(), cuts in vec(any::<usize>(), 0..6), max in 1_usize..40) {
        let mut reader = EventReader::new(Framing::Sse, max);
        for piece in pieces(stream.as_bytes(), &cuts) {
            let _ = reader.push(bytes::Bytes::copy_from_slice(piece));
            while let Some(event) = reader.next() {
                prop_assert!(event.raw.len() <= max);
            }
        }
    }

    #[test]
    fn an_answer_in_deltas_comes_together_again(
        content in any::<String>(),
        calls in vec(call(), 0..4),
        cuts in vec(any::<usize>(), 0..5),
        (has_one_index, repeats, names_no_end) in any::<(bool, bool, bool)>(),
        end in prop::sample::select(vec!["\n\n", "\r\n\r\n", "\r\r"]),
    ) {
        let habits = Habits { has_one_index, repeats, names_no_end };
        let chunks = chunks(&content, &calls, &cuts, habits);
        let stream: String = chunks.iter().map(|chunk| format!("data:{chunk}{end}")).collect();
        let events = events_of_pieces(Framing::Sse, &pieces(stream.as_bytes(), &cuts));
        let has_content = !content.is_empty() || !calls.is_empty();
        prop_assume!(has_content || !names_no_end);

        let answer = assemble_events(Endpoint::ChatCompletions, &events, true).unwrap();
        let mut reader = StreamReader::new(Endpoint::ChatCompletions);
        events.iter().for_each(|event| drop(reader.event(event)));

        let message = &answer["choices"][0]["message"];
        prop_assert_eq!(message["content"].as_str().unwrap_or_default(), content);
        let expected: Vec<Value> = calls.iter().enumerate().map(|(i, call)| json!({
            "id": format!("c{i}"), "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        })).collect();
        let joined = message["tool_calls"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(joined, expected);
        let reason = match (names_no_end, calls.is_empty()) {
            (false, _) => "x",
            (true, true) => "stop",
            (true, false) => "tool_calls",
        };
        prop_assert_eq!(&answer["choices"][0]["finish_reason"], reason);
        prop_assert!(reader.is_complete());
        prop_assert_eq!(reader.lacks_finish_reason(), names_no_end);
    }

    #[test]
    fn the_filter_takes_usage_and_nothing_else(chunk in chunk_value(), pretty in any::<bool>()) {
        let filter = StreamFilter { strip_usage: true, strip_progress: false };
        let text = if pretty { serde_json::to_string_pretty(&chunk) } else { serde_json::to_string(&chunk) };
        let lines = text.unwrap().replace('\n', "\ndata: ");
        let stream = format!(": c\ndata: {lines}\n\n");
        let event = events_of_pieces(Framing::Sse, &[stream.as_bytes()]).remove(0);
        let envelope = ["id", "model", "usage"];
        let has_more = chunk.as_object().unwrap().iter().any(|(name, value)| {
            let is_empty = value.is_null() || (name == "choices" && *value == json!([]));
            !envelope.contains(&name.as_str()) && !is_empty
        });
        let expected = (chunk.get("usage").is_none() || has_more).then(|| without_usage(chunk));

        let left = filter.apply(Endpoint::ChatCompletions, event.clone());

        let value = |bytes: &[u8]| {
            let event = events_of_pieces(Framing::Sse, &[bytes]).remove(0);
            serde_json::from_slice::<Value>(&event.data).unwrap()
        };
        prop_assert_eq!(left.as_deref().map(value), expected);
        if let Some(left) = left {
            // What is left are parts of the event, in order.
            let mut raw = event.raw.iter();
            prop_assert!(left.iter().all(|byte| raw.any(|other| other == byte)));
            let again = events_of_pieces(Framing::Sse, &[&left]).remove(0);
            prop_assert_eq!(filter.apply(Endpoint::ChatCompletions, again), Some(left));
        }
    }

    #[test]
    fn mutated_streams_never_panic(
        seed in prop::sample::select(SEEDS.to_vec()),
        endpoint in prop::sample::select(ENDPOINTS.to_vec()),
        changes in vec((any::<usize>(), any::<u8>(), 0_u8..4), 0..12),
        cuts in vec(any::<usize>(), 0..4),
    ) {
        let mut bytes = seed.as_bytes().to_vec();
        for (place, byte, change) in changes {
            let place = place % (bytes.len() + 1);
            match change {
                0 => bytes.insert(place, byte),
                1 => bytes.truncate(place),
                2 if place < bytes.len() => bytes[place] = byte,
                3 => bytes.extend_from_within(place..),
                _ => {}
            }
            bytes.truncate(8000);
        }

        read_all(endpoint, &bytes, &cuts);
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), endpoint in prop::sample::select(ENDPOINTS.to_vec())) {
        read_all(endpoint, &bytes, &[7]);
    }
}
