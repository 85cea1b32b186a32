//! `SHARED_SESSION`: callers that have no session and begin none, such as plain curl.

use serde_json::{Value, json};

use crate::faulty::Faulty;
use crate::harness::Pool;
use crate::session::{body, call, refused, sent};

const ON: (&str, &str) = ("SHARED_SESSION", "true");

/// What curl sends: it takes anything.
fn curl(program: &Faulty, body: String) -> reqwest::RequestBuilder {
    program
        .request("POST")
        .header("accept", "*/*")
        .header("content-type", "application/json")
        .body(body)
}

async fn result(program: &Faulty, id: u64, tool: &str, arguments: Value) -> Value {
    let answer = sent(curl(program, call(&json!(id), tool, &arguments))).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let answer: Value = serde_json::from_str(&body(answer).await).unwrap();
    assert_eq!(answer["id"], id, "{answer}");
    answer["result"].clone()
}

#[tokio::test]
async fn plain_callers_are_served_without_a_session_if_the_relay_says_so() {
    let pool = Pool::start().await;
    let program = Faulty::with(&pool, "plain", &[], &[ON]).await;
    let calls = (0..10).map(|n| {
        let program = &program;
        async move {
            assert_eq!(
                result(program, 1, "echo", json!({ "n": n })).await["echo"],
                json!({ "n": n })
            )
        }
    });
    futures_util::future::join_all(calls).await;
    let pid = result(&program, 1, "pid", json!({})).await["pid"].clone();
    assert_eq!(
        result(&program, 2, "pid", json!({})).await["pid"],
        pid,
        "they share one program"
    );
    let heard = result(&program, 1, "what_you_heard", json!({})).await["heard"].clone();
    let heard: Vec<String> = serde_json::from_value(heard).unwrap();
    assert!(
        heard[0].contains("\"initialize\"") && heard[1].contains("notifications/initialized"),
        "{heard:?}"
    );
    assert_eq!(heard.concat().matches("\"initialize\"").count(), 1);
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#.to_owned();
    assert_eq!(sent(curl(&program, notification)).await.status(), 202);
    // Whoever begins a session has one of its own.
    let session = program.session().await;
    assert_ne!(session.call("pid", json!({})).await["pid"], pid);
}

#[tokio::test]
async fn plain_callers_are_refused_by_default() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "strict", &[]).await;
    let answer = sent(curl(&program, call(&json!(1), "echo", &json!({})))).await;
    assert_eq!(refused(answer).await.0, 400);
}

#[tokio::test]
async fn a_long_answer_and_one_that_takes_its_time_are_one_object_for_plain_callers() {
    let pool = Pool::start().await;
    let program = Faulty::with(&pool, "takes", &[], &[ON]).await;
    let (held, released) = tokio::join!(
        result(&program, 1, "ask", json!({ "method": "roots/list" })),
        result(&program, 1, "say_long", json!({ "bytes": 1_000_000 })),
    );
    assert_eq!(
        held["client"]["error"]["code"], -32601,
        "nobody can be asked"
    );
    assert_eq!(released["text"].as_str().map(str::len), Some(1_000_000));
    let waiting = curl(
        &program,
        call(&json!(1), "hold", &json!({ "name": "waits" })),
    );
    let mut waiting = Box::pin(sent(waiting));
    let done = async {
        loop {
            let heard = result(&program, 1, "what_you_heard", json!({})).await["heard"].to_string();
            if heard.contains("waits") {
                return result(&program, 1, "let_go", json!({ "name": "waits" })).await;
            }
        }
    };
    let (answer, _) = tokio::join!(&mut waiting, done);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["result"]["let_go"],
        "waits"
    );
}

#[tokio::test]
async fn the_shared_session_is_begun_anew_when_its_program_has_ended() {
    let pool = Pool::start().await;
    let program = Faulty::with(&pool, "anew", &[], &[ON]).await;
    let pid = result(&program, 1, "pid", json!({})).await["pid"].clone();
    let ended = sent(curl(
        &program,
        call(&json!(1), "end", &json!({ "status": 3 })),
    ))
    .await;
    assert_eq!(ended.status(), 502);
    let word = ended.headers()["llamapool-error"].to_str().unwrap();
    assert!(["provider_exited", "no_response"].contains(&word), "{word}");
    assert_ne!(result(&program, 1, "pid", json!({})).await["pid"], pid);
}
