//! Programs that take long to start, as package runners do that download them first.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Pool;
use crate::scripted_program::ScriptedProgram;

/// A program that loads while a file exists, and settings with which it does so for long.
async fn loading(pool: &Pool, id: &str, settings: &[(&str, &str)]) -> (ScriptedProgram, Loading) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let loads = format!("loads-while={}", file.path().display());
    let settings = [&[("PROVIDER_ERA_TIMEOUT", "100ms")], settings].concat();
    let program = ScriptedProgram::start_with(pool, id, &[&loads], &settings).await;
    (program, Loading(file))
}

/// The file of a program that loads. Dropping it lets the program start.
struct Loading(
    #[expect(dead_code, reason = "it is there while the program loads")] tempfile::NamedTempFile,
);

fn is_reachable(client: &Value) -> bool {
    client["provider"]["status"] == "reachable"
}

/// What it prints meanwhile shows that it lives and not that it works.
#[tokio::test]
async fn a_program_that_loads_is_waited_for() {
    let pool = Pool::start().await;
    let (mut program, file) = loading(&pool, "loads", &[]).await;

    program
        .relay
        .line("it prints", |line| line.contains("downloading"))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let [only] = &program.programs()[..] else {
        panic!("{:#?}", program.programs())
    };
    let client = pool.client("loads").await;
    assert_eq!(client["provider"]["status"], "unknown", "{client}");

    drop(file);
    pool.until_client("loads", "it has answered", is_reachable)
        .await;
    let client = pool.client("loads").await;
    assert_eq!(
        client["relays"][0]["bridge"]["started_total"], 1,
        "the process {} is the only one",
        only.pid
    );
    assert_eq!(
        program.session().await.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
}

#[tokio::test]
async fn a_program_that_stays_silent_is_started_again() {
    let pool = Pool::start().await;
    let settings = [("PROVIDER_START_TIMEOUT", "300ms")];
    let (program, file) = loading(&pool, "silent", &settings).await;

    let client = pool
        .until_client("silent", "it is given up", |client| {
            client["provider"]["status"] == "unreachable"
        })
        .await;
    let error = client["provider"]["error"].as_str().unwrap();
    assert!(error.contains("has not answered for 300ms"), "{error}");

    drop(file);
    pool.until_client("silent", "it runs", is_reachable).await;
    assert!(program.relay.log().contains("it is given up") || error.contains("300ms"));
}
