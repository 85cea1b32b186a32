//! `messages`, `responses` and Ollama's answers from their events.

use llamapool_dialect::{AssembleError, Assembler, Endpoint};
use serde_json::{Value, json};

use crate::streams::{assemble, assemble_events, events, stream};

const START: &str = r#"{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"cache_read_input_tokens":20,"output_tokens":1}}}"#;
const DELTA: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn block_start(index: u64, block: &str) -> String {
    format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
}

fn block_delta(index: u64, delta: &str) -> String {
    format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#)
}

/// Returns the content of a message with these events.
fn content(events: &[String]) -> Value {
    let events = events.iter().map(String::as_str);
    let data: Vec<&str> = [START]
        .into_iter()
        .chain(events)
        .chain([DELTA, STOP])
        .collect();
    assemble(Endpoint::Messages, &data).unwrap()["content"].clone()
}

/// Returns the input of a tool that came in these parts.
fn input(start: &str, parts: &[&str]) -> Value {
    let block = format!(r#"{{"type":"tool_use","id":"t","name":"f","input":{start}}}"#);
    let part = |part: &&str| {
        let part = Value::from(*part);
        block_delta(
            0,
            &format!(r#"{{"type":"input_json_delta","partial_json":{part}}}"#),
        )
    };
    let mut events = vec![block_start(0, &block)];
    events.extend(parts.iter().map(part));
    content(&events)[0]["input"].clone()
}

#[test]
fn a_message_is_its_start_its_blocks_and_its_end() {
    let answer = assemble(
        Endpoint::Messages,
        &[
            START,
            r#"{"type":"ping"}"#,
            &block_start(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
            &block_delta(0, r#"{"type":"thinking_delta","thinking":"hm"}"#),
            &block_delta(0, r#"{"type":"thinking_delta","thinking":"m"}"#),
            &block_delta(0, r#"{"type":"signature_delta","signature":"c2ln"}"#),
            r#"{"type":"content_block_stop","index":0}"#,
            &block_start(1, r#"{"type":"text","text":""}"#),
            &block_delta(1, r#"{"type":"text_delta","text":"a\ud83d"}"#),
            &block_delta(1, r#"{"type":"text_delta","text":"\ude00"}"#),
            &block_delta(1, r#"{"type":"citations_delta","citation":{"n":1}}"#),
            &block_delta(1, r#"{"type":"citations_delta","citation":{"n":2}}"#),
            &block_start(2, r#"{"type":"tool_use","id":"t","name":"f","input":{}}"#),
            &block_delta(2, r#"{"type":"input_json_delta","partial_json":""}"#),
            &block_delta(
                2,
                r#"{"type":"input_json_delta","partial_json":"{\"a\": \"x"}"#,
            ),
            &block_delta(
                2,
                r#"{"type":"input_json_delta","partial_json":"\\n\", \"b\": 1.0}"}"#,
            ),
            DELTA,
            STOP,
        ],
    );

    let expected = json!({
        "id": "m1", "type": "message", "role": "assistant", "model": "m",
        "stop_reason": "end_turn", "stop_sequence": null,
        "content": [
            {"type": "thinking", "thinking": "hmm", "signature": "c2ln"},
            {"type": "text", "text": "a😀", "citations": [{"n": 1}, {"n": 2}]},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "x\n", "b": 1.0}},
        ],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 20, "output_tokens": 9},
    });
    assert_eq!(answer.unwrap(), expected);
}

#[test]
fn the_input_of_a_tool_is_an_object_in_any_case() {
    let cases: [(&str, &[&str], Value); 8] = [
        ("{}", &["{\"a\":", "1}"], json!({"a": 1})),
        ("{}", &[" {\"a\":1} \n"], json!({"a": 1})),
        ("{}", &[], json!({})),
        ("{}", &["", ""], json!({})),
        ("{\"a\":1}", &[], json!({"a": 1})),
        ("{\"a\":1}", &[""], json!({"a": 1})),
        ("{}", &["{\"a\":"], json!({})),
        ("{}", &["[1]"], json!({})),
    ];
    for (start, parts, expected) in cases {
        assert_eq!(input(start, parts), expected, "{start} {parts:?}");
    }
}

#[test]
fn the_bytes_of_an_input_stay() {
    let block = block_start(0, r#"{"type":"tool_use","id":"t","name":"f","input":{}}"#);
    let part = block_delta(
        0,
        r#"{"type":"input_json_delta","partial_json":"{\"n\": 1.50, \"s\":\"\\u00e4\"}"}"#,
    );
    let mut assembler = Assembler::new(Endpoint::Messages, 10_000).unwrap();
    let data = [START, &block, &part, DELTA, STOP];
    for event in events(Endpoint::Messages, &stream(Endpoint::Messages, &data)) {
        assembler.event(&event).unwrap();
    }

    let answer = assembler.finish(true).unwrap();

    let text = std::str::from_utf8(&answer).unwrap();
    assert!(
        text.contains(r#""input":{"n": 1.50, "s":"\u00e4"}"#),
        "{text}"
    );
}

#[test]
fn blocks_with_one_index_are_told_by_their_starts() {
    let content = content(&[
        block_start(0, r#"{"type":"text","text":"a"}"#),
        block_delta(0, r#"{"type":"text_delta","text":"b"}"#),
        block_start(0, r#"{"type":"text","text":""}"#),
        block_delta(0, r#"{"type":"text_delta","text":"c"}"#),
    ]);

    assert_eq!(
        content,
        json!([{"type": "text", "text": "ab"}, {"type": "text", "text": "c"}])
    );
}

#[test]
fn a_block_without_a_start_has_the_type_of_its_delta() {
    let content = content(&[
        block_delta(0, r#"{"type":"text_delta","text":"a"}"#),
        block_delta(1, r#"{"type":"thinking_delta","thinking":"b"}"#),
        block_delta(2, r#"{"type":"input_json_delta","partial_json":"{}"}"#),
    ]);

    let expected = json!([
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": "b"},
        {"type": "tool_use", "input": {}},
    ]);
    assert_eq!(content, expected);
}

#[test]
fn what_is_new_in_blocks_and_deltas_stays() {
    let start = block_start(0, r#"{"type":"server_tool_result","content":[{"x":1}]}"#);
    let delta = block_delta(0, r#"{"type":"new_delta","part":"a"}"#);
    let end =
        r#"{"type":"message_delta","delta":{"container":{"id":"c"}},"context_management":{"y":2}}"#;

    let data = [START, &start, &delta, &delta, end, STOP];
    let answer = assemble(Endpoint::Messages, &data).unwrap();

    let block = json!({"type": "server_tool_result", "content": [{"x": 1}], "part": "aa"});
    assert_eq!(answer["content"], json!([block]));
    assert_eq!(answer["container"], json!({"id": "c"}));
    assert_eq!(answer["context_management"], json!({"y": 2}));
}

#[test]
fn a_message_without_its_stop_is_short() {
    let text = block_delta(0, r#"{"type":"text_delta","text":"a"}"#);
    for data in [vec![START, &text, DELTA], vec![START], vec![], vec![STOP]] {
        let answer = assemble(Endpoint::Messages, &data);
        assert!(
            matches!(answer, Err(AssembleError::Incomplete { .. })),
            "{data:?}"
        );
    }
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    let failed = assemble(Endpoint::Messages, &[START, error, STOP]).unwrap_err();
    let message = "m".to_owned();
    assert_eq!(
        failed,
        AssembleError::Failed {
            status: 529,
            message
        }
    );
}

#[test]
fn a_response_is_the_one_of_the_last_event() {
    let response = r#"{ "id":"r", "output":[ 1.50 ],"status":"completed" }"#;
    for kind in ["completed", "incomplete", "failed"] {
        let delta = r#"{"type":"response.output_text.delta","delta":"a"}"#;
        let created = r#"{"type":"response.created","response":{"id":"r"}}"#;
        let last = format!(r#"{{"type":"response.{kind}","response":{response}}}"#);
        let mut assembler = Assembler::new(Endpoint::Responses, 1000).unwrap();
        let data = [created, delta, &last, "[DONE]"];
        for event in events(Endpoint::Responses, &stream(Endpoint::Responses, &data)) {
            assembler.event(&event).unwrap();
        }

        // Byte for byte.
        assert_eq!(assembler.finish(true).unwrap(), response, "{kind}");
    }
}

#[test]
fn a_response_without_its_last_event_is_short() {
    let created = r#"{"type":"response.created","response":{"id":"r"}}"#;
    let long = format!(
        r#"{{"type":"response.completed","response":{{"a":"{}"}}}}"#,
        "x".repeat(2_000_000)
    );
    let error = r#"{"type":"error","code":"server_error","message":"m"}"#;

    let assemble = |data: &[&str]| assemble(Endpoint::Responses, data).unwrap_err();

    assert!(matches!(assemble(&[]), AssembleError::Incomplete { .. }));
    assert!(matches!(
        assemble(&[created]),
        AssembleError::Incomplete { .. }
    ));
    let message = "m".to_owned();
    assert_eq!(
        assemble(&[created, error]),
        AssembleError::Failed {
            status: 502,
            message
        }
    );
    let no_response = assemble(&[r#"{"type":"response.completed"}"#]);
    assert!(matches!(no_response, AssembleError::Malformed { .. }));
    let mut assembler = Assembler::new(Endpoint::Responses, 1_000_000).unwrap();
    let event = llamapool_dialect::RawEvent {
        data: long.into(),
        ..Default::default()
    };
    assert_eq!(
        assembler.event(&event),
        Err(AssembleError::TooLarge { max: 1_000_000 })
    );
}

#[test]
fn lines_of_ollama_are_joined_into_the_last_one() {
    let chat = assemble(
        Endpoint::OllamaChat,
        &[
            r#"{"model":"m","created_at":"1","message":{"role":"assistant","content":"","thinking":"h"},"done":false}"#,
            r#"{"model":"m","created_at":"2","message":{"role":"assistant","content":"a","thinking":"m"},"done":false}"#,
            r#"{"model":"m","created_at":"3","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}"#,
            r#"{"model":"m","created_at":"4","message":{"role":"assistant","content":"b","tool_calls":[{"function":{"name":"g","arguments":{}}}]},"done":false,"logprobs":[1]}"#,
            r#"{"model":"m","created_at":"5","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":4,"logprobs":[2]}"#,
        ],
    );

    let expected = json!({
        "model": "m", "created_at": "5", "done": true, "done_reason": "stop", "eval_count": 4, "logprobs": [1, 2],
        "message": {"role": "assistant", "content": "ab", "thinking": "hm", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": 1}}},
            {"function": {"name": "g", "arguments": {}}},
        ]},
    });
    assert_eq!(chat.unwrap(), expected);
    let generate = assemble(
        Endpoint::OllamaGenerate,
        &[
            r#"{"response":"a","thinking":"x","done":false}"#,
            r#"{"response":"b","thinking":"y","done":true,"context":[1,2]}"#,
        ],
    );
    let expected = json!({"response": "ab", "thinking": "xy", "done": true, "context": [1, 2]});
    assert_eq!(generate.unwrap(), expected);
}

#[test]
fn lines_of_ollama_without_done_are_short() {
    let line = r#"{"message":{"content":"a"},"done":false}"#;
    let last = r#"{"message":{"content":"a"},"done":true}"#;
    let twice = r#"{"message":{"content":"a"},"done":true,"done":false}"#;
    let endpoint = Endpoint::OllamaChat;

    for data in [
        vec![],
        vec![line],
        vec![line, r#"{"done":"true"}"#],
        vec![twice],
    ] {
        let short = assemble(endpoint, &data);
        assert!(
            matches!(short, Err(AssembleError::Incomplete { .. })),
            "{data:?}"
        );
    }
    let failed = assemble(endpoint, &[line, r#"{"error":"m"}"#]).unwrap_err();
    let message = "m".to_owned();
    assert_eq!(
        failed,
        AssembleError::Failed {
            status: 502,
            message
        }
    );
    // A space as a sign of life, and a last line without its end.
    let stream = format!("  {line}\n\n {last}");
    assert!(assemble_events(endpoint, &events(endpoint, &stream), true).is_ok());
}
