//! Large output of a program: long answers, and floods on standard error.

use serde_json::json;

use crate::harness::Pool;
use crate::processes::MarkedProcess;
use crate::scripted_program::ScriptedProgram;
use crate::session_client::{End, end_of, read_message_text};

const MIB: usize = 1024 * 1024;

/// Returns the text that the tool `write_long` answers with.
fn digits(bytes: usize) -> String {
    "0123456789abcdef".repeat(bytes / 16)
}

#[tokio::test]
async fn an_answer_of_60_mib_arrives_as_object_and_as_event() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "long", &[]).await;
    for revision in ["2025-06-18", "2025-11-25"] {
        let session = program.session_of(revision).await;
        let other = program.session().await;
        let long = async {
            read_message_text(
                session
                    .send_call("write_long", json!({ "bytes": 60 * MIB }))
                    .await,
            )
            .await
        };
        let (long, other) = tokio::join!(long, other.call_tool("echo", json!({ "to": "others" })));

        assert_eq!(
            long.len(),
            r#"{"jsonrpc":"2.0","id":3,"result":{"text":""}}"#.len() + 60 * MIB
        );
        assert!(long.contains(&digits(60 * MIB)), "another text");
        assert_eq!(other["echo"], json!({ "to": "others" }));
    }
}

/// Every call of its session fails; other sessions go on.
#[tokio::test]
async fn an_answer_above_the_bound_ends_its_program() {
    let pool = Pool::start().await;
    let settings = [("PROVIDER_MAX_MESSAGE_BYTES", "1MiB")];
    let program = ScriptedProgram::start_with(&pool, "bound", &["stubborn"], &settings).await;
    program.until_probed(&pool).await;
    let session = program.session().await;
    let other = program.session().await;

    let below = read_message_text(
        session
            .send_call("write_long", json!({ "bytes": MIB - 100 }))
            .await,
    )
    .await;

    assert!(below.contains(&digits(MIB - 100)));

    let pid = session.call_tool("pid", json!({})).await["pid"].clone();
    let second = session.send_call("hold", json!({ "name": "second" })).await;
    let above = session
        .send_call("write_long", json!({ "bytes": 2 * MIB }))
        .await;

    for call in [above, second] {
        let (word, message) = end_of(call).await.reason();
        assert_eq!(word, "provider_garbage");
        assert!(message.contains("PROVIDER_MAX_MESSAGE_BYTES"), "{message}");
    }

    // The session is gone before its stubborn program has ended.
    let of_session = |process: &MarkedProcess| pid == process.pid;
    let stubborn = program
        .programs()
        .into_iter()
        .find(of_session)
        .expect("it has not ended yet");
    assert_eq!(session.send_call("echo", json!({})).await.status(), 404);

    stubborn.ended().await;
    assert_eq!(
        other.call_tool("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );

    let fresh = program.session().await;
    assert_eq!(fresh.call_tool("echo", json!({})).await["echo"], json!({}));
}

#[tokio::test]
async fn a_request_above_the_bound_never_reaches_the_program() {
    let pool = Pool::start().await;
    let settings = [("PROVIDER_MAX_MESSAGE_BYTES", "1MiB")];
    let program = ScriptedProgram::start_with(&pool, "request", &[], &settings).await;
    let session = program.session().await;

    let End::Error(error) = end_of(
        session
            .send_call("echo", json!({ "text": digits(MIB) }))
            .await,
    )
    .await
    else {
        panic!("it was taken")
    };

    assert_eq!(
        (error.status, &*error.word, &*error.hop),
        (413, "message_too_large", "relay")
    );
    assert!(
        session
            .received_lines()
            .await
            .iter()
            .all(|line| line.len() < MIB)
    );
}

#[tokio::test]
async fn a_flood_on_standard_error_stops_no_call_and_fills_no_log() {
    let pool = Pool::start().await;
    let program = ScriptedProgram::start(&pool, "flood", &[]).await;
    let session = program.session().await;
    let other = program.session().await;

    let mut flood = Box::pin(session.call_tool("write_stderr", json!({ "bytes": 200_000_000 })));

    // While one program floods, the other one answers.
    let mut calls = 0;
    loop {
        tokio::select! {
            biased;
            _ = &mut flood => break,
            echo = other.call_tool("echo", json!({ "call": calls })) => {
                assert_eq!(echo["echo"], json!({ "call": calls }));
            }
        }
        calls += 1;
    }

    assert!(calls > 10, "{calls} calls in all that time");

    let log = program.relay.log();
    assert!(
        log.contains("every line that is said here") && log.contains("left_out"),
        "nothing of it is logged"
    );
    assert!(log.len() < 1_000_000, "{} bytes of log", log.len());
    assert!(!log.contains('\u{1b}'), "colours in the log");
}
