//! Streams.

use llamapool_dialect::{
    AssembleError, Endpoint, EventReader, Framing, RawEvent, StreamReader, StreamTranslator,
};
use serde_json::{Value, json};

use super::{times, translate};

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

/// A stream that is being translated.
struct Stream {
    reader: StreamReader,
    translator: StreamTranslator,
}

impl Stream {
    fn of(endpoint: Endpoint, request: &str) -> Self {
        let translated = translate(endpoint, request);
        Self {
            reader: StreamReader::new(translated.endpoint),
            translator: translated.answer.stream(),
        }
    }

    /// Takes an event, and returns the lines of it.
    fn event(&mut self, data: &str) -> Result<String, AssembleError> {
        let event = event(data);
        self.reader.event(&event);
        text(self.translator.event(&event, times()))
    }

    fn end(&mut self) -> Result<String, AssembleError> {
        text(self.translator.end(&self.reader.usage(), times()))
    }
}

fn event(data: &str) -> RawEvent {
    let mut reader = EventReader::new(Framing::Sse, 1 << 20);
    let data = data.replace('\n', " ");
    reader.push(format!("data: {data}\n\n").into()).unwrap();
    reader.next().unwrap()
}

fn text(lines: Result<bytes::Bytes, AssembleError>) -> Result<String, AssembleError> {
    lines.map(|lines| String::from_utf8(lines.to_vec()).unwrap())
}

/// Returns the lines of a chat whose events have these choices.
fn lines(choices: &[Value]) -> Vec<Value> {
    let mut stream = Stream::of(Endpoint::OllamaChat, CHAT);
    let mut text = String::new();
    for choice in choices {
        let event = json!({ "choices": [choice] }).to_string();
        text += &stream.event(&event).unwrap();
    }
    text += &stream.event("[DONE]").unwrap();
    text += &stream.end().unwrap();
    assert_eq!(stream.end().unwrap(), "", "an answer ends once");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn delta(delta: &Value) -> Value {
    json!({ "index": 0, "delta": delta, "finish_reason": null })
}

#[test]
fn events_of_llama_cpp_become_exactly_these_lines() {
    let mut stream = Stream::of(Endpoint::OllamaChat, CHAT);

    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}],
        "prompt_progress":{"total":12,"processed":6}}"#;
    assert_eq!(stream.event(role).unwrap(), "");
    let word = r#"{"choices":[{"index":0,"delta":{"content":"Gr\u00fc\n"},"finish_reason":null}]}"#;
    assert_eq!(
        stream.event(word).unwrap(),
        concat!(
            r#"{"model":"m","created_at":"2026-11-25T22:14:21.250000Z","#,
            r#""message":{"role":"assistant","content":"Gr\u00fc\n"},"done":false}"#,
            "\n"
        )
    );
    let last = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}],"timings":
        {"prompt_n":7,"cache_n":5,"prompt_ms":1.5,"predicted_n":3,"predicted_ms":2}}"#;
    assert_eq!(stream.event(last).unwrap(), "");
    assert_eq!(stream.event("[DONE]").unwrap(), "");
    assert_eq!(
        stream.end().unwrap(),
        concat!(
            r#"{"model":"m","created_at":"2026-11-25T22:14:21.250000Z","#,
            r#""message":{"role":"assistant","content":""},"done":true,"done_reason":"length","#,
            r#""total_duration":1500000000,"prompt_eval_count":12,"prompt_eval_duration":1500000,"#,
            r#""eval_count":3,"eval_duration":2000000}"#,
            "\n"
        )
    );
}

#[test]
fn counts_that_come_after_the_end_are_in_the_last_line() {
    let mut stream = Stream::of(Endpoint::OllamaChat, CHAT);
    for data in [
        r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":1}}"#,
        "[DONE]",
    ] {
        stream.event(data).unwrap();
    }

    let last: Value = serde_json::from_str(&stream.end().unwrap()).unwrap();
    assert_eq!(
        (&last["prompt_eval_count"], &last["eval_count"]),
        (&json!(4), &json!(1))
    );
}

#[test]
fn counts_of_events_alone_are_not_reported() {
    let lines = lines(&[json!({ "delta": { "content": "a" }, "finish_reason": "stop" })]);

    let last = lines.last().unwrap();
    assert_eq!(
        (&last["done"], &last["eval_count"]),
        (&json!(true), &Value::Null)
    );
}

#[test]
fn thoughts_come_in_lines_of_their_own() {
    let lines = lines(&[
        delta(&json!({ "reasoning_content": "hm" })),
        delta(&json!({ "reasoning": "so" })),
        delta(&json!({ "content": "a" })),
    ]);

    let thoughts: Vec<_> = lines
        .iter()
        .map(|line| &line["message"]["thinking"])
        .collect();
    assert_eq!(
        thoughts,
        [&json!("hm"), &json!("so"), &Value::Null, &Value::Null]
    );
    assert_eq!(lines[0]["message"]["content"], "");
}

#[test]
fn calls_of_tools_come_whole_in_one_line() {
    let part = |part: Value| delta(&json!({ "tool_calls": [part] }));
    let lines = lines(&[
        part(json!({ "index": 0, "id": "a", "type": "function",
            "function": { "name": "w", "arguments": "{\"ci" } })),
        part(json!({ "index": 0, "function": { "arguments": "ty\":\"Lagos\"}" } })),
        // Some runtimes give all calls the index 0.
        part(json!({ "index": 0, "id": "b", "type": "function",
            "function": { "name": "w", "arguments": "{\n\"city\":\"Paris\"}" } })),
        json!({ "index": 0, "delta": {}, "finish_reason": "tool_calls" }),
    ]);

    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[0]["message"]["tool_calls"],
        json!([
            { "id": "a", "function": { "index": 0, "name": "w", "arguments": { "city": "Lagos" } } },
            { "id": "b", "function": { "index": 1, "name": "w", "arguments": { "city": "Paris" } } },
        ])
    );
    assert_eq!(lines[0]["done"], false);
    assert_eq!(
        (&lines[1]["done"], &lines[1]["done_reason"]),
        (&json!(true), &json!("stop"))
    );
}

#[test]
fn calls_of_tools_that_are_cut_are_no_answer() {
    let mut stream = Stream::of(Endpoint::OllamaChat, CHAT);
    let part = json!([{ "index": 0, "id": "a", "function": { "name": "w", "arguments": "{\"c" } }]);
    let cut =
        json!({ "choices": [{ "delta": { "tool_calls": part }, "finish_reason": "length" }] });

    stream.event(&cut.to_string()).unwrap();

    assert!(matches!(stream.end(), Err(AssembleError::Malformed { .. })));
}

#[test]
fn a_late_error_is_the_last_line() {
    let mut stream = Stream::of(Endpoint::OllamaChat, CHAT);
    stream
        .event(r#"{"choices":[{"delta":{"content":"a"}}]}"#)
        .unwrap();

    let error = stream.event(r#"{"error":{"message":"out of \"memory\"","code":500}}"#);

    assert_eq!(error.unwrap(), "{\"error\":\"out of \\\"memory\\\"\"}\n");
    assert_eq!(
        stream
            .event(r#"{"choices":[{"delta":{"content":"b"}}]}"#)
            .unwrap(),
        ""
    );
    assert_eq!(stream.end().unwrap(), "");
}

#[test]
fn a_raw_prompt_streams_its_text() {
    let raw = r#"{"model":"m","prompt":"hi","raw":true}"#;
    let mut stream = Stream::of(Endpoint::OllamaGenerate, raw);

    let line = stream
        .event(r#"{"choices":[{"text":" a","index":0}]}"#)
        .unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let last: Value = serde_json::from_str(&stream.end().unwrap()).unwrap();

    assert_eq!(
        (&line["response"], &line["done"]),
        (&json!(" a"), &json!(false))
    );
    assert_eq!(
        (&last["response"], &last["done"]),
        (&json!(""), &json!(true))
    );
}

#[test]
fn only_the_choice_that_was_asked_for_is_read() {
    let other = json!({ "index": 1, "delta": { "content": "b" }, "finish_reason": "length" });

    let lines = lines(&[delta(&json!({ "content": "a" })), other]);

    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["message"]["content"], "a");
    assert_eq!(lines[1]["done_reason"], "stop");
}

#[test]
fn an_event_that_is_no_json_is_an_error() {
    let mut stream = Stream::of(Endpoint::OllamaChat, CHAT);

    assert!(stream.event("<html>").is_err());
    assert!(stream.event("7").is_err());
    assert_eq!(stream.event("null").unwrap(), "");
}
