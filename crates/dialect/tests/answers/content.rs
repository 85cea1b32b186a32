//! First content, errors inside a 200, progress, and the end of streams.

use llamapool_dialect::EventMeaning::{Content, End, Error, Other, Prelude, Progress};
use llamapool_dialect::{Endpoint, EventMeaning, RawEvent, StreamReader};

use crate::streams::{events_of_pieces, framing, read};

/// Returns what one event is, as the first one of its stream, and whether it was content.
fn first(endpoint: Endpoint, data: &str) -> (EventMeaning, bool) {
    let (reader, meanings) = read(endpoint, &[data]);
    (meanings[0].clone(), reader.has_content())
}

/// Checks that each of these first events is this, and content or not.
fn check(endpoint: Endpoint, meaning: &EventMeaning, has_content: bool, cases: &[&str]) {
    for data in cases {
        let expected = (meaning.clone(), has_content);
        assert_eq!(first(endpoint, data), expected, "{endpoint:?} {data}");
    }
}

#[test]
fn content_of_chat_is_text_a_tool_call_or_an_end() {
    let delta = |delta: &str| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
    let contents = [
        r#"{"content":"a"}"#,
        r#"{"role":"assistant","content":" "}"#,
        r#"{"reasoning_content":"a"}"#,
        r#"{"reasoning":"a"}"#,
        r#"{"refusal":"no"}"#,
        r#"{"unknown":"a"}"#,
        r#"{"tool_calls":[{"index":0}]}"#,
        r#"{"function_call":{"name":"f"}}"#,
    ];
    let preludes = [
        "{}",
        "null",
        r#"{"role":"assistant"}"#,
        r#"{"role":"assistant","content":""}"#,
        r#"{"content":null,"tool_calls":[],"reasoning_content":""}"#,
        r#"{"tool_calls": [ ],"function_call":{ }}"#,
    ];

    for content in contents {
        let first = first(Endpoint::ChatCompletions, &delta(content));
        assert_eq!(first, (Content, true), "{content}");
    }
    for prelude in preludes {
        let first = first(Endpoint::ChatCompletions, &delta(prelude));
        assert_eq!(first, (Prelude, false), "{prelude}");
    }
    let chat = |meaning, has_content, cases| {
        check(Endpoint::ChatCompletions, &meaning, has_content, cases);
    };
    chat(
        Content,
        true,
        &[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#],
    );
    let no_ends = [
        r#"{"choices":[{"delta":{},"finish_reason":""}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":null}]}"#,
    ];
    chat(Prelude, false, &no_ends);
    chat(
        Other,
        false,
        &[r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, "null"],
    );
    chat(End, false, &["[DONE]"]);
}

#[test]
fn content_of_completions_is_text_or_an_end() {
    let contents = [
        r#"{"choices":[{"text":"a","finish_reason":null}]}"#,
        r#"{"choices":[{"text":"","finish_reason":"length"}]}"#,
    ];
    let prelude = r#"{"choices":[{"text":"","finish_reason":null}]}"#;

    check(Endpoint::Completions, &Content, true, &contents);
    check(Endpoint::Completions, &Prelude, false, &[prelude]);
}

#[test]
fn content_of_responses_is_all_but_their_begin() {
    let preludes = [
        r#"{"type":"response.created","response":{"id":"r"}}"#,
        r#"{"type":"response.queued","response":{"id":"r"}}"#,
        r#"{"type":"response.in_progress","response":{}}"#,
    ];
    let contents = [
        r#"{"type":"response.output_item.added","item":{}}"#,
        r#"{"type":"response.output_text.delta","delta":"a"}"#,
    ];
    let ends = [
        r#"{"type":"response.completed","response":{}}"#,
        r#"{"type":"response.incomplete","response":{}}"#,
    ];
    let others = [r#"{"type":"keepalive"}"#, r#"{"type":"ping"}"#, "[DONE]"];

    check(Endpoint::Responses, &Prelude, false, &preludes);
    check(Endpoint::Responses, &Content, true, &contents);
    check(Endpoint::Responses, &End, true, &ends);
    check(Endpoint::Responses, &Other, false, &others);
}

#[test]
fn content_of_messages_begins_with_a_block() {
    let prelude = r#"{"type":"message_start","message":{"id":"m"}}"#;
    let contents = [
        r#"{"type":"content_block_start","index":0}"#,
        r#"{"type":"content_block_delta","delta":{}}"#,
        r#"{"type":"message_delta","delta":{}}"#,
    ];
    let others = [r#"{"type":"ping"}"#, r#"{"type":"something_new"}"#];

    check(Endpoint::Messages, &Prelude, false, &[prelude]);
    check(Endpoint::Messages, &Content, true, &contents);
    check(
        Endpoint::Messages,
        &End,
        true,
        &[r#"{"type":"message_stop"}"#],
    );
    check(Endpoint::Messages, &Other, false, &others);
}

#[test]
fn content_of_ollama_is_text_a_tool_call_or_an_end() {
    let chat = Endpoint::OllamaChat;
    let contents = [
        r#"{"message":{"role":"assistant","content":"a"},"done":false}"#,
        r#"{"message":{"thinking":"a","content":""},"done":false}"#,
        r#"{"message":{"content":"","tool_calls":[{}]},"done":false}"#,
    ];
    let prelude = r#"{"message":{"role":"assistant","content":""},"done":false}"#;
    check(chat, &Content, true, &contents);
    check(chat, &Prelude, false, &[prelude]);
    check(
        chat,
        &End,
        true,
        &[r#"{"message":{"content":""},"done":true}"#],
    );

    let generate = Endpoint::OllamaGenerate;
    let contents = [
        r#"{"response":"a","done":false}"#,
        r#"{"response":"","thinking":"a","done":false}"#,
    ];
    let end = r#"{"response":"","done":true,"done_reason":"load"}"#;
    check(generate, &Content, true, &contents);
    check(
        generate,
        &Prelude,
        false,
        &[r#"{"response":"","done":false}"#],
    );
    check(generate, &End, true, &[end]);
}

#[test]
fn a_name_of_an_event_stands_in_for_its_type() {
    let event = RawEvent {
        name: Some("response.created".into()),
        data: r#"{"response":{"id":"r7"}}"#.into(),
        ..RawEvent::default()
    };
    let mut reader = StreamReader::new(Endpoint::Responses);

    assert_eq!(reader.event(&event), Prelude);
    assert_eq!(reader.position().response_id.as_deref(), Some("r7"));
}

#[test]
fn the_head_is_first_content_where_events_are_not_known() {
    for endpoint in [
        Endpoint::Transcriptions,
        Endpoint::ImageGenerations,
        Endpoint::Embeddings,
    ] {
        let reader = StreamReader::new(endpoint);

        assert!(reader.has_content() && reader.is_complete(), "{endpoint:?}");
    }
    for data in [
        r#"{"type":"transcript.text.delta","delta":"a"}"#,
        "text",
        "7",
    ] {
        let expected = (Content, true);
        assert_eq!(first(Endpoint::Transcriptions, data), expected, "{data}");
    }
}

#[test]
fn events_after_first_content_are_no_prelude() {
    let role = r#"{"choices":[{"index":1,"delta":{"role":"assistant"}}]}"#;
    let text = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;

    let (_, meanings) = read(Endpoint::ChatCompletions, &[role, text, role]);

    assert_eq!(meanings, [Prelude, Content, Other]);
}

#[test]
fn progress_is_the_share_of_the_prompt() {
    let chunk = |progress: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"finish_reason":null,"delta":{{"role":"assistant","content":null}}}}],"prompt_progress":{progress}}}"#
        )
    };
    let cases = [
        (
            r#"{"total":200,"cache":0,"processed":50,"time_ms":7}"#,
            Progress { share: 0.25 },
        ),
        (r#"{"processed":200,"total":200}"#, Progress { share: 1.0 }),
        (r#"{"processed":300,"total":200}"#, Progress { share: 1.0 }),
        (r#"{"processed":1,"total":0}"#, Prelude),
        (r#"{"total":200}"#, Prelude),
        ("null", Prelude),
        ("[1]", Prelude),
    ];
    for (progress, expected) in cases {
        let first = first(Endpoint::ChatCompletions, &chunk(progress));
        assert_eq!(first, (expected, false), "{progress}");
    }
}

#[test]
fn the_status_of_an_error_is_its_code_or_its_type() {
    let cases = [
        (
            r#"{"error":{"message":"m","type":"BadRequestError","code":400}}"#,
            400,
        ),
        (r#"{"error":{"message":"m","code":"404"}}"#, 404),
        (r#"{"error":{"message":"m"},"code":503}"#, 503),
        (r#"{"error":{"message":"m","code":599}}"#, 599),
        (
            r#"{"error":{"message":"m","code":400,"type":"not_found_error"}}"#,
            400,
        ),
        (r#"{"error":{"message":"m","code":600}}"#, 502),
        (r#"{"error":{"message":"m","code":200}}"#, 502),
        (
            r#"{"error":{"message":"m","code":200,"type":"invalid_request_error"}}"#,
            400,
        ),
        (
            r#"{"error":{"message":"m","code":null,"type":"not_found_error"}}"#,
            404,
        ),
        (
            r#"{"error":{"message":"m","type":"x","code":"context_length_exceeded"}}"#,
            400,
        ),
        (r#"{"error":{"message":"m","type":"server_error"}}"#, 502),
        (
            r#"{"error":{"message":"m","type":"unavailable_error"}}"#,
            503,
        ),
        (
            r#"{"error":{"message":"m","type":"overloaded_error"}}"#,
            529,
        ),
        (r#"{"error":{"message":"m"}}"#, 502),
        (r#"{"error":"m"}"#, 502),
        (r#"{"error":"m","code":429}"#, 429),
        (
            r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
            400,
        ),
    ];
    let endpoints = [
        Endpoint::ChatCompletions,
        Endpoint::Completions,
        Endpoint::Responses,
        Endpoint::Messages,
        Endpoint::OllamaChat,
        Endpoint::OllamaGenerate,
        Endpoint::Transcriptions,
    ];
    for endpoint in endpoints {
        for (data, status) in cases {
            if data.contains("\"object\"") && endpoint == Endpoint::Responses {
                continue;
            }
            let (reader, meanings) = read(endpoint, &[data]);

            let message = "m".to_owned();
            assert_eq!(meanings, [Error { status, message }], "{endpoint:?} {data}");
            assert!(reader.has_failed() && !reader.is_complete());
        }
    }
}

#[test]
fn errors_have_the_form_of_their_api() {
    let messages = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    let flat = r#"{"type":"error","code":"rate_limit_exceeded","message":"m","sequence_number":4}"#;
    let failed = r#"{"type":"response.failed","sequence_number":5,"response":{"id":"r","status":"failed","error":{"code":"invalid_prompt","message":"m"}}}"#;

    for (endpoint, data, status) in [
        (Endpoint::Messages, messages, 529),
        (Endpoint::Responses, flat, 429),
        (Endpoint::Responses, failed, 400),
    ] {
        let message = "m".to_owned();
        assert_eq!(
            first(endpoint, data),
            (Error { status, message }, false),
            "{data}"
        );
    }
}

#[test]
fn members_that_are_null_or_empty_are_no_error() {
    for error in ["null", "\"\"", "{}", "[]", "false"] {
        let chunk = format!(r#"{{"error":{error},"choices":[{{"delta":{{"content":"a"}}}}]}}"#);
        let line = format!(r#"{{"error":{error},"message":{{"content":"a"}},"done":false}}"#);

        assert_eq!(
            first(Endpoint::ChatCompletions, &chunk),
            (Content, true),
            "{error}"
        );
        assert_eq!(
            first(Endpoint::OllamaChat, &line),
            (Content, true),
            "{error}"
        );
    }
}

#[test]
fn an_error_before_done_leaves_no_content() {
    let error = r#"{"error":{"message":"not multimodal","type":"BadRequestError","code":400}}"#;

    let (reader, meanings) = read(Endpoint::ChatCompletions, &[error, "[DONE]"]);

    let message = "not multimodal".to_owned();
    assert_eq!(
        meanings,
        [
            Error {
                status: 400,
                message
            },
            End
        ]
    );
    assert!(!reader.has_content() && !reader.is_complete() && reader.has_failed());
}

#[test]
fn an_error_after_content_is_no_whole_answer() {
    let text = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#;

    let (reader, meanings) = read(
        Endpoint::ChatCompletions,
        &[text, r#"{"error":"x"}"#, "[DONE]"],
    );

    assert!(matches!(meanings[1], Error { status: 502, .. }));
    assert!(reader.has_content() && reader.has_failed() && !reader.is_complete());
}

#[test]
fn what_is_not_json_is_an_error_that_nobody_reported() {
    for data in [
        "{\"choices\":[{\"delta\":{\"cont",
        "<html>",
        "7",
        "[]",
        "\u{1}",
    ] {
        let (reader, meanings) = read(Endpoint::ChatCompletions, &[data]);

        let Error { status, message } = &meanings[0] else {
            panic!("{data}: {meanings:?}");
        };
        assert_eq!(*status, 502);
        assert!(message.contains("no JSON object"), "{message}");
        assert!(!reader.has_failed() && !reader.has_content() && !reader.is_complete());
    }
}

#[test]
fn the_message_of_an_error_has_a_bound() {
    let data = format!(r#"{{"error":"{}"}}"#, "ä".repeat(5000));

    let (_, meanings) = read(Endpoint::OllamaChat, &[&data]);

    let Error { message, .. } = &meanings[0] else {
        panic!("{meanings:?}");
    };
    assert_eq!(message.chars().count(), 2000);
}

#[test]
fn chat_is_whole_with_an_end_of_every_choice() {
    let text = |index| format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"a"}}}}]}}"#);
    let end = |index, reason: &str| {
        format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":{reason}}}]}}"#)
    };
    let done = "[DONE]".to_owned();
    let cases = [
        (vec![text(0), end(0, "\"stop\"")], true, false),
        (vec![text(0), end(0, "\"stop\""), done.clone()], true, false),
        (vec![text(0), text(1), end(0, "\"stop\"")], false, false),
        (
            vec![text(0), text(1), end(0, "\"stop\""), end(1, "\"length\"")],
            true,
            false,
        ),
        // One choice has an end, so that the other one is cut.
        (
            vec![text(0), text(1), end(0, "\"stop\""), done.clone()],
            false,
            false,
        ),
        // No choice has one: `[DONE]` is the end.
        (
            vec![text(0), end(0, "\"\""), end(0, "null"), done.clone()],
            true,
            true,
        ),
        (vec![text(0), end(0, "\"\"")], false, false),
        // `[DONE]` alone is no proof.
        (vec![end(0, "\"\""), done.clone()], false, false),
        (vec![done], false, false),
        (vec![], false, false),
    ];
    for (events, is_complete, lacks) in cases {
        let data: Vec<&str> = events.iter().map(String::as_str).collect();
        let (reader, _) = read(Endpoint::ChatCompletions, &data);

        assert_eq!(reader.is_complete(), is_complete, "{events:?}");
        assert_eq!(reader.lacks_finish_reason(), lacks, "{events:?}");
        let assembled = crate::streams::assemble(Endpoint::ChatCompletions, &data);
        assert_eq!(assembled.is_ok(), is_complete, "{events:?}");
    }
}

#[test]
fn a_position_keeps_the_first_id_and_the_last_number() {
    let (reader, _) = read(
        Endpoint::Responses,
        &[
            r#"{"type":"response.created","sequence_number":0,"response":{"id":"r1"}}"#,
            r#"{"type":"response.output_text.delta","delta":"a","sequence_number":1}"#,
            r#"{"type":"response.in_progress","response":{"id":"r2"}}"#,
        ],
    );

    let position = reader.position();
    assert_eq!(position.response_id.as_deref(), Some("r1"));
    assert_eq!(position.sequence_number, Some(1));
}

#[test]
fn crlf_and_missing_spaces_change_nothing_of_the_meaning() {
    let stream = "data:{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata:[DONE]";
    let endpoint = Endpoint::ChatCompletions;

    for cut in 0..=stream.len() {
        let pieces = [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]];
        let mut reader = StreamReader::new(endpoint);
        for event in events_of_pieces(framing(endpoint), &pieces) {
            reader.event(&event);
        }

        assert!(reader.has_content() && reader.is_complete(), "at {cut}");
    }
}
