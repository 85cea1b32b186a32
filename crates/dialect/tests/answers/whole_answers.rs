//! What the body of a 200 is.

use llamapool_dialect::AnswerMeaning::{Answer, Error, Garbage};
use llamapool_dialect::{Endpoint, read_answer};

#[test]
fn an_error_is_one_whatever_the_status_was() {
    let cases = [
        (
            Endpoint::ChatCompletions,
            r#"{"error":{"message":"m","code":"model_not_found"}}"#,
            404,
        ),
        (Endpoint::ChatCompletions, " {\"error\":\"m\"}\n", 502),
        (
            Endpoint::Messages,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#,
            429,
        ),
        (
            Endpoint::Responses,
            r#"{"error":{"message":"m","code":400}}"#,
            400,
        ),
        (
            Endpoint::Speech,
            r#"{"error":{"message":"m","code":400}}"#,
            400,
        ),
        (
            Endpoint::Rerank,
            r#"{"object":"error","message":"m","code":"400"}"#,
            400,
        ),
    ];
    for (endpoint, body, status) in cases {
        let message = "m".to_owned();
        let expected = Error { status, message };
        assert_eq!(
            read_answer(endpoint, body.as_bytes()).meaning,
            expected,
            "{body}"
        );
    }
}

#[test]
fn an_answer_may_have_a_member_error() {
    let failed =
        r#"{"object":"response","status":"failed","error":{"code":"server_error"},"output":[]}"#;
    let chat = r#"{"error":null,"choices":[]}"#;

    assert_eq!(
        read_answer(Endpoint::Responses, failed.as_bytes()).meaning,
        Answer
    );
    assert_eq!(
        read_answer(Endpoint::ChatCompletions, chat.as_bytes()).meaning,
        Answer
    );
}

#[test]
fn what_is_of_no_dialect_is_garbage_but_for_open_types() {
    let bodies: [&[u8]; 6] = [
        b"",
        b"<html></html>",
        b"{}",
        b"[1]",
        b"{\"choices\":",
        b"\xff",
    ];
    for body in bodies {
        for endpoint in [
            Endpoint::ChatCompletions,
            Endpoint::OllamaChat,
            Endpoint::Embeddings,
        ] {
            assert_eq!(
                read_answer(endpoint, body).meaning,
                Garbage,
                "{endpoint:?} {body:?}"
            );
        }
        for endpoint in [Endpoint::Speech, Endpoint::Transcriptions, Endpoint::Rerank] {
            assert_eq!(
                read_answer(endpoint, body).meaning,
                Answer,
                "{endpoint:?} {body:?}"
            );
        }
    }
}

#[test]
fn a_member_that_is_null_is_no_answer() {
    let body = r#"{"choices":null,"error":{"message":"m","code":400}}"#;

    let meaning = read_answer(Endpoint::ChatCompletions, body.as_bytes()).meaning;

    assert!(matches!(meaning, Error { status: 400, .. }));
}
