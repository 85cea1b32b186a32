//! Requests.

use llamapool_dialect::{Endpoint, LlmErrorKind, translate_request};
use serde_json::{Value, json};

use super::{LLAMA_CPP, PLAIN, chat_with, translate};

fn text(endpoint: Endpoint, body: &str) -> String {
    String::from_utf8(translate(endpoint, body).body.to_vec()).unwrap()
}

/// Returns the messages that messages are translated to.
fn messages(messages: &Value) -> Value {
    chat_with(&json!({ "messages": messages }), &LLAMA_CPP)["messages"].clone()
}

/// Returns the member that an error names, and its text.
fn refusal(endpoint: Endpoint, body: &str) -> (Option<&'static str>, String) {
    let error = translate_request(endpoint, body.as_bytes(), &PLAIN).unwrap_err();
    assert_eq!(error.kind(), LlmErrorKind::InvalidRequest);
    (error.param(), error.to_string())
}

#[test]
fn a_chat_becomes_exactly_these_bytes() {
    let body = concat!(
        "\u{feff}",
        r#" {"keep_alive":"5m","model":"smollm2:latest","stream":false,"unknown":{"a":1},"#,
        r#""options":{"temperature":0.50,"num_ctx":4096,"num_predict":12},"#,
        r#""messages":[{"role":"user","content":"Grüße \u00e9\n"}]}"#,
    );
    let expected = concat!(
        r#"{"model":"smollm2:latest","stream":false,"#,
        r#""messages":[{"role":"user","content":"Grüße \u00e9\n"}],"temperature":0.50,"max_tokens":12}"#,
    );

    let translated = translate(Endpoint::OllamaChat, body);

    assert_eq!(translated.endpoint, Endpoint::ChatCompletions);
    assert_eq!(translated.path, "/v1/chat/completions");
    assert_eq!(translated.body, expected);
}

#[test]
fn a_chat_streams_unless_it_says_no() {
    for (members, streams) in [
        (json!({}), true),
        (json!({ "stream": null }), true),
        (json!({ "stream": true }), true),
        (json!({ "stream": false }), false),
    ] {
        assert_eq!(chat_with(&members, &PLAIN)["stream"], streams, "{members}");
    }
}

#[test]
fn images_become_data_urls_of_their_type() {
    for (image, kind) in [
        ("iVBORw0KGgoAAAA", "image/png"),
        ("/9j/4AAQSkZJRg", "image/jpeg"),
        ("R0lGODlhAQAB", "image/gif"),
        ("UklGRiIAAABXRUJQ", "image/webp"),
        ("Qk0eAAAAAAAA", "image/bmp"),
    ] {
        let found = messages(&json!([{ "role": "user", "content": "What?", "images": [image] }]));

        let url = format!("data:{kind};base64,{image}");
        let parts = json!([{ "type": "text", "text": "What?" },
            { "type": "image_url", "image_url": { "url": url } }]);
        assert_eq!(found, json!([{ "role": "user", "content": parts }]));
    }
    let escaped = r#"{"messages":[{"role":"user","images":["\/9j\/4AAQ"]}]}"#;
    let found = text(Endpoint::OllamaChat, escaped);
    assert!(
        found.contains(r#"data:image/jpeg;base64,\/9j\/4AAQ"#),
        "{found}"
    );
    let url = json!([{ "role": "user", "images": ["data:image/avif;base64,AAAA"] }]);
    let found = messages(&url);
    let part = &found[0]["content"][0]["image_url"]["url"];
    assert_eq!(part, "data:image/avif;base64,AAAA");
}

#[test]
fn calls_of_tools_and_results_get_matching_ids() {
    let call = |name: &str| json!({ "function": { "name": name, "arguments": { "c": "Lagos" } } });
    let found = messages(&json!([
        { "role": "assistant", "content": "", "tool_calls": [call("a"), call("b"), call("a")] },
        { "role": "tool", "tool_name": "b", "content": "B" },
        { "role": "tool", "tool_name": "a", "content": "A1" },
        { "role": "tool", "tool_name": "a", "content": "A2" },
        { "role": "tool", "content": "none is open" },
    ]));

    let calls = &found[0]["tool_calls"];
    assert_eq!(
        calls[0],
        json!({ "id": "call_0", "type": "function",
            "function": { "name": "a", "arguments": r#"{"c":"Lagos"}"# } })
    );
    let ids: Vec<_> = (1..5).map(|at| &found[at]["tool_call_id"]).collect();
    assert_eq!(ids, ["call_1", "call_0", "call_2", "call_3"]);
    assert_eq!(found[1]["content"], "B");
    assert_eq!(found[1]["tool_name"], Value::Null);
}

#[test]
fn ids_that_calls_have_are_kept() {
    let found = messages(&json!([
        { "role": "assistant", "tool_calls": [
            { "id": "x", "function": { "name": "a", "arguments": {} } },
            { "id": "y", "function": { "name": "a" } }] },
        { "role": "tool", "tool_call_id": "y", "content": "Y" },
        { "role": "tool", "tool_name": "a", "content": "X" },
    ]));

    assert_eq!(found[0]["tool_calls"][1]["id"], "y");
    assert_eq!(found[0]["tool_calls"][1]["function"]["arguments"], "{}");
    assert_eq!(found[1]["tool_call_id"], "y");
    assert_eq!(found[2]["tool_call_id"], "x");
}

#[test]
fn thoughts_of_earlier_turns_go_where_templates_take_them() {
    let turns = json!([{ "role": "assistant", "content": "a", "thinking": "hm" }]);
    let body = json!({ "messages": turns });

    let taken = chat_with(&body, &LLAMA_CPP);
    let left = chat_with(&body, &PLAIN);

    assert_eq!(taken["messages"][0]["reasoning_content"], "hm");
    assert_eq!(
        left["messages"],
        json!([{ "role": "assistant", "content": "a" }])
    );
}

#[test]
fn tools_and_formats_are_those_of_the_other_api() {
    let tool = json!([{ "type": "function", "function": { "name": "a", "parameters": {} } }]);
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });

    let found = chat_with(&json!({ "tools": tool, "format": schema }), &PLAIN);

    assert_eq!(found["tools"], tool);
    assert_eq!(
        found["response_format"],
        json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } })
    );
    let found = chat_with(&json!({ "tools": [], "format": "json" }), &PLAIN);
    assert_eq!(found["response_format"], json!({ "type": "json_object" }));
    assert_eq!(found["tools"], Value::Null);
    let found = chat_with(&json!({ "format": "" }), &PLAIN);
    assert_eq!(found["response_format"], Value::Null);
}

#[test]
fn options_go_where_the_runtime_knows_them() {
    let options = json!({ "options": { "temperature": 0, "top_p": 0.9, "seed": 7, "top_k": 40,
        "min_p": 0.05, "repeat_penalty": 1.1, "presence_penalty": 0.1, "frequency_penalty": 0.2,
        "stop": ["a"], "num_predict": 9, "num_ctx": 4096, "num_gpu": 1, "num_thread": 2 } });
    let vllm = llamapool_dialect::RuntimeExtensions {
        repeat_penalty: Some("repetition_penalty"),
        ..PLAIN
    };
    let same = json!({ "temperature": 0, "top_p": 0.9, "seed": 7, "presence_penalty": 0.1,
        "frequency_penalty": 0.2, "stop": ["a"], "max_tokens": 9 });

    for (extensions, penalty) in [
        (PLAIN, None),
        (LLAMA_CPP, Some("repeat_penalty")),
        (vllm, Some("repetition_penalty")),
    ] {
        let mut found = chat_with(&options, &extensions);
        let members = found.as_object_mut().unwrap();
        for name in ["model", "stream", "messages"] {
            members.remove(name);
        }

        let mut expected = same.clone();
        if let Some(penalty) = penalty {
            expected["top_k"] = json!(40);
            expected["min_p"] = json!(0.05);
            expected[penalty] = json!(1.1);
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn no_bound_of_an_answer_is_none() {
    for (number, most) in [
        (json!(-1), Value::Null),
        (json!(-2), Value::Null),
        (json!(0), Value::Null),
        (json!(null), Value::Null),
        (json!(12.0), json!(12)),
    ] {
        let found = chat_with(&json!({ "options": { "num_predict": number } }), &PLAIN);
        assert_eq!(found["max_tokens"], most, "{number}");
    }
}

#[test]
fn thinking_is_an_argument_of_the_template() {
    for (think, arguments) in [
        (json!(true), json!({ "enable_thinking": true })),
        (json!(false), json!({ "enable_thinking": false })),
        (
            json!("high"),
            json!({ "enable_thinking": true, "reasoning_effort": "high" }),
        ),
        (json!(null), Value::Null),
    ] {
        let found = chat_with(&json!({ "think": think }), &LLAMA_CPP);
        assert_eq!(found["chat_template_kwargs"], arguments);
    }
}

#[test]
fn a_prompt_becomes_a_chat_of_its_system_and_itself() {
    let body = r#"{"model":"m","prompt":"Hi","system":"Be kind.","images":["iVBORw0KGgo="],
        "suffix":"","template":"","context":[],"raw":false,"format":"json","options":{"seed":1}}"#;

    let translated = translate(Endpoint::OllamaGenerate, body);

    assert_eq!(translated.endpoint, Endpoint::ChatCompletions);
    let found: Value = serde_json::from_slice(&translated.body).unwrap();
    let url = "data:image/png;base64,iVBORw0KGgo=";
    assert_eq!(
        found,
        json!({ "model": "m", "stream": true, "messages": [
            { "role": "system", "content": "Be kind." },
            { "role": "user", "content": [{ "type": "text", "text": "Hi" },
                { "type": "image_url", "image_url": { "url": url } }] }],
            "response_format": { "type": "json_object" }, "seed": 1 })
    );
}

#[test]
fn a_raw_prompt_is_completed_as_it_is() {
    let body = r#"{"model":"m","prompt":"<s>Hi","raw":true,"stream":false,
        "options":{"num_predict":3,"stop":"x","top_k":2}}"#;

    let translated = translate(Endpoint::OllamaGenerate, body);

    assert_eq!(translated.endpoint, Endpoint::Completions);
    assert_eq!(translated.path, "/v1/completions");
    assert_eq!(
        translated.body,
        concat!(
            r#"{"model":"m","stream":false,"prompt":"<s>Hi","#,
            r#""top_k":2,"stop":"x","max_tokens":3}"#
        )
    );
}

#[test]
fn inputs_of_embeddings_stay_as_they_are() {
    let found = text(
        Endpoint::OllamaEmbed,
        r#"{"model":"e5","input":["a", "b"],"truncate":true,"dimensions":64,"options":{}}"#,
    );
    assert_eq!(
        found,
        r#"{"model":"e5","input":["a", "b"],"dimensions":64,"encoding_format":"float"}"#
    );
    let one = translate(Endpoint::OllamaEmbed, r#"{"model":"e5","input":"a"}"#);
    assert_eq!(one.endpoint, Endpoint::Embeddings);
    assert_eq!(
        one.body,
        r#"{"model":"e5","input":"a","encoding_format":"float"}"#
    );
}

#[test]
fn what_cannot_be_honoured_is_named() {
    use Endpoint::{OllamaChat, OllamaEmbed, OllamaGenerate};
    let chat = |member: &str| {
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],{member}}}"#)
    };
    let generate = |member: &str| format!(r#"{{"model":"m","prompt":"a",{member}}}"#);
    for (endpoint, body, name) in [
        (
            OllamaChat,
            chat(r#""template":"{{ .Prompt }}""#),
            "template",
        ),
        (OllamaChat, chat(r#""think":true"#), "think"),
        (OllamaChat, chat(r#""logprobs":true"#), "logprobs"),
        (
            OllamaChat,
            r#"{"model":"m","messages":[]}"#.to_owned(),
            "messages",
        ),
        (OllamaGenerate, generate(r#""template":"x""#), "template"),
        (OllamaGenerate, generate(r#""suffix":"x""#), "suffix"),
        (OllamaGenerate, generate(r#""context":[1]"#), "context"),
        (
            OllamaGenerate,
            generate(r#""raw":true,"system":"x""#),
            "system",
        ),
        (
            OllamaGenerate,
            generate(r#""raw":true,"format":"json""#),
            "format",
        ),
        (
            OllamaGenerate,
            generate(r#""raw":true,"images":["x"]"#),
            "images",
        ),
        (
            OllamaGenerate,
            r#"{"model":"m","keep_alive":0}"#.to_owned(),
            "prompt",
        ),
        (OllamaEmbed, r#"{"model":"m"}"#.to_owned(), "input"),
    ] {
        let (param, message) = refusal(endpoint, &body);
        assert_eq!(param, Some(name), "{body}: {message}");
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
    assert_eq!(
        refusal(OllamaChat, &chat(r#""template":"x""#)).1,
        "`template` cannot be honoured by the runtime of this worker: it uses the template of the model"
    );
}

#[test]
fn wrong_values_are_named_with_what_was_expected() {
    use Endpoint::{OllamaChat, OllamaEmbed, OllamaGenerate};
    let message = |message: &str| format!(r#"{{"messages":[{message}]}}"#);
    let chat =
        |member: &str| format!(r#"{{"messages":[{{"role":"user","content":"a"}}],{member}}}"#);
    for (endpoint, body, name) in [
        (OllamaChat, message("7"), "messages"),
        (OllamaChat, message(r#"{"content":"a"}"#), "messages.role"),
        (
            OllamaChat,
            message(r#"{"role":"user","content":[]}"#),
            "messages.content",
        ),
        (
            OllamaChat,
            message(r#"{"role":"user","images":"x"}"#),
            "messages.images",
        ),
        (
            OllamaChat,
            message(r#"{"role":"user","images":["AAAA"]}"#),
            "messages.images",
        ),
        (
            OllamaChat,
            message(r#"{"role":"user","images":[7]}"#),
            "messages.images",
        ),
        (
            OllamaChat,
            message(r#"{"role":"assistant","tool_calls":[{"function":{"arguments":{}}}]}"#),
            "messages.tool_calls.function.name",
        ),
        (
            OllamaChat,
            message(
                r#"{"role":"assistant","tool_calls":[{"function":{"name":"a","arguments":7}}]}"#,
            ),
            "messages.tool_calls.function.arguments",
        ),
        (OllamaChat, r#"{"messages":{}}"#.to_owned(), "messages"),
        (OllamaChat, chat(r#""tools":{}"#), "tools"),
        (OllamaChat, chat(r#""format":"xml""#), "format"),
        (OllamaChat, chat(r#""think":"much""#), "think"),
        (OllamaChat, chat(r#""stream":1"#), "stream"),
        (OllamaChat, chat(r#""options":[]"#), "options"),
        (
            OllamaChat,
            chat(r#""options":{"temperature":"hot"}"#),
            "options.temperature",
        ),
        (
            OllamaChat,
            chat(r#""options":{"num_predict":1.5}"#),
            "options.num_predict",
        ),
        (OllamaChat, chat(r#""options":{"stop":7}"#), "options.stop"),
        (OllamaGenerate, r#"{"prompt":["a"]}"#.to_owned(), "prompt"),
        (OllamaEmbed, r#"{"input":7}"#.to_owned(), "input"),
    ] {
        let (param, message) = refusal(endpoint, &body);
        assert_eq!(param, Some(name), "{body}: {message}");
        assert!(message.contains("expected"), "{message}");
    }
}

#[test]
fn a_member_that_is_read_must_not_be_there_twice() {
    use Endpoint::{OllamaChat, OllamaEmbed, OllamaGenerate};
    for (endpoint, body, name) in [
        (
            OllamaChat,
            r#"{"messages":[],"format":"json","format":""}"#,
            "format",
        ),
        (
            OllamaChat,
            r#"{"messages":[{"role":"a","role":"b"}]}"#,
            "messages.role",
        ),
        (
            OllamaChat,
            r#"{"messages":[{"role":"a"}],"options":{"seed":1,"se\u0065d":2}}"#,
            "options.seed",
        ),
        (
            OllamaGenerate,
            r#"{"prompt":"a","raw":true,"raw":false}"#,
            "raw",
        ),
        (
            OllamaEmbed,
            r#"{"input":"a","dimensions":1,"dimensions":2}"#,
            "dimensions",
        ),
    ] {
        let (param, message) = refusal(endpoint, body);
        assert_eq!(param, Some(name), "{body}: {message}");
        assert!(message.contains("twice"), "{message}");
    }
    assert!(translate_request(OllamaEmbed, br#"{"input":"a","x":1,"x":2}"#, &PLAIN).is_ok());
}
