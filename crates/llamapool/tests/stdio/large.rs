//! What a program writes that is very much: long answers, and floods on standard error.

use serde_json::json;

use crate::faulty::Faulty;
use crate::harness::Pool;
use crate::marked::Marked;
use crate::session::{End, end_of, text};

const MIB: usize = 1024 * 1024;

/// The text of an answer of so many bytes.
fn digits(bytes: usize) -> String {
    "0123456789abcdef".repeat(bytes / 16)
}

#[tokio::test]
async fn an_answer_of_sixty_mebibytes_arrives_whole_as_an_object_and_as_an_event() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "long", &[]).await;
    for revision in ["2025-06-18", "2025-11-25"] {
        let (session, other) = (program.session_of(revision).await, program.session().await);
        let long = async {
            text(
                session
                    .calling("say_long", json!({ "bytes": 60 * MIB }))
                    .await,
            )
            .await
        };
        let (long, other) = tokio::join!(long, other.call("echo", json!({ "to": "others" })));
        assert_eq!(
            long.len(),
            r#"{"jsonrpc":"2.0","id":3,"result":{"text":""}}"#.len() + 60 * MIB
        );
        assert!(long.contains(&digits(60 * MIB)), "another text");
        assert_eq!(other["echo"], json!({ "to": "others" }));
    }
}

#[tokio::test]
async fn an_answer_above_the_bound_ends_the_program_and_the_calls_of_its_session_and_no_other() {
    let pool = Pool::start().await;
    let settings = [("PROVIDER_MAX_MESSAGE_BYTES", "1MiB")];
    let program = Faulty::with(&pool, "bound", &["stubborn"], &settings).await;
    program.is_known_to_be_older(&pool).await;
    let (session, other) = (program.session().await, program.session().await);
    let below = text(
        session
            .calling("say_long", json!({ "bytes": MIB - 100 }))
            .await,
    )
    .await;
    assert!(below.contains(&digits(MIB - 100)));
    let pid = session.call("pid", json!({})).await["pid"].clone();
    let second = session.calling("hold", json!({ "name": "second" })).await;
    let above = session
        .calling("say_long", json!({ "bytes": 2 * MIB }))
        .await;
    for call in [above, second] {
        let (word, message) = end_of(call).await.reason();
        assert_eq!(word, "provider_garbage");
        assert!(message.contains("PROVIDER_MAX_MESSAGE_BYTES"), "{message}");
    }
    // Nobody waits for a program that takes its time.
    let of_session = |process: &Marked| pid == process.pid;
    let stubborn = program
        .programs()
        .into_iter()
        .find(of_session)
        .expect("it has not ended yet");
    assert_eq!(session.calling("echo", json!({})).await.status(), 404);
    stubborn.ended().await;
    assert_eq!(
        other.call("echo", json!({ "still": "here" })).await["echo"],
        json!({ "still": "here" })
    );
    let fresh = program.session().await;
    assert_eq!(fresh.call("echo", json!({})).await["echo"], json!({}));
}

#[tokio::test]
async fn a_request_above_the_bound_is_refused_and_the_program_does_not_hear_of_it() {
    let pool = Pool::start().await;
    let settings = [("PROVIDER_MAX_MESSAGE_BYTES", "1MiB")];
    let program = Faulty::with(&pool, "request", &[], &settings).await;
    let session = program.session().await;
    let End::Failed(failed) = end_of(
        session
            .calling("echo", json!({ "text": digits(MIB) }))
            .await,
    )
    .await
    else {
        panic!("it was taken")
    };
    assert_eq!(
        (failed.status, &*failed.word, &*failed.hop),
        (413, "message_too_large", "relay")
    );
    assert!(session.heard().await.iter().all(|line| line.len() < MIB));
}

#[tokio::test]
async fn two_hundred_megabytes_on_standard_error_stop_no_call_and_fill_no_log() {
    let pool = Pool::start().await;
    let program = Faulty::of(&pool, "flood", &[]).await;
    let (session, other) = (program.session().await, program.session().await);
    let mut flood = Box::pin(session.call("complain", json!({ "bytes": 200_000_000 })));
    let mut calls = 0;
    // As long as the one complains, the other one works.
    loop {
        tokio::select! {
            biased;
            _ = &mut flood => break,
            echo = other.call("echo", json!({ "call": calls })) => assert_eq!(echo["echo"], json!({ "call": calls })),
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
