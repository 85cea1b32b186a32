//! Limits of sessions: their number, their idle time, their age, and the rate of program starts.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Pool, soon};
use crate::processes::{children, memory};
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{
    LlamapoolError, Session, initialize_request, llamapool_error, read_body, read_message, send,
};

/// Begins a session and abandons it. `Err` if it is refused.
async fn abandoned(program: &ScriptedProgram) -> Result<(), LlamapoolError> {
    let answer = send(program.post(initialize_request("2025-06-18"))).await;
    if answer.status() == StatusCode::OK {
        Ok(())
    } else {
        Err(llamapool_error(answer).await)
    }
}

/// Of 200 abandoned sessions, never more than the limit exist at once.
#[tokio::test]
async fn abandoned_sessions_leave_neither_programs_nor_memory() {
    const MOST: usize = 20;

    let pool = Pool::start().await;
    let settings = [
        ("MAX_SESSIONS", "20"),
        ("SESSION_IDLE_TIMEOUT", "500ms"),
        ("PROVIDER_MAX_STARTS", "10000"),
    ];
    let program = ScriptedProgram::start_with(&pool, "abandoned", &[], &settings).await;
    program.until_spare_ended(&pool).await;

    let mut begun = 0;
    let mut refused = 0;
    let mut most = 0;
    let mut base = 0;
    while begun < 200 {
        let crowd =
            futures_util::future::join_all((0..2 * MOST).map(|_| abandoned(&program))).await;
        most = most.max(program.programs().len());

        for answer in crowd {
            let Err(error) = answer else {
                begun += 1;
                continue;
            };
            assert_eq!(
                (error.status, &*error.word, &*error.hop),
                (503, "too_many_sessions", "relay")
            );
            assert!(
                error.message.contains("MAX_SESSIONS") && error.retry_after.is_some(),
                "{error:?}"
            );
            refused += 1;
        }

        if base == 0 {
            base = memory(program.relay.id());
        }
        // New sessions are admitted when these have ended.
        program.until_all_ended().await;
    }

    assert!(
        refused > 0 && most > 1 && most <= MOST,
        "{refused} refused, {most} programs at once"
    );

    let sessions = |client: &Value| client["relays"][0]["bridge"].clone();
    let client = pool
        .until_client("abandoned", "no session is left", |client| {
            sessions(client)["sessions"] == 0
        })
        .await;
    assert_eq!(sessions(&client)["started_total"], begun + 1);

    assert_eq!(children(program.relay.id()), [0; 0], "no zombies");

    let now = memory(program.relay.id());
    assert!(now < base + base / 4, "{now} bytes after {base}");
}

/// Clients that begin a session for each call and never end one lock nobody out.
#[tokio::test]
async fn an_abandoned_session_gives_way_to_a_new_one() {
    let pool = Pool::start().await;
    let settings = [("MAX_SESSIONS", "3"), ("SESSION_YIELD_AFTER", "3s")];
    let program = ScriptedProgram::start_with(&pool, "full", &[], &settings).await;
    program.until_probed(&pool).await;
    let listening = program.session().await;
    let _stream = listening.listen().await;
    let abandoned_one = program.session().await;
    abandoned_one.call_tool("echo", json!({})).await;
    let other = program.session().await;
    other.call_tool("echo", json!({})).await;

    let refused = abandoned(&program).await.unwrap_err();
    assert_eq!(refused.word, "too_many_sessions");
    assert!(refused.retry_after.is_some(), "{refused:?}");

    let fresh = soon("an idle session gives way", async {
        loop {
            other.call_tool("echo", json!({})).await;
            if abandoned(&program).await.is_ok() {
                return;
            }
        }
    });
    fresh.await;

    let gone = abandoned_one.send_call("echo", json!({})).await;
    assert_eq!(gone.status(), 404, "its client begins a new one");
    assert_eq!(
        listening.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
    assert_eq!(other.call_tool("echo", json!({})).await["echo"], json!({}));
}

#[tokio::test]
async fn a_listening_client_keeps_its_session_by_answering_pings() {
    let pool = Pool::start().await;
    let program =
        ScriptedProgram::start_with(&pool, "listens", &[], &[("SESSION_IDLE_TIMEOUT", "300ms")])
            .await;
    let session = program.session().await;
    let mut listening = session.listen().await;
    let silent = program.session().await;
    let mut unanswered = silent.listen().await;

    for _ in 0..3 {
        let ping = listening.message().await;
        assert_eq!(ping["method"], "ping");
        let pong = json!({ "jsonrpc": "2.0", "id": ping["id"], "result": {} });
        assert_eq!(send(session.post(pong.to_string())).await.status(), 202);
    }

    assert_eq!(
        session.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
    assert!(
        !session
            .received_lines()
            .await
            .concat()
            .contains("llamapool-ping"),
        "the bridge's pings never reach the program"
    );
    assert_eq!(unanswered.message().await["method"], "ping");
    assert_eq!(
        unanswered.next().await,
        Ok(None),
        "its stream ends with its session"
    );
    assert_eq!(silent.send_call("echo", json!({})).await.status(), 404);
}

/// A call whose caller has left does not keep the session.
#[tokio::test]
async fn a_running_call_keeps_its_session() {
    let pool = Pool::start().await;
    let program =
        ScriptedProgram::start_with(&pool, "runs", &[], &[("SESSION_IDLE_TIMEOUT", "300ms")]).await;
    program.until_spare_ended(&pool).await;
    let session = program.session().await;

    let running = session
        .send_call("hold", json!({ "name": "running" }))
        .await;
    let left = program.session().await;
    drop(left.send_call("hold", json!({ "name": "left" })).await);
    let ours = program.programs().len();

    assert_eq!(ours, 2);

    pool.until_client("runs", "one session is left", |client| {
        client["relays"][0]["bridge"]["sessions"] == 1
    })
    .await;
    assert_eq!(left.send_call("echo", json!({})).await.status(), 404);

    session
        .call_tool("release", json!({ "name": "running" }))
        .await;
    assert_eq!(read_message(running).await["result"]["release"], "running");
}

#[tokio::test]
async fn a_busy_session_ends_at_its_maximum_age() {
    let pool = Pool::start().await;
    let program =
        ScriptedProgram::start_with(&pool, "old", &[], &[("SESSION_MAX_AGE", "1s")]).await;

    let born = Instant::now();
    let session = program.session().await;
    let busy = async {
        loop {
            let answer = session.send_call("echo", json!({})).await;
            if answer.status() == StatusCode::NOT_FOUND {
                return;
            }
            // A call at the moment of the end may fail.
            if answer.status() == StatusCode::OK {
                read_body(answer).await;
            }
        }
    };
    soon("the session ends", busy).await;

    assert!(born.elapsed() >= Duration::from_secs(1));

    let _fresh: Session = program.session().await;
}

#[tokio::test]
async fn program_starts_per_minute_are_limited() {
    let pool = Pool::start().await;
    let program =
        ScriptedProgram::start_with(&pool, "starts", &[], &[("PROVIDER_MAX_STARTS", "3")]).await;

    // The first session is that of the program that was probed for its revisions.
    program.until_probed(&pool).await;
    for _ in 0..3 {
        send(program.session().await.delete()).await;
    }
    let error = abandoned(&program).await.unwrap_err();

    assert_eq!(
        (error.status, &*error.word, &*error.hop),
        (503, "too_many_sessions", "relay")
    );
    assert!(
        error.message.contains("PROVIDER_MAX_STARTS") && error.retry_after.is_some(),
        "{error:?}"
    );

    program.until_all_ended().await;
}
