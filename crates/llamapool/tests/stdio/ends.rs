//! How a program ends, and what its callers hear of it: never that all is well.

use serde_json::{Value, json};

use crate::faulty::Faulty;
use crate::harness::{Pool, soon};
use crate::session::{End, Failed, Session, body, call, end_of, failed, initialize, message, sent};
use crate::stream::{BrokenOff, Events};

/// Has programs end in calls until one ends before the head of its answer was sent; the error of that call. Where a program
/// takes longer than it takes to send the head, the stream says the same.
async fn error_of_an_end(program: &Faulty, tool: &str, arguments: Value) -> Failed {
    for _ in 0..50 {
        let session = program.session().await;
        match end_of(session.calling(tool, arguments.clone()).await).await {
            End::Failed(failed) => return failed,
            end => assert_eq!(end.reason().0, "provider_exited"),
        }
    }
    panic!("no program ended at once")
}

#[tokio::test]
async fn a_program_that_ends_in_a_call_gives_its_caller_an_error_with_its_exit_status() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "exits", &[]).await;
    for (tool, arguments, status) in [
        (
            "end",
            json!({ "status": 3, "words": "\u{1b}[31mthe disk is full" }),
            "exit status 3",
        ),
        ("end", json!({ "status": 0 }), "exit status 0"),
        ("be_killed", json!({}), "signal 9"),
    ] {
        let failed = error_of_an_end(&program, tool, arguments).await;
        assert_eq!(
            (failed.status, &*failed.word, &*failed.hop),
            (502, "provider_exited", "provider")
        );
        assert!(failed.message.contains(status), "{failed:?}");
        assert!(
            !failed.message.contains("disk"),
            "what it says on standard error is for the log: {failed:?}"
        );
        assert_eq!(failed.retry_after, None, "it may have executed the call");
    }
    let log = program.relay.log();
    assert!(
        log.contains(r#""status_and_log":"the disk is full""#),
        "{log}"
    );
}

#[tokio::test]
async fn the_session_of_a_program_that_has_ended_is_not_found_and_the_next_one_has_another_program()
{
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "again", &[]).await;
    let (session, other) = (
        program.session_of("2025-11-25").await,
        program.session().await,
    );
    let pid = session.call("pid", json!({})).await["pid"].clone();
    let mut listening = session.listen().await;
    listening.event().await;
    let waiting = session.calling("hold", json!({ "name": "waiting" })).await;
    let ending = session.calling("end", json!({ "status": 3 })).await;
    assert_eq!(end_of(ending).await.reason().0, "provider_exited");
    let (word, reason) = end_of(waiting).await.reason();
    assert_eq!(word, "provider_exited");
    assert!(reason.contains("exit status 3"), "{reason}");
    assert_eq!(listening.next().await, Ok(None));
    for request in [
        session.post(initialize("x").replace("initialize", "ping")),
        session.get(),
        session.delete(),
    ] {
        let answer = sent(request).await;
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers().get("llamapool-error")
            ),
            (404, None)
        );
        let body: Value = serde_json::from_str(&body(answer).await).unwrap();
        assert_eq!(body["error"]["code"], -32001);
    }
    assert_eq!(
        other.call("echo", json!({})).await["echo"],
        json!({}),
        "another session goes on"
    );
    let fresh = program.session().await;
    assert_ne!(fresh.call("pid", json!({})).await["pid"], pid);
}

#[tokio::test]
async fn a_stream_whose_head_was_sent_says_of_each_of_its_requests_what_happened_and_breaks_off() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "told", &[]).await;
    for (version, is_batch) in [
        ("2025-11-25", false),
        ("2025-06-18", false),
        ("2025-03-26", true),
    ] {
        let session = program.session_of(version).await;
        let hold = |id: Value| call(&id, "hold", &json!({ "name": id }));
        let posted = if is_batch {
            format!("[{},{}]", hold(json!("a")), hold(json!(1.5)))
        } else {
            hold(json!("a"))
        };
        let mut waiting = Events::of(sent(session.post(posted)).await);
        assert_ne!(
            end_of(session.calling("end", json!({ "status": 3 })).await).await,
            End::Clean
        );
        let mut ids = Vec::new();
        let end = loop {
            match waiting.next().await {
                Ok(Some(event)) if event.data.is_empty() => {}
                Ok(Some(event)) => {
                    let message: Value = serde_json::from_str(&event.data).unwrap();
                    let error = &message["error"];
                    assert_eq!(
                        (&error["code"], &error["data"]["hop"]),
                        (&json!(5029), &json!("provider"))
                    );
                    assert!(
                        error["message"].as_str().unwrap().contains("exit status 3"),
                        "{error}"
                    );
                    ids.push(message["id"].clone());
                }
                end => break end,
            }
        };
        assert_eq!(end, Err(BrokenOff));
        assert_eq!(
            ids,
            [json!("a"), json!(1.5)][..if is_batch { 2 } else { 1 }]
        );
    }
    let is_failed = |client: &Value| client["errors_total"].as_u64() >= Some(6);
    pool.until_client("told", "it is no good call", is_failed)
        .await;
}

#[tokio::test]
async fn an_answer_that_comes_when_its_caller_has_left_does_no_harm() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "left", &[]).await;
    let session = program.session().await;
    drop(session.calling("hold", json!({ "name": "left" })).await);
    pool.until_client("left", "the caller has left", |client| {
        client["aborted_total"] == 1
    })
    .await;
    session.call("let_go", json!({ "name": "left" })).await;
    assert_eq!(
        session.call("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
    assert!(
        !session
            .heard()
            .await
            .concat()
            .contains("notifications/cancelled"),
        "leaving is not cancelling"
    );
}

#[tokio::test]
async fn an_answer_that_comes_after_the_time_out_does_no_harm() {
    let pool = Pool::with(&[("CALL_TIMEOUT", "500ms")]).await;
    let program = Faulty::of(&pool, "late", &[]).await;
    let session = program.session().await;
    let late = session.calling("hold", json!({ "name": "late" })).await;
    assert_eq!(end_of(late).await, End::BrokenOff);
    session.call("let_go", json!({ "name": "late" })).await;
    assert_eq!(
        session.call("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
}

#[tokio::test]
async fn answers_to_what_nobody_asked_go_to_nobody() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "unknown", &[]).await;
    let (session, other) = (program.session().await, program.session().await);
    let mut listening = session.listen().await;
    let waiting = other.calling("hold", json!({ "name": "waiting" })).await;
    let unknown = [
        r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"$ID","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":-1,"error":{"code":1,"message":"?"}}"#,
        r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2024-11-05"}}"#,
    ];
    let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#;
    let twice = r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":false}}"#;
    let answer = session
        .say([&unknown[..], &[done, twice, ""]].concat().join("\n"))
        .await;
    assert_eq!(message(answer).await["result"], json!({ "done": true }));
    let end = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"end"}}"#;
    session.say(format!("{done}\n{end}\n")).await;
    assert_eq!(
        listening.message().await["params"]["data"],
        "end",
        "the first that reached who listens"
    );
    other.call("let_go", json!({ "name": "waiting" })).await;
    assert_eq!(message(waiting).await["result"]["let_go"], "waiting");
}

#[tokio::test]
async fn a_program_that_reads_no_more_keeps_its_callers_waiting_for_a_bounded_time_and_nobody_else()
{
    let pool = Pool::with(&[("FIRST_BYTE_TIMEOUT", "1s"), ("CALL_TIMEOUT", "2s")]).await;
    let program = Faulty::of(&pool, "deaf", &[]).await;
    let (session, other) = (program.session().await, program.session().await);
    session.call("stop_reading", json!({})).await;
    let unheard = session.calling("echo", json!({})).await;
    // More than the pipe to the program holds: without the bytes being there, nothing is accepted.
    let text = "x".repeat(1_000_000);
    let notification =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"text":"{text}"}}}}"#);
    let (refused, echo) = tokio::join!(
        sent(session.post(&*notification)),
        other.call("echo", json!({ "n": 1 }))
    );
    assert_eq!(echo["echo"], json!({ "n": 1 }));
    let refused = failed(refused).await;
    assert_eq!(
        (refused.status, &*refused.word),
        (504, "first_byte_timeout")
    );
    assert_eq!(end_of(unheard).await, End::BrokenOff);
    assert_eq!(
        other.call("echo", json!({ "n": 2 })).await["echo"],
        json!({ "n": 2 })
    );
    let pid = other.call("pid", json!({})).await["pid"].clone();
    assert_eq!(sent(session.delete()).await.status(), 200);
    let deaf = program
        .programs()
        .into_iter()
        .find(|process| pid != process.pid)
        .expect("it takes its time");
    deaf.ended().await;
}

#[tokio::test]
async fn a_program_that_keeps_ending_is_started_ever_more_seldom_and_why_is_known_everywhere() {
    let pool = Pool::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let ends = format!("ends-while={}", file.path().display());
    let mut program =
        Faulty::with(&pool, "loop", &[&ends], &[("STATUS_ADDR", "127.0.0.1:0")]).await;
    let post = || program.post(initialize("2025-06-18"));
    let until_paused = async {
        loop {
            match end_of(sent(post()).await).await {
                End::Failed(failed) if failed.word == "provider_exited" => {
                    assert!(failed.message.contains("exit status 3"), "{failed:?}");
                }
                End::Failed(failed) => return failed,
                end => assert!(end.reason().1.contains("exit status 3")),
            }
        }
    };
    let paused = soon("it is not started again", until_paused).await;
    assert_eq!(
        (paused.status, &*paused.word, &*paused.hop),
        (503, "provider_not_started", "provider")
    );
    assert!(
        paused.message.contains("exit status 3") && paused.retry_after.is_some(),
        "{paused:?}"
    );

    let is_down = |client: &Value| client["provider"]["status"] == "unreachable";
    let client = pool
        .until_client("loop", "its provider is down", is_down)
        .await;
    assert_eq!(client["status"], "not_ready");
    assert!(
        client["provider"]["error"]
            .as_str()
            .unwrap()
            .contains("exit status 3"),
        "{client}"
    );
    let status_url = program.relay.event("the status server listens").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let status: Value = reqwest::get(format!("http://{status_url}/status"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(status["provider"]["status"], "unreachable");
    assert!(
        status["provider"]["error"]
            .as_str()
            .unwrap()
            .contains("exit status 3"),
        "{status}"
    );
    assert!(
        status["providers"][0]["bridge"]["crashed_total"].as_u64() >= Some(3),
        "{status}"
    );
    assert_eq!(
        reqwest::get(format!("http://{status_url}/readyz"))
            .await
            .unwrap()
            .status(),
        503
    );
    assert!(program.relay.log().contains("not while there is this file"));

    drop(file);
    // Nobody calls: the relay finds out by itself.
    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    let client = pool
        .until_client("loop", "its provider is back", is_up)
        .await;
    assert_eq!(
        (&client["status"], &client["provider"]["error"]),
        (&json!("idle"), &Value::Null)
    );
    assert_eq!(
        reqwest::get(format!("http://{status_url}/readyz"))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        program.session().await.call("echo", json!({})).await["echo"],
        json!({})
    );
}

#[tokio::test]
async fn a_program_that_works_and_then_keeps_ending_is_picked_up_again_when_it_works() {
    let pool = Pool::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken");
    let program = Faulty::of(
        &pool,
        "breaks",
        &[&format!("ends-while={}", file.display())],
    )
    .await;
    let session = program.session().await;
    std::fs::write(&file, "").unwrap();
    let is_down = |client: &Value| client["provider"]["status"] == "unreachable";
    assert_ne!(
        sent(program.post(initialize("2025-06-18"))).await.status(),
        200
    );
    pool.until_client("breaks", "its provider is down", is_down)
        .await;
    assert_eq!(
        session.call("echo", json!({})).await["echo"],
        json!({}),
        "who has a program keeps it"
    );
    assert_eq!(
        pool.client("breaks").await["provider"]["status"],
        "unreachable",
        "and there are no others"
    );
    std::fs::remove_file(&file).unwrap();
    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    pool.until_client("breaks", "its provider is back", is_up)
        .await;
    let _fresh: Session = program.session().await;
}
