//! Sessions: how many there are, how long each lasts, and that those that nobody wants cost nothing for long.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::faulty::Faulty;
use crate::harness::{Pool, soon};
use crate::marked::{children, memory};
use crate::session::{Failed, Session, body, failed, initialize, message, sent};

/// Begins a session and forgets it; the refusal, if there is no room.
async fn abandoned(program: &Faulty) -> Result<(), Failed> {
    let answer = sent(program.post(initialize("2025-06-18"))).await;
    if answer.status() == StatusCode::OK {
        Ok(())
    } else {
        Err(failed(answer).await)
    }
}

#[tokio::test]
async fn two_hundred_abandoned_sessions_leave_neither_programs_nor_memory_and_are_never_too_many_at_once()
 {
    const MOST: usize = 20;
    let pool = Pool::start().await;
    let settings = [
        ("MAX_SESSIONS", "20"),
        ("SESSION_IDLE_TIMEOUT", "500ms"),
        ("PROVIDER_MAX_STARTS", "10000"),
    ];
    let program = Faulty::with(&pool, "abandoned", &[], &settings).await;
    program.is_known_to_be_older(&pool).await;
    let (mut begun, mut refused, mut most, mut base) = (0, 0, 0, 0);
    while begun < 200 {
        let crowd =
            futures_util::future::join_all((0..2 * MOST).map(|_| abandoned(&program))).await;
        most = most.max(program.programs().len());
        for answer in crowd {
            let Err(failed) = answer else {
                begun += 1;
                continue;
            };
            assert_eq!(
                (failed.status, &*failed.word, &*failed.hop),
                (503, "too_many_sessions", "relay")
            );
            assert!(
                failed.message.contains("MAX_SESSIONS") && failed.retry_after.is_some(),
                "{failed:?}"
            );
            refused += 1;
        }
        if base == 0 {
            base = memory(program.relay.id());
        }
        // There is room when they have ended.
        program.none_left().await;
    }
    assert!(
        refused > 0 && most > MOST / 2 && most <= MOST,
        "{refused} refused, {most} programs at once"
    );
    let sessions = |client: &Value| client["relays"][0]["bridge"].clone();
    let client = pool
        .until_client("abandoned", "no session is left", |client| {
            sessions(client)["sessions"] == 0
        })
        .await;
    assert_eq!(sessions(&client)["started_total"], begun + 1);
    assert_eq!(
        children(program.relay.id()),
        [0; 0],
        "ended, and not waited for"
    );
    let now = memory(program.relay.id());
    assert!(now < base + base / 4, "{now} bytes after {base}");
}

#[tokio::test]
async fn a_client_that_only_listens_keeps_its_session_for_as_long_as_it_answers_the_ping() {
    let pool = Pool::start().await;
    let program = Faulty::with(&pool, "listens", &[], &[("SESSION_IDLE_TIMEOUT", "300ms")]).await;
    let (session, silent) = (program.session().await, program.session().await);
    let (mut listening, mut deaf) = (session.listen().await, silent.listen().await);
    for _ in 0..3 {
        let ping = listening.message().await;
        assert_eq!(ping["method"], "ping");
        let pong = json!({ "jsonrpc": "2.0", "id": ping["id"], "result": {} });
        assert_eq!(sent(session.post(pong.to_string())).await.status(), 202);
    }
    assert_eq!(session.call("echo", json!({})).await["echo"], json!({}));
    assert!(
        !session.heard().await.concat().contains("llamapool-ping"),
        "the program has nothing to do with it"
    );
    assert_eq!(deaf.message().await["method"], "ping");
    assert_eq!(
        deaf.next().await,
        Ok(None),
        "its stream ends with its session"
    );
    assert_eq!(silent.calling("echo", json!({})).await.status(), 404);
}

#[tokio::test]
async fn a_call_that_runs_keeps_its_session_and_one_whose_caller_has_left_does_not() {
    let pool = Pool::start().await;
    let program = Faulty::with(&pool, "runs", &[], &[("SESSION_IDLE_TIMEOUT", "300ms")]).await;
    program.is_known_to_be_older(&pool).await;
    let session = program.session().await;
    let running = session.calling("hold", json!({ "name": "running" })).await;
    let left = program.session().await;
    drop(left.calling("hold", json!({ "name": "left" })).await);
    let ours = program.programs().len();
    assert_eq!(ours, 2);
    pool.until_client("runs", "one session is left", |client| {
        client["relays"][0]["bridge"]["sessions"] == 1
    })
    .await;
    assert_eq!(left.calling("echo", json!({})).await.status(), 404);
    session.call("let_go", json!({ "name": "running" })).await;
    assert_eq!(message(running).await["result"]["let_go"], "running");
}

#[tokio::test]
async fn a_session_ends_at_its_greatest_age_however_busy_it_is() {
    let pool = Pool::start().await;
    let program = Faulty::with(&pool, "old", &[], &[("SESSION_MAX_AGE", "1s")]).await;
    let (born, session) = (Instant::now(), program.session().await);
    let busy = async {
        loop {
            let answer = session.calling("echo", json!({})).await;
            if answer.status() == StatusCode::NOT_FOUND {
                return;
            }
            // A call that met the end has failed of it.
            if answer.status() == StatusCode::OK {
                body(answer).await;
            }
        }
    };
    soon("the session ends", busy).await;
    assert!(born.elapsed() >= Duration::from_secs(1));
    let _fresh: Session = program.session().await;
}

#[tokio::test]
async fn no_more_programs_are_started_in_a_minute_than_may_be() {
    let pool = Pool::start().await;
    let program = Faulty::with(&pool, "starts", &[], &[("PROVIDER_MAX_STARTS", "3")]).await;
    // The first was asked which revisions it knows.
    program.is_known_to_be_older(&pool).await;
    for _ in 0..2 {
        sent(program.session().await.delete()).await;
    }
    let failed = abandoned(&program).await.unwrap_err();
    assert_eq!(
        (failed.status, &*failed.word, &*failed.hop),
        (503, "too_many_sessions", "relay")
    );
    assert!(
        failed.message.contains("PROVIDER_MAX_STARTS") && failed.retry_after.is_some(),
        "{failed:?}"
    );
    program.none_left().await;
}
