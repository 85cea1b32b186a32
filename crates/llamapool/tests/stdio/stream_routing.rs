//! Routing of a program's messages to the streams of its client, and resuming after a lost stream.

use serde_json::{Value, json};

use crate::event_stream::EventStream;
use crate::harness::Pool;
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{Session, call_request, mcp_error, read_message, send};

const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#;

/// Returns a log notification, which belongs to no call.
fn log(data: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{data}"}}}}"#
    )
}

/// Returns the messages with a line end behind each.
fn lines(messages: &[&str]) -> String {
    messages
        .iter()
        .flat_map(|message| [message, "\n"])
        .collect()
}

/// Answers a request of the program.
async fn respond(session: &Session, question: &Value, result: Value) {
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
    assert_eq!(send(session.post(answer.to_string())).await.status(), 202);
}

#[tokio::test]
async fn a_request_to_the_client_arrives_on_the_stream_of_its_call() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "asks", &[]).await;
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = program.session_of(revision).await;
        for method in ["sampling/createMessage", "elicitation/create", "roots/list"] {
            let params = json!({ "of": method });
            let mut events = EventStream::of(
                session
                    .send_call("ask_client", json!({ "method": method, "params": params }))
                    .await,
            );
            let question = events.message().await;

            assert_eq!(
                (&question["method"], &question["params"]),
                (&json!(method), &params),
                "{revision}"
            );

            respond(&session, &question, json!({ "content": method })).await;
            let response = events.message().await;
            assert_eq!(
                response["result"]["client"]["result"]["content"], method,
                "{revision}"
            );
            assert_eq!(events.next().await, Ok(None));
        }
    }
}

#[tokio::test]
async fn progress_arrives_on_the_stream_of_the_call_with_its_token() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "progress", &[]).await;
    let session = program.session().await;
    let with_token = |id: u64, token: Value| {
        let mut request: Value = serde_json::from_str(&call_request(
            &json!(id),
            "hold",
            &json!({ "name": id.to_string() }),
        ))
        .unwrap();
        request["params"]["_meta"] = json!({ "progressToken": token });
        request.to_string()
    };

    let mut one = EventStream::of(send(session.post(with_token(101, json!(1)))).await);
    let mut other = EventStream::of(send(session.post(with_token(102, json!("1")))).await);
    let mut listening = session.listen().await;
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    let output = lines(&[&progress(r#""1""#), &progress("1"), &log("for all"), DONE]);

    assert_eq!(
        read_message(session.send_write(output).await).await["result"]["done"],
        true
    );
    assert_eq!(one.message().await["params"]["progressToken"], 1);
    assert_eq!(other.message().await["params"]["progressToken"], "1");
    assert_eq!(
        listening.message().await["params"]["data"],
        "for all",
        "three calls run, and it belongs to none of them"
    );

    for (id, events) in [("101", &mut one), ("102", &mut other)] {
        session.call_tool("release", json!({ "name": id })).await;
        assert_eq!(events.message().await["result"]["release"], id);
        assert_eq!(events.next().await, Ok(None));
    }
}

/// Exactly one of several listening streams gets it: the newest.
#[tokio::test]
async fn a_message_of_no_call_arrives_on_one_listening_stream() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "listens", &[]).await;
    let session = program.session_of("2025-11-25").await;

    // No stream listens yet: the message is kept.
    read_message(session.send_write(lines(&[DONE, &log("early")])).await).await;
    let mut one = session.listen().await;
    let mut other = session.listen().await;

    assert_eq!(one.message().await["params"]["data"], "early");

    read_message(session.send_write(lines(&[DONE, &log("later")])).await).await;
    assert_eq!(
        other.message().await["params"]["data"],
        "later",
        "the newest stream gets it"
    );

    drop(other);
    pool.until_client("listens", "it has left", |client| {
        client["aborted_total"] == 1
    })
    .await;
    read_message(session.send_write(lines(&[DONE, &log("last")])).await).await;

    assert_eq!(
        one.message().await["params"]["data"],
        "last",
        "and nothing that the other stream got"
    );
    assert_eq!(send(session.delete()).await.status(), 200);
    assert_eq!(one.next().await, Ok(None));
}

#[tokio::test]
async fn a_caller_that_lost_its_stream_resumes_and_gets_the_result() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "resumes", &[]).await;
    let session = program.session_of("2025-11-25").await;

    let mut events = EventStream::of(
        session
            .send_call("ask_client", json!({ "method": "roots/list" }))
            .await,
    );
    let start = events.event().await;
    assert!(
        start.data.is_empty() && start.retry.is_some() && start.id.is_some(),
        "{start:?}"
    );

    let question = events.event().await;
    drop(events);
    pool.until_client("resumes", "it has left", |client| {
        client["aborted_total"] == 1
    })
    .await;
    let request: Value = serde_json::from_str(&question.data).unwrap();
    respond(&session, &request, json!({ "roots": [] })).await;

    let mut behind_question = session.resume(question.id.as_deref().unwrap()).await;
    assert_eq!(
        behind_question.message().await["result"]["client"]["result"]["roots"],
        json!([])
    );
    assert_eq!(
        behind_question.next().await,
        Ok(None),
        "it is over with its result"
    );

    // Everything can be replayed once more, and nothing of another stream.
    let mut behind_start = session.resume(start.id.as_deref().unwrap()).await;
    assert_eq!(behind_start.event().await, question);
    assert_eq!(
        behind_start.message().await["result"]["client"]["result"]["roots"],
        json!([])
    );
    assert_eq!(behind_start.next().await, Ok(None));
}

#[tokio::test]
async fn a_resumed_stream_waits_for_a_result_that_is_not_there_yet() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "waits", &[]).await;
    let session = program.session_of("2025-11-25").await;

    let mut events = EventStream::of(session.send_call("hold", json!({ "name": "held" })).await);
    let start = events.event().await.id.unwrap();
    drop(events);
    let mut events = session.resume(&start).await;
    session
        .call_tool("release", json!({ "name": "held" }))
        .await;

    assert_eq!(events.message().await["result"]["release"], "held");
    assert_eq!(events.next().await, Ok(None));

    for unknown in ["999-1", "x", &start.replace("-0", "-99")] {
        assert_eq!(
            mcp_error(send(session.get().header("last-event-id", unknown)).await)
                .await
                .0,
            400,
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn a_lost_listening_stream_resumes_where_it_broke() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "lost", &[]).await;
    let session = program.session_of("2025-11-25").await;

    let mut listening = session.listen().await;
    read_message(
        session
            .send_write(lines(&[DONE, &log("one"), &log("two")]))
            .await,
    )
    .await;
    let start = listening.event().await.id.unwrap();
    let one = listening.event().await.id.unwrap();

    drop(listening);
    pool.until_client("lost", "it has left", |client| client["aborted_total"] == 1)
        .await;
    read_message(session.send_write(lines(&[DONE, &log("three")])).await).await;
    let mut listening = session.resume(&one).await;
    for data in ["two", "three"] {
        assert_eq!(listening.message().await["params"]["data"], data);
    }
    let mut all = session.resume(&start).await;
    for data in ["one", "two", "three"] {
        assert_eq!(all.message().await["params"]["data"], data);
    }
}

#[tokio::test]
async fn older_clients_get_no_event_without_a_message() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "older", &[]).await;
    for revision in ["2025-03-26", "2025-06-18"] {
        let session = program.session_of(revision).await;
        let mut events =
            EventStream::of(session.send_call("hold", json!({ "name": "held" })).await);
        session
            .call_tool("release", json!({ "name": "held" }))
            .await;
        let first = events.event().await;
        assert!(!first.data.is_empty(), "{revision}: {first:?}");
    }
}
