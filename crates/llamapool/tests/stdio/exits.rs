//! Programs that exit, crash or hang: their callers get an error or a stream that breaks off, never
//! a clean end.

use serde_json::{Value, json};

use crate::event_stream::{EventStream, StreamBrokenError};
use crate::harness::{Pool, soon};
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{
    End, LlamapoolError, Session, call_request, end_of, initialize_request, llamapool_error,
    read_body, read_message, send,
};

/// Makes programs exit in calls until one exits before the head of its answer was sent, and returns
/// the error of that call. Where a program takes longer, the error event in the stream has the same
/// content.
async fn error_of_an_exit(
    program: &ScriptedProgram,
    tool: &str,
    arguments: Value,
) -> LlamapoolError {
    for _ in 0..50 {
        let session = program.session().await;
        match end_of(session.send_call(tool, arguments.clone()).await).await {
            End::Error(error) => return error,
            end => assert_eq!(end.reason().0, "provider_exited"),
        }
    }
    panic!("no program ended at once")
}

#[tokio::test]
async fn an_exit_during_a_call_is_an_error_with_the_exit_status() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "exits", &[]).await;

    for (tool, arguments, status) in [
        (
            "exit",
            json!({ "status": 3, "words": "\u{1b}[31mthe disk is full" }),
            "exit status 3",
        ),
        ("exit", json!({ "status": 0 }), "exit status 0"),
        ("kill_itself", json!({}), "signal 9"),
    ] {
        let error = error_of_an_exit(&program, tool, arguments).await;
        assert_eq!(
            (error.status, &*error.word, &*error.hop),
            (502, "provider_exited", "provider")
        );
        assert!(error.message.contains(status), "{error:?}");
        assert!(
            !error.message.contains("disk"),
            "standard error is for the log alone: {error:?}"
        );
        assert_eq!(error.retry_after, None, "it may have executed the call");
    }

    let log = program.relay.log();
    let ended = |line: &&str| line.contains(r#""last_words":"the disk is full""#);
    let ended = log.lines().find(ended).expect(&log);
    assert!(ended.contains(r#""provider":"exits""#), "{ended}");
    let said = |line: &&str| line.contains("the provider says");
    assert!(log.lines().any(|line| said(&line)), "{log}");
    for line in log.lines().filter(said) {
        assert!(line.contains(r#""provider":"exits""#), "{line}");
    }
}

/// The next session has a new program, and other sessions go on.
#[tokio::test]
async fn the_session_of_an_exited_program_is_not_found() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "again", &[]).await;
    let session = program.session_of("2025-11-25").await;
    let other = program.session().await;

    let pid = session.call_tool("pid", json!({})).await["pid"].clone();
    let mut listening = session.listen().await;
    listening.event().await;
    let waiting = session
        .send_call("hold", json!({ "name": "waiting" }))
        .await;
    let ending = session.send_call("exit", json!({ "status": 3 })).await;

    assert_eq!(end_of(ending).await.reason().0, "provider_exited");

    let (word, reason) = end_of(waiting).await.reason();
    assert_eq!(word, "provider_exited");
    assert!(reason.contains("exit status 3"), "{reason}");
    assert_eq!(listening.next().await, Ok(None));

    for request in [
        session.post(initialize_request("x").replace("initialize", "ping")),
        session.get(),
        session.delete(),
    ] {
        let answer = send(request).await;
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers().get("llamapool-error")
            ),
            (404, None)
        );
        let body: Value = serde_json::from_str(&read_body(answer).await).unwrap();
        assert_eq!(body["error"]["code"], -32001);
    }

    assert_eq!(
        other.call_tool("echo", json!({})).await["echo"],
        json!({}),
        "another session goes on"
    );

    let fresh = program.session().await;
    assert_ne!(fresh.call_tool("pid", json!({})).await["pid"], pid);
}

/// One error event for each unanswered request of a batch, too; then the stream breaks off.
#[tokio::test]
async fn a_started_stream_gets_an_error_event_and_breaks_off() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "broken", &[]).await;

    for (version, is_batch) in [
        ("2025-11-25", false),
        ("2025-06-18", false),
        ("2025-03-26", true),
    ] {
        let session = program.session_of(version).await;
        let hold = |id: Value| call_request(&id, "hold", &json!({ "name": id }));
        let posted = if is_batch {
            format!("[{},{}]", hold(json!("a")), hold(json!(1.5)))
        } else {
            hold(json!("a"))
        };

        let mut waiting = EventStream::of(send(session.post(posted)).await);
        assert_ne!(
            end_of(session.send_call("exit", json!({ "status": 3 })).await).await,
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
        assert_eq!(end, Err(StreamBrokenError));
        assert_eq!(
            ids,
            [json!("a"), json!(1.5)][..if is_batch { 2 } else { 1 }]
        );
    }

    let is_failed = |client: &Value| client["errors_total"].as_u64() >= Some(6);
    pool.until_client("broken", "all calls count as failed", is_failed)
        .await;
}

#[tokio::test]
async fn a_response_after_its_caller_has_left_is_dropped() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "left", &[]).await;
    let session = program.session().await;

    drop(session.send_call("hold", json!({ "name": "left" })).await);
    pool.until_client("left", "the caller has left", |client| {
        client["aborted_total"] == 1
    })
    .await;
    session
        .call_tool("release", json!({ "name": "left" }))
        .await;

    assert_eq!(
        session.call_tool("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
    assert!(
        !session
            .received_lines()
            .await
            .concat()
            .contains("notifications/cancelled"),
        "leaving is not cancelling"
    );
}

#[tokio::test]
async fn a_response_after_the_call_timeout_is_dropped() {
    let pool = Pool::with(&[("CALL_TIMEOUT", "500ms")]).await;
    let program = ScriptedProgram::start(&pool, "late", &[]).await;
    let session = program.session().await;

    let late = session.send_call("hold", json!({ "name": "late" })).await;
    assert_eq!(end_of(late).await, End::BrokenOff);

    session
        .call_tool("release", json!({ "name": "late" }))
        .await;
    assert_eq!(
        session.call_tool("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
}

#[tokio::test]
async fn responses_to_unknown_ids_are_dropped() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "unknown", &[]).await;
    let session = program.session().await;
    let other = program.session().await;

    let mut listening = session.listen().await;
    let waiting = other.send_call("hold", json!({ "name": "waiting" })).await;
    let unknown = [
        r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"x$ID","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":-1,"error":{"code":1,"message":"?"}}"#,
        r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2024-11-05"}}"#,
    ];
    let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}"#;
    let twice = r#"{"jsonrpc":"2.0","id":$ID,"result":{"done":false}}"#;
    let answer = session
        .send_write([&unknown[..], &[done, twice, ""]].concat().join("\n"))
        .await;

    assert_eq!(
        read_message(answer).await["result"],
        json!({ "done": true })
    );

    let end = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"end"}}"#;
    session.send_write(format!("{done}\n{end}\n")).await;
    assert_eq!(
        listening.message().await["params"]["data"],
        "end",
        "the first message on the listening stream"
    );

    other
        .call_tool("release", json!({ "name": "waiting" }))
        .await;
    assert_eq!(read_message(waiting).await["result"]["release"], "waiting");
}

/// They wait for a bounded time; callers of other sessions do not wait.
#[tokio::test]
async fn a_program_that_stops_reading_delays_its_own_callers_alone() {
    let pool = Pool::with(&[("FIRST_BYTE_TIMEOUT", "1s"), ("CALL_TIMEOUT", "2s")]).await;
    let program = ScriptedProgram::start(&pool, "deaf", &[]).await;
    let session = program.session().await;
    let other = program.session().await;

    session.call_tool("stop_reading", json!({})).await;
    let unread = session.send_call("echo", json!({})).await;
    // More than the pipe to the program holds, and a notification is accepted when it is written.
    let text = "x".repeat(1_000_000);
    let notification =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"text":"{text}"}}}}"#);
    let (refused, echo) = tokio::join!(
        send(session.post(&*notification)),
        other.call_tool("echo", json!({ "n": 1 }))
    );

    assert_eq!(echo["echo"], json!({ "n": 1 }));

    let refused = llamapool_error(refused).await;
    assert_eq!(
        (refused.status, &*refused.word),
        (504, "first_byte_timeout")
    );
    assert_eq!(end_of(unread).await, End::BrokenOff);
    assert_eq!(
        other.call_tool("echo", json!({ "n": 2 })).await["echo"],
        json!({ "n": 2 })
    );

    let pid = other.call_tool("pid", json!({})).await["pid"].clone();
    assert_eq!(send(session.delete()).await.status(), 200);

    let unresponsive = program
        .programs()
        .into_iter()
        .find(|process| pid != process.pid)
        .expect("it has not ended yet");
    unresponsive.ended().await;
}

/// As without a relay in between, where writing to the program fails.
#[tokio::test]
async fn a_program_that_closes_its_input_ends_for_its_session() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "closes", &[]).await;
    let session = program.session().await;
    let other = program.session().await;

    session.call_tool("close_input", json!({})).await;
    let next = session.send_call("echo", json!({})).await;
    let (word, message) = end_of(next).await.reason();

    assert_eq!(word, "provider_exited", "{message}");
    assert_eq!(session.send_call("echo", json!({})).await.status(), 404);
    assert_eq!(
        other.call_tool("echo", json!({ "n": 1 })).await["echo"],
        json!({ "n": 1 })
    );

    let pid = other.call_tool("pid", json!({})).await["pid"].clone();
    for closed in program.programs() {
        if pid != closed.pid {
            closed.ended().await;
        }
    }
}

/// The next caller gets another program, which is started for it.
#[tokio::test]
async fn a_shared_program_that_closes_its_input_is_replaced() {
    let pool = Pool::start().await;
    for (id, traits, settings) in [
        ("shared", &[][..], &[("SHARED_SESSION", "true")][..]),
        ("modern", &["modern"], &[]),
    ] {
        let program = ScriptedProgram::start_with(&pool, id, traits, settings).await;
        let call = |tool: &str| {
            let mut params = json!({ "name": tool, "arguments": {} });
            if id == "modern" {
                params["_meta"] =
                    json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
            }
            let body =
                json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
            let mut request = program.post(body.to_string());
            if id == "modern" {
                request = request
                    .header("mcp-protocol-version", "2026-07-28")
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", tool);
            }
            send(request)
        };

        let first = read_message(call("pid").await).await["result"]["pid"].clone();
        read_message(call("close_input").await).await;
        let (word, message) = end_of(call("pid").await).await.reason();
        assert_eq!(word, "provider_exited", "{message}");

        let second = read_message(call("pid").await).await["result"]["pid"].clone();
        assert_ne!(second, first);
    }
}

/// Begins sessions until the relay starts the program no more, and returns that error. All errors
/// before it contain the exit status: a program that did not start has executed nothing.
async fn error_of_a_paused_start(program: &ScriptedProgram) -> LlamapoolError {
    let until_paused = async {
        loop {
            let answer = send(program.post(initialize_request("2025-06-18"))).await;
            match end_of(answer).await {
                End::Error(error) if error.message.contains("not started again") => return error,
                End::Error(error) => {
                    assert_eq!(error.word, "provider_not_started");
                    assert!(error.message.contains("exit status 3"), "{error:?}");
                    assert!(!error.message.contains("executed"), "{error:?}");
                }
                end => assert!(end.reason().1.contains("exit status 3")),
            }
        }
    };
    soon("it is not started again", until_paused).await
}

/// Asserts that a provider in the state or in a status is unreachable because of the exit status.
fn assert_unreachable(provider: &Value) {
    let error = provider["error"].as_str().unwrap();
    assert_eq!(provider["status"], "unreachable");
    assert!(error.contains("exit status 3"), "{provider}");
}

/// Starts are backed off. The exit status is in the error, in the state, in the relay's status and
/// log.
#[tokio::test]
async fn a_crash_loop_is_backed_off_and_reported_everywhere() {
    let pool = Pool::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let ends = format!("exits-while={}", file.path().display());
    let mut program =
        ScriptedProgram::start_with(&pool, "loop", &[&ends], &[("STATUS_ADDR", "127.0.0.1:0")])
            .await;

    let paused = error_of_a_paused_start(&program).await;
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
    assert_unreachable(&client["provider"]);

    let event = program.relay.event("the status server listens").await;
    let address = event["address"].as_str().unwrap();
    let get = async |path: &str| {
        let answer = reqwest::get(format!("http://{address}{path}")).await;
        answer.unwrap()
    };
    let status: Value = get("/status").await.json().await.unwrap();
    assert_unreachable(&status["provider"]);
    assert!(
        status["providers"][0]["bridge"]["crashed_total"].as_u64() >= Some(3),
        "{status}"
    );
    assert_eq!(get("/readyz").await.status(), 503);
    assert!(program.relay.log().contains("not while there is this file"));

    // No call is made: the relay's own probe finds out.
    drop(file);
    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    let client = pool
        .until_client("loop", "its provider is back", is_up)
        .await;

    assert_eq!(
        (&client["status"], &client["provider"]["error"]),
        (&json!("idle"), &Value::Null)
    );
    assert_eq!(get("/readyz").await.status(), 200);
    assert_eq!(
        program.session().await.call_tool("echo", json!({})).await["echo"],
        json!({})
    );
}

/// Sessions that have a program keep it meanwhile.
#[tokio::test]
async fn a_program_that_stops_crashing_is_started_again() {
    let pool = Pool::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken");
    let program = ScriptedProgram::start(
        &pool,
        "breaks",
        &[&format!("exits-while={}", file.display())],
    )
    .await;
    let session = program.session().await;

    std::fs::write(&file, "").unwrap();
    assert_ne!(
        send(program.post(initialize_request("2025-06-18")))
            .await
            .status(),
        200
    );

    let is_down = |client: &Value| client["provider"]["status"] == "unreachable";
    pool.until_client("breaks", "its provider is down", is_down)
        .await;
    assert_eq!(
        session.call_tool("echo", json!({})).await["echo"],
        json!({}),
        "a session that has a program keeps it"
    );
    assert_eq!(
        pool.client("breaks").await["provider"]["status"],
        "unreachable",
        "new sessions get none"
    );

    std::fs::remove_file(&file).unwrap();
    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    pool.until_client("breaks", "its provider is back", is_up)
        .await;
    let _fresh: Session = program.session().await;
}
