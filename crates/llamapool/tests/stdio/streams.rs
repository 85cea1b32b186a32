//! Which of a client's streams a message of its program comes on, and that none is lost with a stream.

use serde_json::{Value, json};

use crate::faulty::Faulty;
use crate::harness::Pool;
use crate::session::{Session, call, message, refused, sent};
use crate::stream::Events;

const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#;

fn log(data: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{data}"}}}}"#
    )
}

fn lines(messages: &[&str]) -> String {
    messages
        .iter()
        .flat_map(|message| [message, "\n"])
        .collect()
}

async fn answers(session: &Session, question: &Value, result: Value) {
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
    assert_eq!(sent(session.post(answer.to_string())).await.status(), 202);
}

#[tokio::test]
async fn a_question_to_the_client_comes_on_the_stream_of_its_call_without_any_get() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "asks", &[]).await;
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = program.session_of(revision).await;
        for method in ["sampling/createMessage", "elicitation/create", "roots/list"] {
            let params = json!({ "of": method });
            let mut events = Events::of(
                session
                    .calling("ask", json!({ "method": method, "params": params }))
                    .await,
            );
            let question = events.message().await;
            assert_eq!(
                (&question["method"], &question["params"]),
                (&json!(method), &params),
                "{revision}"
            );
            answers(&session, &question, json!({ "content": method })).await;
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
async fn progress_comes_on_the_stream_of_the_call_that_wants_it() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "progress", &[]).await;
    let session = program.session().await;
    let with_token = |id: u64, token: Value| {
        let mut request: Value = serde_json::from_str(&call(
            &json!(id),
            "hold",
            &json!({ "name": id.to_string() }),
        ))
        .unwrap();
        request["params"]["_meta"] = json!({ "progressToken": token });
        request.to_string()
    };
    let mut one = Events::of(sent(session.post(with_token(101, json!(1)))).await);
    let mut other = Events::of(sent(session.post(with_token(102, json!("1")))).await);
    let mut listening = session.listen().await;
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    let said = lines(&[&progress(r#""1""#), &progress("1"), &log("for all"), DONE]);
    assert_eq!(
        message(session.say(said).await).await["result"]["done"],
        true
    );
    assert_eq!(one.message().await["params"]["progressToken"], 1);
    assert_eq!(other.message().await["params"]["progressToken"], "1");
    assert_eq!(
        listening.message().await["params"]["data"],
        "for all",
        "three calls run, and it says of none of them"
    );
    for (id, events) in [("101", &mut one), ("102", &mut other)] {
        session.call("let_go", json!({ "name": id })).await;
        assert_eq!(events.message().await["result"]["let_go"], id);
        assert_eq!(events.next().await, Ok(None));
    }
}

#[tokio::test]
async fn what_belongs_to_no_call_comes_to_who_listens_and_to_exactly_one() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "listens", &[]).await;
    let session = program.session_of("2025-11-25").await;
    // Nobody listens yet: it is kept.
    message(session.say(lines(&[DONE, &log("early")])).await).await;
    let (mut one, mut other) = (session.listen().await, session.listen().await);
    assert_eq!(one.message().await["params"]["data"], "early");
    message(session.say(lines(&[DONE, &log("later")])).await).await;
    assert_eq!(
        other.message().await["params"]["data"],
        "later",
        "who listens since last"
    );
    drop(other);
    pool.until_client("listens", "it has left", |client| {
        client["aborted_total"] == 1
    })
    .await;
    message(session.say(lines(&[DONE, &log("last")])).await).await;
    assert_eq!(
        one.message().await["params"]["data"],
        "last",
        "and nothing of what the other one heard"
    );
    assert_eq!(sent(session.delete()).await.status(), 200);
    assert_eq!(one.next().await, Ok(None));
}

#[tokio::test]
async fn a_result_is_not_lost_with_its_caller_who_resumes_behind_what_it_had() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "resumes", &[]).await;
    let session = program.session_of("2025-11-25").await;
    let mut events = Events::of(
        session
            .calling("ask", json!({ "method": "roots/list" }))
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
    let asked: Value = serde_json::from_str(&question.data).unwrap();
    answers(&session, &asked, json!({ "roots": [] })).await;

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
    // All of it can be had once more, and nothing of another stream.
    let mut behind_start = session.resume(start.id.as_deref().unwrap()).await;
    assert_eq!(behind_start.event().await, question);
    assert_eq!(
        behind_start.message().await["result"]["client"]["result"]["roots"],
        json!([])
    );
    assert_eq!(behind_start.next().await, Ok(None));
}

#[tokio::test]
async fn a_caller_who_resumes_before_the_result_is_there_waits_for_it() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "waits", &[]).await;
    let session = program.session_of("2025-11-25").await;
    let mut events = Events::of(session.calling("hold", json!({ "name": "held" })).await);
    let start = events.event().await.id.unwrap();
    drop(events);
    let mut events = session.resume(&start).await;
    session.call("let_go", json!({ "name": "held" })).await;
    assert_eq!(events.message().await["result"]["let_go"], "held");
    assert_eq!(events.next().await, Ok(None));
    for unknown in ["999-1", "x", &start.replace("-0", "-99")] {
        assert_eq!(
            refused(sent(session.get().header("last-event-id", unknown)).await)
                .await
                .0,
            400,
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn a_listener_that_was_lost_goes_on_where_it_was() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "lost", &[]).await;
    let session = program.session_of("2025-11-25").await;
    let mut listening = session.listen().await;
    message(session.say(lines(&[DONE, &log("one"), &log("two")])).await).await;
    let start = listening.event().await.id.unwrap();
    let one = listening.event().await.id.unwrap();
    drop(listening);
    pool.until_client("lost", "it has left", |client| client["aborted_total"] == 1)
        .await;
    message(session.say(lines(&[DONE, &log("three")])).await).await;
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
    let program = Faulty::of(&pool, "older", &[]).await;
    for revision in ["2025-03-26", "2025-06-18"] {
        let session = program.session_of(revision).await;
        let mut events = Events::of(session.calling("hold", json!({ "name": "held" })).await);
        session.call("let_go", json!({ "name": "held" })).await;
        let first = events.event().await;
        assert!(!first.data.is_empty(), "{revision}: {first:?}");
    }
}
