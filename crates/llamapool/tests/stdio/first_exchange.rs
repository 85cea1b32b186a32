//! The first exchange with a program: who it is, before any caller, and without a start in vain.

use serde_json::{Value, json};

use crate::harness::Pool;
use crate::scripted_program::ScriptedProgram;
use crate::session_client::initialize_request;

const ASKING: [(&str, &str); 2] = [("NO_PROBE", "false"), ("STATUS_ADDR", "127.0.0.1:0")];

async fn status(program: &mut ScriptedProgram) -> Value {
    let event = program.relay.event("the status server listens").await;
    let url = format!("http://{}/status", event["address"].as_str().unwrap());
    let answer = reqwest::get(url).await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_program_is_asked_and_another_waits_for_the_session() {
    let pool = Pool::start().await;
    let mut program = ScriptedProgram::start_with(&pool, "asked", &[], &ASKING).await;
    let answers = program.relay.event("the provider answers").await;
    assert_eq!(answers["name"], "scripted");
    pool.until_client("asked", "another one waits", |client| {
        let bridge = &client["relays"][0]["bridge"];
        bridge["started_total"] == 2 && bridge["children"] == 1
    })
    .await;

    let session = program.session().await;

    program.assert_started(&pool, 2).await;
    let lines = session.received_lines().await;
    assert!(
        lines[0].contains(&initialize_request("2025-06-18")),
        "a session begins with a program that nobody has asked anything: {lines:?}"
    );
    let status = status(&mut program).await;
    let server = &status["providers"][0]["server"];
    assert_eq!(server["name"], "scripted", "{status}");
    assert_eq!(server["revision"], "2025-11-25", "{status}");
    assert!(server["tools"].as_u64() > Some(5), "{status}");
    assert_eq!(status["public_url"], json!(pool.mcp("asked")), "{status}");
}

/// The first session does not wait for another start.
#[tokio::test]
async fn a_caller_that_comes_first_gets_the_program() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start_with(&pool, "early", &[], &ASKING).await;

    let session = program.session().await;

    assert_eq!(
        session.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
    let lines = session.received_lines().await;
    assert_eq!(lines.concat().matches("\"initialize\"").count(), 1);
    program.assert_started(&pool, 1).await;
}

#[tokio::test]
async fn a_program_without_sessions_is_asked_where_it_is() {
    let pool = Pool::start().await;
    let mut program = ScriptedProgram::start_with(&pool, "modern", &["modern"], &ASKING).await;

    let answers = program.relay.event("the provider answers").await;

    assert_eq!(answers["revision"], "2026-07-28", "{answers}");
    assert!(answers["tools"].as_u64() > Some(5), "{answers}");
    program.assert_started(&pool, 1).await;
}

/// It is initialized anyway, and ends.
#[tokio::test]
async fn a_program_that_is_silent_before_is_asked_with_its_start() {
    let pool = Pool::start().await;
    let settings = [&ASKING[..], &[("PROVIDER_ERA_TIMEOUT", "100ms")]].concat();
    let traits = ["ignores-discover"];
    let mut program = ScriptedProgram::start_with(&pool, "mute", &traits, &settings).await;

    let answers = program.relay.event("the provider answers").await;

    assert_eq!(answers["name"], "scripted");
    assert!(answers["tools"].as_u64() > Some(5), "{answers}");
    program.assert_started(&pool, 1).await;
}

#[tokio::test]
async fn a_shared_session_goes_on_where_the_exchange_ends() {
    let pool = Pool::start().await;
    let settings = [&ASKING[..], &[("SHARED_SESSION", "true")]].concat();
    let mut program = ScriptedProgram::start_with(&pool, "shared", &[], &settings).await;
    program.relay.event("the provider answers").await;

    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;
    let answer = program.post(call).send().await.unwrap();

    assert_eq!(answer.status(), 200);
    program.assert_started(&pool, 1).await;
}
