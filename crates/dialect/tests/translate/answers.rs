//! Whole answers and errors.

use llamapool_dialect::{AnswerTranslator, AssembleError, Endpoint};
use serde_json::{Value, json};

use super::{times, translate};

const CHAT: &str = r#"{"model":"smollm2","messages":[{"role":"user","content":"hi"}]}"#;
const GENERATE: &str = r#"{"model":"m","prompt":"hi"}"#;

fn whole(endpoint: Endpoint, request: &str, answer: &str) -> Result<String, AssembleError> {
    let translated = translate(endpoint, request);
    let made = translated
        .answer
        .whole(translated.endpoint, answer.as_bytes(), times())?;
    Ok(String::from_utf8(made.to_vec()).unwrap())
}

fn answer(endpoint: Endpoint, request: &str, answer: &Value) -> Value {
    let made = whole(endpoint, request, &answer.to_string()).unwrap();
    serde_json::from_str(&made).unwrap()
}

fn chat(message: &Value) -> Value {
    let answered = json!({ "choices": [{ "message": message, "finish_reason": "stop" }] });
    answer(Endpoint::OllamaChat, CHAT, &answered)
}

#[test]
fn an_answer_of_llama_cpp_becomes_exactly_these_bytes() {
    let answered = concat!(
        r#"{"choices":[{"finish_reason":"length","index":0,"message":"#,
        r#"{"role":"assistant","reasoning_content":"hm","content":"Gr\u00fc\u00dfe\n"}}],"#,
        r#""created":1,"model":"other","usage":{"completion_tokens":3,"prompt_tokens":12,"#,
        r#""total_tokens":15},"timings":{"prompt_n":7,"cache_n":5,"prompt_ms":20.5,"#,
        r#""predicted_n":3,"predicted_ms":40}}"#,
    );

    assert_eq!(
        whole(Endpoint::OllamaChat, CHAT, answered).unwrap(),
        concat!(
            r#"{"model":"smollm2","created_at":"2026-11-25T22:14:21.250000Z","#,
            r#""message":{"role":"assistant","content":"Gr\u00fc\u00dfe\n","thinking":"hm"},"#,
            r#""done":true,"done_reason":"length","total_duration":1500000000,"#,
            r#""prompt_eval_count":12,"prompt_eval_duration":20500000,"#,
            r#""eval_count":3,"eval_duration":40000000}"#,
        )
    );
}

#[test]
fn what_a_runtime_does_not_report_is_left_out() {
    let found = chat(&json!({ "content": "a" }));

    assert_eq!(
        found,
        json!({ "model": "smollm2", "created_at": "2026-11-25T22:14:21.250000Z",
            "message": { "role": "assistant", "content": "a" },
            "done": true, "done_reason": "stop", "total_duration": 1_500_000_000_u64 })
    );
}

#[test]
fn calls_of_tools_have_objects_as_arguments() {
    let call = |id: &str, arguments: &str| {
        json!({ "id": id, "type": "function",
            "function": { "name": "get_weather", "arguments": arguments } })
    };
    let calls = [
        call("a", "{\n \"city\": \"Lagos\\n\" }"),
        call("b", ""),
        json!({ "id": "c", "type": "custom", "custom": { "name": "x", "input": "" } }),
    ];

    let found = chat(&json!({ "content": null, "tool_calls": calls }));

    assert_eq!(found["message"]["content"], "");
    assert_eq!(
        found["message"]["tool_calls"],
        json!([
            { "id": "a", "function": { "index": 0, "name": "get_weather",
                "arguments": { "city": "Lagos\n" } } },
            { "id": "b", "function": { "index": 1, "name": "get_weather", "arguments": {} } },
        ])
    );
    assert_eq!(found["done_reason"], "stop");
}

#[test]
fn arguments_that_are_no_object_are_no_answer() {
    for arguments in ["{\"city\":", "7", "[]", "{} {}"] {
        let answered = json!({ "choices": [{ "message": { "tool_calls": [
            { "function": { "name": "a", "arguments": arguments } }] } }] });
        let made = whole(Endpoint::OllamaChat, CHAT, &answered.to_string());
        assert!(
            matches!(made, Err(AssembleError::Malformed { .. })),
            "{arguments}: {made:?}"
        );
    }
}

#[test]
fn thoughts_have_one_name_however_the_runtime_calls_them() {
    for thoughts in [
        json!({ "content": "a", "reasoning": "hm" }),
        json!({ "content": "a", "reasoning_content": "hm" }),
        json!({ "content": "a", "reasoning_content": "hm", "reasoning": "hm" }),
        json!({ "content": "a", "reasoning_content": "hm", "reasoning": null }),
    ] {
        assert_eq!(chat(&thoughts)["message"]["thinking"], "hm", "{thoughts}");
    }
}

#[test]
fn prompts_are_answered_with_a_response() {
    let message = json!({ "content": "a", "reasoning": "hm" });
    let of_chat = json!({ "choices": [{ "message": message, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 2, "completion_tokens": 1 } });
    let raw = r#"{"model":"m","prompt":"hi","raw":true}"#;
    let of_completion = json!({ "choices": [{ "text": "b", "finish_reason": "length" }] });

    let found = answer(Endpoint::OllamaGenerate, GENERATE, &of_chat);
    assert_eq!(
        (&found["response"], &found["thinking"]),
        (&json!("a"), &json!("hm"))
    );
    assert_eq!(found["message"], Value::Null);
    assert_eq!(
        (&found["prompt_eval_count"], &found["eval_count"]),
        (&json!(2), &json!(1))
    );
    let found = answer(Endpoint::OllamaGenerate, raw, &of_completion);
    assert_eq!(
        (&found["response"], &found["done_reason"]),
        (&json!("b"), &json!("length"))
    );
}

#[test]
fn vectors_of_length_one_stay_as_they_are_written() {
    let body = concat!(
        r#"{"object":"list","data":[{"index":1,"embedding":[0.0, -1.00]},"#,
        r#"{"index":0,"embedding":[6.0e-1,0.8]}],"usage":{"prompt_tokens":9,"total_tokens":9}}"#,
    );

    assert_eq!(
        whole(
            Endpoint::OllamaEmbed,
            r#"{"model":"e5","input":["a","b"]}"#,
            body
        )
        .unwrap(),
        concat!(
            r#"{"model":"e5","embeddings":[[6.0e-1,0.8],[0.0, -1.00]],"#,
            r#""total_duration":1500000000,"prompt_eval_count":9}"#,
        )
    );
}

#[test]
fn vectors_of_other_lengths_get_the_length_one() {
    let answered = json!({ "data": [{ "embedding": [3, 4] }, { "embedding": [0, 0] }] });

    let found = answer(
        Endpoint::OllamaEmbed,
        r#"{"model":"e5","input":["a","b"]}"#,
        &answered,
    );

    assert_eq!(found["embeddings"][1], json!([0, 0]));
    let vector: Vec<f64> = serde_json::from_value(found["embeddings"][0].clone()).unwrap();
    assert!(
        (vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6,
        "{vector:?}"
    );
    assert_eq!(found["prompt_eval_count"], Value::Null);
}

#[test]
fn what_is_no_answer_is_an_error() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"choices":[7]}"#,
        "\u{0}",
    ] {
        assert!(whole(Endpoint::OllamaChat, CHAT, body).is_err(), "{body}");
    }
    let embed = r#"{"model":"m","input":"a"}"#;
    for body in [
        r#"{"data":[{}]}"#,
        r#"{"data":[{"embedding":"AACA"}]}"#,
        "7",
    ] {
        assert!(whole(Endpoint::OllamaEmbed, embed, body).is_err(), "{body}");
    }
}

#[test]
fn errors_keep_the_runtimes_words() {
    for (body, message) in [
        (
            r#"{"error":{"code":503,"message":"Loading model"}}"#,
            "Loading model",
        ),
        (r#"{"error":"out of memory"}"#, "out of memory"),
        (
            r#"{"object":"error","message":"too long","code":400}"#,
            "too long",
        ),
        (r#"{"detail":"Not Found"}"#, "Not Found"),
        ("404 page \"not\" found\n", "404 page \"not\" found"),
        ("", "the runtime names no reason"),
    ] {
        let made = AnswerTranslator::error(body.as_bytes());
        let found: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(found, json!({ "error": message }), "{body}");
    }
}
