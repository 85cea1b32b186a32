//! Chat and completions from their chunks.

use bytes::Bytes;
use llamapool_dialect::{AssembleError, Assembler, Endpoint, RawEvent};
use serde_json::{Value, json};

use crate::streams::{assemble, assemble_events, events, stream};

const CHAT: Endpoint = Endpoint::ChatCompletions;
const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const DONE: &str = "[DONE]";

/// Returns a chunk with one delta of choice 0.
fn delta(delta: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)
}

/// Returns the message of a chat whose choice 0 has these deltas.
fn message(deltas: &[&str]) -> Value {
    let chunks: Vec<String> = deltas.iter().map(|text| delta(text)).collect();
    let data: Vec<&str> = chunks
        .iter()
        .map(String::as_str)
        .chain([END, DONE])
        .collect();
    assemble(CHAT, &data).unwrap()["choices"][0]["message"].clone()
}

/// Returns the tool calls of a chat whose deltas have these lists of them.
fn tool_calls(parts: &[&str]) -> Value {
    let deltas: Vec<String> = parts
        .iter()
        .map(|calls| format!(r#"{{"tool_calls":{calls}}}"#))
        .collect();
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    message(&deltas)["tool_calls"].clone()
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

#[test]
fn a_stream_of_llama_cpp_has_exactly_these_bytes() {
    let chunk = |choices: &str, more: &str| {
        format!(
            r#"{{"choices":[{choices}],"created":1795644861,"id":"chatcmpl-x","model":"m","system_fingerprint":"b7062","object":"chat.completion.chunk"{more}}}"#
        )
    };
    let first = r#"{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}"#;
    let text = |text: &str| {
        format!(r#"{{"finish_reason":null,"index":0,"delta":{{"content":"{text}"}}}}"#)
    };
    let end = r#"{"finish_reason":"stop","index":0,"delta":{}}"#;
    let events = [
        chunk(
            first,
            r#","prompt_progress":{"total":36,"cache":0,"processed":36}"#,
        ),
        chunk(first, ""),
        chunk(&text("Hel"), ""),
        chunk(&text("lo \\u00e4\\n"), ""),
        chunk(
            end,
            r#","timings":{"cache_n":0,"prompt_n":36,"predicted_n":3,"predicted_ms":1.50}"#,
        ),
    ];
    let data: Vec<&str> = events.iter().map(String::as_str).chain([DONE]).collect();

    let mut assembler = Assembler::new(CHAT, 10_000).unwrap();
    for event in crate::streams::events(CHAT, &stream(CHAT, &data)) {
        assembler.event(&event).unwrap();
    }

    let expected = concat!(
        r#"{"created":1795644861,"id":"chatcmpl-x","model":"m","system_fingerprint":"b7062","#,
        r#""object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","#,
        r#""content":"Hello \u00e4\n"},"finish_reason":"stop"}],"timings":{"cache_n":0,"#,
        r#""prompt_n":36,"predicted_n":3,"predicted_ms":1.50}}"#,
    );
    assert_eq!(assembler.finish(true).unwrap(), expected);
}

#[test]
fn strings_are_joined_and_null_content_is_empty() {
    let cases = [
        (vec![r#"{"role":"assistant"}"#], json!({"content": ""})),
        (vec![r#"{"content":null}"#], json!({"content": ""})),
        (
            vec![
                r#"{"content":"a"}"#,
                r#"{"content":null}"#,
                r#"{"content":"b"}"#,
            ],
            json!({"content": "ab"}),
        ),
        (
            vec![
                r#"{"reasoning_content":"x"}"#,
                r#"{"reasoning_content":"y","content":"z"}"#,
            ],
            json!({"reasoning_content": "xy", "content": "z"}),
        ),
        (
            vec![r#"{"refusal":"n"}"#, r#"{"refusal":"o"}"#],
            json!({"content": "", "refusal": "no"}),
        ),
        (
            vec![r#"{"new":"a"}"#, r#"{"new":"b"}"#],
            json!({"content": "", "new": "ab"}),
        ),
        (
            vec![r#"{"list":[1]}"#, r#"{"list":[]}"#, r#"{"list":[2,3]}"#],
            json!({"content": "", "list": [1, 2, 3]}),
        ),
        (
            vec![r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":null}"#],
            json!({"content": "", "n": 2}),
        ),
        (
            vec![r#"{"refusal":null}"#],
            json!({"content": "", "refusal": null}),
        ),
    ];
    for (deltas, mut expected) in cases {
        expected["role"] = "assistant".into();
        assert_eq!(message(&deltas), expected, "{deltas:?}");
    }
    let role = message(&[
        r#"{"role":"assistant"}"#,
        r#"{"role":""}"#,
        r#"{"role":"critic"}"#,
    ]);
    assert_eq!(role["role"], "critic");
}

#[test]
fn halves_of_a_surrogate_pair_come_together() {
    let message = message(&[r#"{"content":"a\ud83d"}"#, r#"{"content":"\ude00b"}"#]);

    assert_eq!(message["content"], "a😀b");
}

#[test]
fn parallel_calls_with_one_index_are_told_by_their_ids() {
    let one = |id, name, arguments| {
        format!(
            r#"[{{"index":0,"id":"{id}","type":"function","function":{{"name":"{name}","arguments":"{arguments}"}}}}]"#
        )
    };
    let w = one("a", "w", r#"{\"p\":1}"#);
    let f = one("b", "f", r#"{\"p\":"#);
    let rest = r#"[{"index":0,"function":{"arguments":"2}"}}]"#;

    // The second call goes on without an id.
    let calls = tool_calls(&[&w, &f, rest]);
    let expected = json!([call("a", "w", r#"{"p":1}"#), call("b", "f", r#"{"p":2}"#)]);
    assert_eq!(calls, expected);

    // Both are in one delta.
    let both = format!(
        "[{},{}]",
        &w[1..w.len() - 1],
        &one("b", "w", "{}")[1..one("b", "w", "{}").len() - 1]
    );
    let calls = tool_calls(&[&both]);
    assert_eq!(
        calls,
        json!([call("a", "w", r#"{"p":1}"#), call("b", "w", "{}")])
    );

    // The first one goes on with its id after the second one began.
    let calls = tool_calls(&[
        &one("a", "w", "{"),
        &one("b", "f", "{"),
        &one("a", "w", "}"),
        &one("b", "f", "}"),
    ]);
    assert_eq!(calls, json!([call("a", "w", "{}"), call("b", "f", "{}")]));
}

#[test]
fn calls_without_index_or_id_are_kept_apart() {
    let named = r#"[{"type":"function","function":{"name":"f","arguments":"{}"}}]"#;
    let rest = r#"[{"function":{"arguments":" "}}]"#;
    let calls = tool_calls(&[named, named, rest]);
    let expected = |arguments: &str| json!({"type": "function", "function": {"name": "f", "arguments": arguments}});
    assert_eq!(calls, json!([expected("{}"), expected("{} ")]));

    let with_id = r#"[{"id":"a","type":"function","function":{"name":"f","arguments":"{"}}]"#;
    let again = r#"[{"id":"a","function":{"arguments":"}"}}]"#;
    let other = r#"[{"id":"b","type":"function","function":{"name":"f","arguments":"1"}}]"#;
    let calls = tool_calls(&[with_id, again, other]);
    assert_eq!(calls, json!([call("a", "f", "{}"), call("b", "f", "1")]));
}

#[test]
fn calls_are_joined_by_index_in_order_of_arrival() {
    let calls = tool_calls(&[
        r#"[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}]"#,
        r#"[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]"#,
        r#"[{"index":1,"function":{"arguments":"1"}},{"index":0,"function":{"arguments":"2"}}]"#,
        r#"[{"index":1,"id":"","function":{"name":"","arguments":"1"}}]"#,
        r#"[{"index":0,"id":null,"function":{"name":null,"arguments":null}}]"#,
        "[]",
        "null",
    ]);

    assert_eq!(calls, json!([call("b", "g", "11"), call("a", "f", "2")]));
}

#[test]
fn names_that_are_repeated_or_come_in_parts_are_one() {
    let part = |name: &str, arguments: &str| {
        format!(
            r#"[{{"index":0,"id":"a","type":"function","function":{{"name":"{name}","arguments":"{arguments}"}}}}]"#
        )
    };
    let repeated = [
        part("get_weather", r#"{\"c"#),
        part("get_weather", r#"\":1"#),
        part("get_weather", "}"),
    ];
    let parts = [
        part("get_", ""),
        part("weather", r#"{\"c"#),
        part("", r#"\":1}"#),
    ];
    let late = [
        part("", r#"{\"c"#),
        part("get_weather", r#"\":1"#),
        part("get_weather", "}"),
    ];

    for parts in [repeated, parts, late] {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let calls = tool_calls(&parts);
        assert_eq!(
            calls,
            json!([call("a", "get_weather", r#"{"c":1}"#)]),
            "{parts:?}"
        );
    }
}

#[test]
fn arguments_that_are_an_object_are_its_text() {
    let calls = tool_calls(&[
        r#"[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":{"s": "a\"b", "n":1.0}}}]"#,
    ]);

    assert_eq!(calls, json!([call("a", "f", r#"{"s": "a\"b", "n":1.0}"#)]));
}

#[test]
fn unknown_members_of_calls_stay() {
    let calls = tool_calls(&[
        r#"[{"index":0,"id":"a","type":"custom","custom":{"name":"q","input":"se"},"extra":{"x":1}}]"#,
        r#"[{"index":0,"custom":{"input":"lect"},"extra":null}]"#,
    ]);

    let expected = json!([{
        "id": "a", "type": "custom", "extra": {"x": 1}, "custom": {"name": "q", "input": "select"},
    }]);
    assert_eq!(calls, expected);
}

#[test]
fn content_stays_null_beside_calls() {
    let calls = r#"{"content":null,"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}"#;
    let empty = r#"{"content":"","tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}"#;

    assert_eq!(message(&[calls])["content"], Value::Null);
    assert_eq!(message(&[empty])["content"], "");
}

#[test]
fn the_older_form_of_a_call_is_joined() {
    let message = message(&[
        r#"{"content":null,"function_call":{"name":"f","arguments":"{\"a\""}}"#,
        r#"{"function_call":{"arguments":":1}"}}"#,
    ]);

    assert_eq!(
        message["function_call"],
        json!({"name": "f", "arguments": r#"{"a":1}"#})
    );
    assert_eq!(message["content"], Value::Null);
}

#[test]
fn choices_come_out_by_index_with_their_own_ends() {
    let answer = assemble(
        CHAT,
        &[
            r#"{"id":"a","choices":[{"index":1,"delta":{"content":"x"}}]}"#,
            r#"{"id":"b","choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"y"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{},"finish_reason":"length","stop_reason":7}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop","token_ids":[1]}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":null,"token_ids":[2]}],"usage":null}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":1},"usage_note":"x"}"#,
            DONE,
        ],
    );

    let expected = json!({
        "id": "b", "object": "chat.completion", "usage": {"prompt_tokens": 1}, "usage_note": "x",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "ab"}, "finish_reason": "stop", "token_ids": [1, 2]},
            {"index": 1, "message": {"role": "assistant", "content": "xy"}, "finish_reason": "length", "stop_reason": 7},
        ],
    });
    assert_eq!(answer.unwrap(), expected);
}

#[test]
fn logprobs_of_chat_are_appended() {
    let chunk = |logprobs: &str| {
        format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"a"}},"logprobs":{logprobs}}}]}}"#)
    };
    let some = [
        chunk("null"),
        chunk(r#"{"content":[{"token":"a"}],"refusal":null}"#),
        chunk(r#"{"content":[{"token":"b"},{"token":"c"}],"refusal":null}"#),
    ];
    let none = [chunk("null"), chunk("null")];

    let logprobs = |chunks: &[String]| {
        let data: Vec<&str> = chunks.iter().map(String::as_str).chain([END]).collect();
        assemble(CHAT, &data).unwrap()["choices"][0]["logprobs"].clone()
    };
    let expected =
        json!({"content": [{"token": "a"}, {"token": "b"}, {"token": "c"}], "refusal": null});
    assert_eq!(logprobs(&some), expected);
    assert_eq!(logprobs(&none), Value::Null);
}

#[test]
fn completions_join_text_and_all_lists_of_logprobs() {
    let answer = assemble(
        Endpoint::Completions,
        &[
            r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[-0.5],"top_logprobs":[{"a":-0.5}],"text_offset":[0]}}]}"#,
            r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"b","logprobs":{"tokens":["b"],"token_logprobs":[-1],"top_logprobs":null,"text_offset":[1]}}]}"#,
            r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"","finish_reason":"length"}],"usage":{"prompt_tokens":2}}"#,
            DONE,
        ],
    );

    let expected = json!({
        "id": "c", "object": "text_completion", "usage": {"prompt_tokens": 2},
        "choices": [{"index": 0, "text": "ab", "finish_reason": "length", "logprobs": {
            "tokens": ["a", "b"], "token_logprobs": [-0.5, -1], "top_logprobs": [{"a": -0.5}], "text_offset": [0, 1],
        }}],
    });
    assert_eq!(answer.unwrap(), expected);
}

#[test]
fn empty_ends_are_none_and_done_is_one_for_all() {
    let text = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}]}"#;
    let null = r#"{"choices":[{"index":0,"delta":{},"finish_reason":null}]}"#;
    let tool = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a"}]}}]}"#;
    let reason = |answer: &Value| answer["choices"][0]["finish_reason"].clone();

    let stop = assemble(CHAT, &[text, text, null, DONE]).unwrap();
    assert_eq!(
        (reason(&stop), &stop["choices"][0]["message"]["content"]),
        ("stop".into(), &json!("aa"))
    );
    let tools = assemble(CHAT, &[tool, text, DONE]).unwrap();
    assert_eq!(reason(&tools), "tool_calls");
    let length = assemble(
        CHAT,
        &[
            text,
            r#"{"choices":[{"finish_reason":"length"}]}"#,
            text,
            DONE,
        ],
    );
    assert_eq!(reason(&length.unwrap()), "length");
    let plain = r#"{"choices":[{"text":"a","finish_reason":""}]}"#;
    assert_eq!(
        reason(&assemble(Endpoint::Completions, &[plain, DONE]).unwrap()),
        "stop"
    );
}

#[test]
fn a_short_answer_is_never_whole() {
    let text = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}]}"#;
    let empty = r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}]}"#;
    let other = r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#;
    let short: [(&[&str], bool); 9] = [
        (&[], true),
        (&[DONE], true),
        (&[empty, DONE], true),
        (&[text], true),
        (&[text, DONE], false),
        (&[text, END], false),
        (&[text, other, END, DONE], true),
        (&[r#"{"choices":[]}"#, DONE], true),
        (&[r#"{"choices":null}"#, DONE], true),
    ];
    for (data, ended_orderly) in short {
        let events = events(CHAT, &stream(CHAT, data));
        let answer = assemble_events(CHAT, &events, ended_orderly);
        assert!(
            matches!(answer, Err(AssembleError::Incomplete { .. })),
            "{data:?} {answer:?}"
        );
    }
    // The very last event came: what breaks behind it is no loss.
    let whole = events(CHAT, &stream(CHAT, &[text, END, DONE]));
    assert!(assemble_events(CHAT, &whole, false).is_ok());
}

#[test]
fn signs_of_life_and_null_are_no_chunks() {
    let stream = format!(
        ": ping\n\ndata: null\n\ndata:\n\ndata: {}\n\ndata: {END}\n\n",
        delta(r#"{"content":"a"}"#)
    );

    let answer = assemble_events(CHAT, &events(CHAT, &stream), true).unwrap();

    assert_eq!(answer["choices"][0]["message"]["content"], "a");
}

#[test]
fn what_is_no_chunk_is_an_error() {
    for data in [
        "7",
        "[]",
        "{",
        "<html>",
        r#"{"choices":7}"#,
        r#"{"choices":[7]}"#,
        r#"{"choices":[{"delta":7}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":{}}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[7]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"function":7}]}}]}"#,
        r#"{"choices":[{"logprobs":7}]}"#,
        r#"{"choices":[]} x"#,
    ] {
        let answer = assemble(CHAT, &[data, END, DONE]);
        assert!(
            matches!(answer, Err(AssembleError::Malformed { .. })),
            "{data} {answer:?}"
        );
    }
    let event = RawEvent {
        data: Bytes::from_static(b"{\"a\":\"\xff\"}"),
        ..RawEvent::default()
    };
    let mut assembler = Assembler::new(CHAT, 100).unwrap();
    assert!(matches!(
        assembler.event(&event),
        Err(AssembleError::Malformed { .. })
    ));
}

#[test]
fn an_error_in_the_stream_is_its_words() {
    let error = r#"{"error":{"message":"out of memory","type":"BadRequestError","code":400}}"#;

    for data in [vec![error, DONE], vec![END, error, DONE]] {
        let failed = assemble(CHAT, &data).unwrap_err();

        let expected = AssembleError::Failed {
            status: 400,
            message: "out of memory".to_owned(),
        };
        assert_eq!(failed, expected);
    }
}

/// Returns whether a stream was refused for its size, and how many of its events were taken.
fn take_all(chunk: impl Fn(usize) -> String, count: usize) -> (bool, usize) {
    let mut assembler = Assembler::new(CHAT, 10_000).unwrap();
    for i in 0..count {
        let event = RawEvent {
            data: Bytes::from(chunk(i)),
            ..RawEvent::default()
        };
        match assembler.event(&event) {
            Ok(()) => {}
            Err(AssembleError::TooLarge { max: 10_000 }) => return (true, i),
            Err(other) => panic!("{other}"),
        }
    }
    (false, count)
}

#[test]
fn an_answer_has_a_bound_whatever_grows() {
    let text = "x".repeat(90);
    let growing: [&dyn Fn(usize) -> String; 5] = [
        &|_| delta(&format!(r#"{{"content":"{text}"}}"#)),
        &|_| delta(&format!(r#"{{"list":["{text}"]}}"#)),
        &|i| delta(&format!(r#"{{"member{i}":"{text}"}}"#)),
        &|i| delta(&format!(r#"{{"tool_calls":[{{"id":"{i}{text}"}}]}}"#)),
        &|i| format!(r#"{{"choices":[],"member{i}":"{text}"}}"#),
    ];
    for (i, chunk) in growing.into_iter().enumerate() {
        let (refused, taken) = take_all(chunk, 1000);
        assert!(refused && (30..120).contains(&taken), "{i}: {taken}");
    }
    // Members that come again and again take no room.
    let same = |i| {
        format!(
            r#"{{"id":"{}","choices":[{{"index":0,"delta":{{}}}}]}}"#,
            "a".repeat(i % 90)
        )
    };
    assert_eq!(take_all(same, 5000), (false, 5000));
}

#[test]
fn choices_calls_and_members_have_bounds() {
    let many = |name: &str, count: usize, item: &dyn Fn(usize) -> String| {
        let items: Vec<String> = (0..count).map(item).collect();
        format!(r#"{{"{name}":[{}]}}"#, items.join(","))
    };
    let choice = |i| format!(r#"{{"index":{i},"finish_reason":"stop"}}"#);
    let call = |i| format!(r#"{{"id":"c{i}"}}"#);
    let members = |count: usize| {
        let members: Vec<String> = (0..count).map(|i| format!(r#""m{i}":1"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let cases = [
        (many("choices", 128, &choice), many("choices", 129, &choice)),
        (
            delta(&many("tool_calls", 1024, &call)),
            delta(&many("tool_calls", 1025, &call)),
        ),
        (delta(&members(256)), delta(&members(257))),
    ];
    for (largest, larger) in cases {
        assert!(assemble(CHAT, &[&largest, END, DONE]).is_ok());
        let refused = assemble(CHAT, &[&larger, END, DONE]);
        assert!(
            matches!(refused, Err(AssembleError::Malformed { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn only_endpoints_with_streams_are_assembled() {
    for endpoint in [
        CHAT,
        Endpoint::Completions,
        Endpoint::Responses,
        Endpoint::OllamaGenerate,
    ] {
        assert!(Assembler::new(endpoint, 1).is_some(), "{endpoint:?}");
    }
    for endpoint in [
        Endpoint::Embeddings,
        Endpoint::Transcriptions,
        Endpoint::Models,
    ] {
        assert!(Assembler::new(endpoint, 1).is_none(), "{endpoint:?}");
    }
}
