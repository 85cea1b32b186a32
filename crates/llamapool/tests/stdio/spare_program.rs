//! The program that a relay starts to ask for its revisions is not started in vain: it becomes that
//! of the first caller.

use serde_json::{Value, json};

use crate::harness::Pool;
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{call_request, initialize_request, mcp_error, read_message, send};

async fn pid_without_session(program: &ScriptedProgram) -> Value {
    let call = program.post(call_request(&json!(1), "pid", &json!({})));
    read_message(send(call).await).await["result"]["pid"].clone()
}

#[tokio::test]
async fn the_first_session_gets_the_probed_program() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "spare", &[]).await;
    program.until_probed(&pool).await;
    let [probed] = &program.programs()[..] else {
        panic!("{:#?}", program.programs())
    };

    let first = program.session().await;
    let second = program.session().await;

    let pid = first.call_tool("pid", json!({})).await["pid"].clone();
    assert_eq!(pid, probed.pid);
    assert_ne!(second.call_tool("pid", json!({})).await["pid"], pid);
    program.assert_started(&pool, 2).await;

    assert_eq!(send(first.delete()).await.status(), 200);
    probed.ended().await;
}

/// A client that comes right after the start waits for one start, not for two that compete.
#[tokio::test]
async fn a_caller_waits_for_the_program_that_is_probed() {
    let pool = Pool::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let loads = format!("loads-while={}", file.path().display());
    let mut program = ScriptedProgram::start(&pool, "early", &[&loads]).await;
    program
        .relay
        .line("it loads", |line| line.contains("downloading"))
        .await;

    let began = async {
        pool.until_client("early", "the session begins", |client| {
            client["relays"][0]["bridge"]["sessions"] == 1
        })
        .await;
        drop(file);
    };
    let (session, ()) = tokio::join!(program.session(), began);

    assert_eq!(
        session.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
    program.assert_started(&pool, 1).await;
}

/// Some programs answer nothing before they are initialized. The caller's own `initialize` is then
/// the second question.
#[tokio::test]
async fn a_caller_initializes_a_program_that_is_silent_before() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "silent", &["ignores-discover"]).await;

    let session = program.session().await;

    program.assert_started(&pool, 1).await;
    let lines = session.received_lines().await;
    assert_eq!(lines.concat().matches("\"initialize\"").count(), 1);
    let modern = program
        .post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/list");
    let (status, ..) = mcp_error(send(modern).await).await;
    assert_eq!(status, 400, "it supports older revisions alone");
}

#[tokio::test]
async fn the_shared_session_gets_the_probed_program() {
    let pool = Pool::start().await;
    let settings = [
        ("SHARED_SESSION", "true"),
        ("PROVIDER_ERA_TIMEOUT", "100ms"),
    ];

    for (id, traits) in [("answers", &[][..]), ("is-mute", &["ignores-discover"])] {
        let program = ScriptedProgram::start_with(&pool, id, traits, &settings).await;
        program.until_probed(&pool).await;
        let [probed] = &program.programs()[..] else {
            panic!("{:#?}", program.programs())
        };

        assert_eq!(pid_without_session(&program).await, probed.pid, "{id}");
        program.assert_started(&pool, 1).await;
    }
}

/// It has a session of the bridge, and no client's capabilities.
#[tokio::test]
async fn no_session_begins_with_an_initialized_program() {
    let pool = Pool::start().await;
    let settings = [("PROVIDER_ERA_TIMEOUT", "100ms")];
    let traits = ["ignores-discover"];
    let program = ScriptedProgram::start_with(&pool, "begun", &traits, &settings).await;
    program.until_spare_ended(&pool).await;

    let session = program.session().await;

    let lines = session.received_lines().await;
    assert!(
        lines[0].contains(&initialize_request("2025-06-18")),
        "{lines:?}"
    );
    program.assert_started(&pool, 2).await;
}

#[tokio::test]
async fn an_unused_program_ends_after_the_idle_timeout() {
    let pool = Pool::start().await;
    let settings = [("SESSION_IDLE_TIMEOUT", "300ms")];
    let program = ScriptedProgram::start_with(&pool, "unused", &[], &settings).await;

    program.until_spare_ended(&pool).await;

    program.until_all_ended().await;
    let session = program.session().await;
    assert_eq!(
        session.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
    program.assert_started(&pool, 2).await;
}

/// The end of a program that a caller has taken is that of its session, and reported as such.
#[tokio::test]
async fn a_taken_program_that_exits_ends_its_session() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "exits", &[]).await;
    program.until_probed(&pool).await;
    let session = program.session().await;

    let ended = session.send_call("exit", json!({ "status": 3 })).await;

    assert_eq!(ended.status(), 502);
    assert_eq!(ended.headers()["llamapool-error"], "provider_exited");
    assert_eq!(session.send_call("echo", json!({})).await.status(), 404);
    pool.until_client("exits", "it counts as ended", |client| {
        let bridge = &client["relays"][0]["bridge"];
        bridge["children"] == 0 && bridge["crashed_total"] == 1 && bridge["sessions"] == 0
    })
    .await;
}
