//! What is read of a request, row by row of what users of such systems met.

mod prefix;
mod properties;

use serde_json::json;

use super::*;
use crate::endpoint::Endpoint::{
    self, ChatCompletions, Completions, CountTokens, Embeddings, ImageEdits, Messages, OllamaChat,
    OllamaEmbed, OllamaGenerate, OllamaShow, Rerank, Responses, Speech, StoredResponse,
};
use crate::error_body::LlmErrorKind;

fn read(endpoint: Endpoint, body: &str) -> Result<RequestInfo, RequestError> {
    read_request(endpoint, None, &Bytes::copy_from_slice(body.as_bytes()))
}

fn info(endpoint: Endpoint, body: &str) -> RequestInfo {
    read(endpoint, body).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn error(endpoint: Endpoint, body: &str) -> String {
    match read(endpoint, body) {
        Ok(_) => panic!("{body} is read"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_members_of_a_chat_are_read() {
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"model":"qwen3:8b","stream":true,
        "stream_options":{"include_usage":true},"max_tokens":7,"n":2,"return_progress":true,
        "tools":[{"type":"function","function":{"name":"f"}}],"service_tier":"flex"}"#;
    let read = info(ChatCompletions, body);

    assert_eq!(read.model.as_deref(), Some("qwen3:8b"));
    assert_eq!(read.stream, Some(true));
    assert_eq!(read.max_output_tokens, Some(7));
    assert_eq!(read.choices, 2);
    assert!(read.has_prompt && read.has_tools && read.wants_usage && read.wants_progress);
    assert!(read.wants_low_priority && read.is_repeatable && !read.must_stay_as_asked);
    assert!(!read.stores && !read.is_background && !read.is_unload);
    let prompt = [
        r#"[{"type":"function","function":{"name":"f"}}]"#,
        r#"{"role":"user","content":"hi"}"#,
    ];
    assert_eq!(read.prompt_bytes, prompt.concat().len() as u64);
    assert_eq!(read.estimated_prompt_tokens(4.0), 19);
}

#[test]
fn names_and_models_with_escapes_are_read() {
    let body = "{ \"m\\u006fdel\"\r\n:\t\"qw\\u0065n\\/3\" , \"str\\u0065am\" : true }";
    let read = info(ChatCompletions, body);

    assert_eq!(read.model.as_deref(), Some("qwen/3"));
    assert_eq!(read.stream, Some(true));
}

/// Clients leave the model out, and those of llama.cpp send an empty one.
#[test]
fn a_model_may_be_missing_null_or_empty() {
    for body in ["{}", r#"{"model":null}"#, r#"{"model":""}"#] {
        assert_eq!(info(ChatCompletions, body).model, None, "{body}");
    }
}

#[test]
fn a_bom_before_the_json_is_passed_over() {
    let read = info(ChatCompletions, "\u{feff} {\"model\":\"m\"}");

    assert_eq!(read.model.as_deref(), Some("m"));
}

#[test]
fn json_is_read_whatever_its_content_type_but_a_form() {
    let body = Bytes::from_static(br#"{"model":"m"}"#);
    for claimed in [
        None,
        Some("application/x-www-form-urlencoded"),
        Some("text/plain; charset=utf-8"),
        Some(""),
    ] {
        let read = read_request(OllamaChat, claimed, &body).unwrap();
        assert_eq!(read.model.as_deref(), Some("m"), "{claimed:?}");
    }

    let form = read_request(OllamaChat, Some("Multipart/Form-Data; boundary=x"), &body);
    assert_eq!(form, Err(RequestError::UnexpectedForm));
    assert_eq!(
        RequestError::UnexpectedForm.kind(),
        LlmErrorKind::UnsupportedMediaType
    );
}

#[test]
fn endpoints_with_forms_take_json_that_is_declared() {
    let body = Bytes::from_static(br#"{"model":"m","prompt":"p"}"#);

    let read = read_request(ImageEdits, Some("application/json"), &body).unwrap();
    let undeclared = read_request(ImageEdits, Some("text/plain"), &body).unwrap_err();

    assert_eq!(read.model.as_deref(), Some("m"));
    assert_eq!(
        undeclared.to_string(),
        "the body is text/plain, expected multipart/form-data"
    );
}

#[test]
fn a_request_without_a_body_to_read_is_not_read() {
    let read = read_request(StoredResponse, None, &Bytes::from_static(b"no JSON")).unwrap();

    assert_eq!(read.model, None);
    assert!(!read.is_repeatable && read.must_stay_as_asked);
}

#[test]
fn bodies_that_cannot_be_read_are_named() {
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(128), "]".repeat(128));
    let deep_prompt = format!(r#"{{"messages":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    let long = format!(r#"{{"model":"{}"}}"#, "ä".repeat(257));
    let cases: &[(&str, &str)] = &[
        ("", "the body is empty, expected JSON"),
        (
            " \u{feff}",
            "the body is not JSON: expected value at line 1 column 2",
        ),
        ("\u{feff}\n", "the body is empty, expected JSON"),
        ("[]", "the body is an array, expected an object"),
        (r#""x""#, "the body is a string, expected an object"),
        (
            r#"{"model":}"#,
            "the body is not JSON: expected value at line 1 column 10",
        ),
        (
            r#"{"model":"m"} x"#,
            "the body is not JSON: trailing characters at line 1 column 15",
        ),
        (
            "{\"a\":\"\n\"}",
            "the body is not JSON: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 6",
        ),
        (&deep, "the body is nested deeper than 128 levels"),
        (&deep_prompt, "the body is nested deeper than 128 levels"),
        (r#"{"model":5}"#, "`model` is 5, expected a string"),
        (
            r#"{"model":"\ud800"}"#,
            r#"`model` is "\ud800", expected a string of Unicode characters"#,
        ),
        (
            r#"{"model":"a\u0007"}"#,
            r"`model` is a\u{7}, expected printable characters",
        ),
        (&long, "`model` has 257 characters, expected at most 256"),
        (
            r#"{"stream":"true"}"#,
            r#"`stream` is "true", expected true or false"#,
        ),
        (
            r#"{"stream":{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":1}}"#,
            r#"`stream` is {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…, expected true or false"#,
        ),
        (
            r#"{"stream_options":{"include_usage":1}}"#,
            "`stream_options.include_usage` is 1, expected true or false",
        ),
    ];

    for (body, expected) in cases {
        assert_eq!(error(ChatCompletions, body), *expected, "{body}");
    }
    let no_text = Bytes::from_static(b"{\"model\":\"\xff\"}");
    let no_text = read_request(ChatCompletions, None, &no_text).unwrap_err();
    assert_eq!(no_text.kind(), LlmErrorKind::InvalidRequest);
}

#[test]
fn the_depth_may_reach_its_bound() {
    let deep = |depth| format!(r#"{{"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));

    assert!(read(ChatCompletions, &deep(127)).is_ok());
    assert_eq!(
        read(ChatCompletions, &deep(128)),
        Err(RequestError::TooDeep)
    );
    assert_eq!(
        read(ChatCompletions, &deep(100_000)),
        Err(RequestError::TooDeep)
    );
}

/// Readers of JSON differ in which one of two counts: a key's list of models must hold for all.
#[test]
fn members_that_are_read_may_not_be_there_twice() {
    let cases = [
        (r#"{"model":"a","model":"b"}"#, "model"),
        (r#"{"model":"a","m\u006fdel":"b"}"#, "model"),
        (r#"{"stream":true,"stream":true}"#, "stream"),
        (r#"{"messages":[],"messages":[]}"#, "messages"),
        (
            r#"{"keep_alive":0,"model":"a","keep_alive":1}"#,
            "keep_alive",
        ),
        (
            r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#,
            "stream_options.include_usage",
        ),
        (
            r#"{"options":{"num_ctx":1,"a":{},"num_ctx":2}}"#,
            "options.num_ctx",
        ),
    ];

    for (body, name) in cases {
        let error = read(OllamaChat, body).unwrap_err();
        assert_eq!(error, RequestError::Duplicate { name }, "{body}");
        assert_eq!(error.param(), Some(name));
    }
    assert!(read(OllamaChat, r#"{"a":1,"a":2,"name":1,"name":2}"#).is_ok());
}

/// Ollama takes `Model` for `model`, and the last of the two.
#[test]
fn members_that_differ_in_case_alone_are_refused() {
    let cases = [
        (r#"{"model":"a","Model":"b"}"#, "model"),
        (r#"{"KEEP_ALIVE":0}"#, "keep_alive"),
        ("{\"\u{212a}eep_alive\":0}", "keep_alive"),
        ("{\"me\u{17f}\u{17f}ages\":[]}", "messages"),
        (r#"{"\u004dodel":"a"}"#, "model"),
        (r#"{"N":1}"#, "n"),
    ];
    assert!(read(OllamaChat, r#"{"Name":"a","Modelx":1,"\u00e4":1}"#).is_ok());

    for (body, expected) in cases {
        match read(OllamaChat, body).unwrap_err() {
            RequestError::OtherCase { name, .. } => assert_eq!(name, expected, "{body}"),
            other => panic!("{body}: {other}"),
        }
    }
}

#[test]
fn a_negative_or_huge_length_of_the_answer_is_no_error() {
    let lengths = [
        (r#"{"max_tokens":-1}"#, None),
        (r#"{"max_tokens":0}"#, None),
        (r#"{"max_tokens":null}"#, None),
        (r#"{"max_tokens":"7"}"#, None),
        (r#"{"max_tokens":1.5}"#, None),
        (r#"{"max_tokens":99999999999999999999}"#, None),
        (r#"{"max_tokens":262144}"#, Some(262_144)),
        (r#"{"max_completion_tokens":7}"#, Some(7)),
        (r#"{"max_output_tokens":7,"max_tokens":9}"#, Some(9)),
        (r#"{"options":{"num_predict":5}}"#, Some(5)),
        (r#"{"options":{"num_predict":-2}}"#, None),
    ];

    for (body, expected) in lengths {
        assert_eq!(info(OllamaChat, body).max_output_tokens, expected, "{body}");
    }
    for (n, expected) in [("0", 1), ("-3", 1), ("null", 1), ("5", 5), ("100000", 128)] {
        let body = format!(r#"{{"n":{n}}}"#);
        assert_eq!(info(ChatCompletions, &body).choices, expected, "{n}");
    }
}

/// Two megabytes of a picture are not 650 000 tokens.
#[test]
fn base64_counts_as_media_and_not_as_text() {
    let base64 = "QUJD".repeat(675_000);
    let url = format!("data:image/png;base64,{base64}");
    let escaped = url.replace('/', r"\/");
    let contents = [
        json!({"role":"user","content":[{"type":"image_url","image_url":{"url":url}}]}).to_string(),
        format!(
            r#"{{"role":"user","content":[{{"type":"input_image","image_url":"{escaped}"}}]}}"#
        ),
        json!({"role":"user","content":[{"type":"image","source":
            {"data":base64,"media_type":"image/png","type":"base64"}}]})
        .to_string(),
        json!({"role":"user","content":"x","images":[base64]}).to_string(),
        json!({"role":"user","content":[{"type":"input_audio","input_audio":
            {"data":base64,"format":"wav"}}]})
        .to_string(),
        json!({"role":"user","content":[{"type":"file","file":{"file_data":base64}}]}).to_string(),
    ];

    for content in contents {
        let body = format!(r#"{{"model":"m","messages":[{content}]}}"#);
        let read = info(ChatCompletions, &body);
        let shape = content.replace(&base64, "").len() as u64;

        assert_eq!(read.media, 1, "{:.80}", content);
        assert!(read.prompt_bytes <= shape, "{:.80}", content);
        assert!(read.estimated_prompt_tokens(4.0) < 1600);
    }
}

#[test]
fn texts_that_resemble_base64_count_as_text() {
    let text = "data:text/plain;base64, is how such a URL begins. ".repeat(100);
    let body = json!({"messages":[
        {"role":"user","content":text,"images":[""]},
        {"role":"user","content":[{"type":"text","data":"AAAA"},{"data":"BBBB"}]},
    ]});

    let read = info(ChatCompletions, &body.to_string());

    assert_eq!(read.media, 0);
    assert!(read.prompt_bytes > text.len() as u64);
}

#[test]
fn pictures_of_ollama_generate_are_media() {
    let body = r#"{"model":"m","prompt":"what is it?","images":["AAAA","BBBBBB"]}"#;
    let read = info(OllamaGenerate, body);

    assert_eq!(read.media, 2);
    assert_eq!(
        read.prompt_bytes,
        (r#""what is it?""#.len() + r#"["",""]"#.len()) as u64
    );
}

#[test]
fn inputs_are_counted() {
    let cases = [
        (Embeddings, r#"{"input":"a"}"#, 1),
        (Embeddings, r#"{"input":["a","b","c"]}"#, 3),
        (Embeddings, r#"{"input":[1,2,3]}"#, 1),
        (Embeddings, r#"{"input":[[1,2],[3]]}"#, 2),
        (Embeddings, r#"{"input":[ ]}"#, 1),
        (OllamaEmbed, r#"{"input":["a","b"]}"#, 2),
        (Rerank, r#"{"query":"q","documents":["a","b"]}"#, 2),
        (Completions, r#"{"prompt":["a","b"]}"#, 2),
        (
            Responses,
            r#"{"input":[{"role":"user"},{"role":"user"}]}"#,
            1,
        ),
    ];

    for (endpoint, body, expected) in cases {
        assert_eq!(info(endpoint, body).inputs, expected, "{body}");
    }
}

#[test]
fn what_cannot_be_assembled_stays_as_asked() {
    let stays = [
        (Completions, r#"{"prompt":["a","b"]}"#),
        (Completions, r#"{"prompt":["a"]}"#),
        (Completions, r#"{"prompt":[[1,2],[3]]}"#),
        (Completions, r#"{"prompt":"a","best_of":2}"#),
        (Completions, r#"{"prompt":"a","echo":true}"#),
        (ChatCompletions, r#"{"modalities":["text","audio"]}"#),
        (ChatCompletions, r#"{"audio":{"voice":"x"}}"#),
        (Responses, r#"{"input":"a","background":true}"#),
        (Embeddings, r#"{"input":"a"}"#),
        (Speech, r#"{"input":"a"}"#),
        (CountTokens, "{}"),
    ];
    let may_change = [
        (Completions, r#"{"prompt":"a","best_of":1,"echo":false}"#),
        (Completions, r#"{"prompt":[1,2,3]}"#),
        (ChatCompletions, r#"{"modalities":["text"],"audio":null}"#),
        (ChatCompletions, r#"{"messages":[{},{}]}"#),
        (Responses, r#"{"input":[{},{}],"background":false}"#),
        (OllamaChat, r#"{"messages":[{},{}]}"#),
    ];

    for (endpoint, body) in stays {
        assert!(info(endpoint, body).must_stay_as_asked, "{body}");
    }
    for (endpoint, body) in may_change {
        assert!(!info(endpoint, body).must_stay_as_asked, "{body}");
    }
}

#[test]
fn what_may_have_an_effect_is_not_repeatable() {
    let not = [
        (Responses, r#"{"background":true}"#),
        (
            Responses,
            r#"{"tools":[{"type":"function"},{"type":"web_search"}]}"#,
        ),
        (
            Messages,
            r#"{"tools":[{"name":"f"},{"name":"b","type":"bash_20250124"}]}"#,
        ),
        (Messages, r#"{"mcp_servers":[{"url":"https://a.example"}]}"#),
        (ImageEdits, r#"{"prompt":"a"}"#),
    ];
    let repeatable = [
        (Responses, r#"{"store":true}"#),
        (
            Responses,
            r#"{"tools":[{"type":"function"},{"type":"custom"}]}"#,
        ),
        (
            Responses,
            r#"{"tools":[{"type":"namespace","name":"mcp__a","tools":[{"type":"function"}]}]}"#,
        ),
        (
            Messages,
            r#"{"tools":[{"name":"f"},{"type":null}],"mcp_servers":[]}"#,
        ),
        (Embeddings, "{}"),
        (Speech, "{}"),
    ];

    for (endpoint, body) in not {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let read = read_request(endpoint, Some("application/json"), &body).unwrap();
        assert!(!read.is_repeatable, "{body:?}");
    }
    for (endpoint, body) in repeatable {
        assert!(info(endpoint, body).is_repeatable, "{body}");
    }
}

#[test]
fn responses_store_unless_they_are_told_not_to() {
    for (endpoint, body, stores) in [
        (Responses, "{}", true),
        (Responses, r#"{"store":null}"#, true),
        (Responses, r#"{"store":true}"#, true),
        (Responses, r#"{"store":false}"#, false),
        (ChatCompletions, r#"{"store":true}"#, false),
    ] {
        assert_eq!(info(endpoint, body).stores, stores, "{body}");
    }
}

#[test]
fn a_response_goes_on_from_another_or_a_conversation() {
    let read = info(
        Responses,
        r#"{"previous_response_id":"resp_1","conversation":{"x":1,"id":"conv_1"}}"#,
    );
    let plain = info(Responses, r#"{"conversation":"conv_2"}"#);

    assert_eq!(read.previous_response.as_deref(), Some("resp_1"));
    assert_eq!(read.conversation.as_deref(), Some("conv_1"));
    assert_eq!(plain.conversation.as_deref(), Some("conv_2"));
    assert_eq!(
        error(Responses, r#"{"previous_response_id":7}"#),
        "`previous_response_id` is 7, expected a string"
    );
}

#[test]
fn what_a_model_is_loaded_with_is_read() {
    let read = info(
        OllamaChat,
        r#"{"options":{"temperature":0.1,"num_ctx":32768,"num_gpu":-1}}"#,
    );

    assert_eq!(read.num_ctx, Some(32_768));
    assert_eq!(read.num_gpu, Some(-1));
}

#[test]
fn an_unload_is_told_from_a_prompt_and_a_preload() {
    let unloads = [
        (OllamaGenerate, r#"{"model":"m","keep_alive":0}"#),
        (
            OllamaGenerate,
            r#"{"model":"m","keep_alive":"0s","prompt":""}"#,
        ),
        (
            OllamaGenerate,
            r#"{"model":"m","keep_alive":-0.0,"messages":[{}]}"#,
        ),
        (
            OllamaChat,
            r#"{"model":"m","keep_alive":"0h0m","messages":[]}"#,
        ),
        (OllamaChat, r#"{"model":"m","keep_alive":0,"prompt":"a"}"#),
    ];
    let others = [
        (OllamaGenerate, r#"{"model":"m"}"#),
        (OllamaGenerate, r#"{"model":"m","keep_alive":"10m"}"#),
        (OllamaGenerate, r#"{"model":"m","keep_alive":-1}"#),
        (
            OllamaGenerate,
            r#"{"model":"m","keep_alive":0,"prompt":"a"}"#,
        ),
        (
            OllamaChat,
            r#"{"model":"m","keep_alive":0,"messages":[{}]}"#,
        ),
        (OllamaEmbed, r#"{"model":"m","keep_alive":0}"#),
    ];

    for (endpoint, body) in unloads {
        assert!(info(endpoint, body).is_unload, "{body}");
    }
    for (endpoint, body) in others {
        assert!(!info(endpoint, body).is_unload, "{body}");
    }
}

#[test]
fn show_takes_the_older_name_of_the_model() {
    assert_eq!(
        info(OllamaShow, r#"{"name":"m"}"#).model.as_deref(),
        Some("m")
    );
    assert_eq!(
        info(OllamaShow, r#"{"model":"m","name":"m"}"#)
            .model
            .as_deref(),
        Some("m")
    );
    assert_eq!(
        error(OllamaShow, r#"{"model":"m","name":"other"}"#),
        "`name` is other, expected the same as `model`"
    );
    assert_eq!(info(OllamaChat, r#"{"name":"m"}"#).model, None);
}

#[test]
fn a_ratio_that_is_none_makes_an_estimate_too() {
    let read = info(Completions, r#"{"prompt":"12345678"}"#);

    for (ratio, expected) in [(4.0, 3), (0.0, 10), (-1.0, 10), (f64::NAN, 10), (1e300, 1)] {
        assert_eq!(read.estimated_prompt_tokens(ratio), expected, "{ratio}");
    }
}
