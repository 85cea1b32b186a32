//! What a shared program is told, and who hears what it says.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, Lines};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::input::input;

/// What does not come within this time does not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that a test plays: what it is told, and the way to say something.
struct Played {
    shared: Arc<Shared>,
    told: Lines<BufReader<DuplexStream>>,
    _writing: tokio::task::JoinSet<()>,
}

impl Played {
    fn new() -> Self {
        let (input, outgoings) = input(&CancellationToken::new());
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(outgoings.write_to(near));
        let told = BufReader::new(far).lines();
        Self {
            shared: Arc::new(Shared::new(input, true)),
            told,
            _writing: writing,
        }
    }

    async fn call(&self, text: &str) -> Call {
        self.shared.call(&message(text)).await.unwrap()
    }

    async fn is_told(&mut self) -> String {
        let told = tokio::time::timeout(PATIENCE, self.told.next_line()).await;
        told.expect("the program is told something")
            .unwrap()
            .unwrap()
    }

    async fn says(&self, text: &str) {
        self.shared
            .heard(Bytes::copy_from_slice(text.as_bytes()))
            .await;
    }
}

fn message(text: &str) -> Message {
    Message::read(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

async fn next(call: &mut Call) -> Result<String, CallError> {
    let next = tokio::time::timeout(PATIENCE, call.outlet.next())
        .await
        .expect("something comes");
    match next.map_err(|broken| broken.failure)? {
        Some(Item::Whole(text, _)) => Ok(format!("whole {}", String::from_utf8_lossy(&text))),
        Some(Item::Event(None, text)) => Ok(String::from_utf8_lossy(&text).into_owned()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn equal_ids_of_two_callers_never_meet_and_come_back_as_they_were_written() {
    let mut program = Played::new();
    let mut one = program
        .call(r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#)
        .await;
    let mut two = program
        .call(r#"{"jsonrpc":"2.0","method":"tools/list","id": "\u0037" }"#)
        .await;
    let mut big = program
        .call(r#"{"jsonrpc":"2.0","id":12345678901234567890123,"method":"tools/list"}"#)
        .await;
    assert_eq!(
        program.is_told().await,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#
    );
    assert_eq!(
        program.is_told().await,
        r#"{"jsonrpc":"2.0","method":"tools/list","id": 2 }"#
    );
    assert_eq!(
        program.is_told().await,
        r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#
    );
    program
        .says(r#"{"result":{"id":2},"jsonrpc":"2.0","id":2}"#)
        .await;
    program
        .says(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)
        .await;
    program
        .says(r#"{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":"?"}}"#)
        .await;
    assert_eq!(
        next(&mut one).await.unwrap(),
        r#"whole {"jsonrpc":"2.0","id":7,"result":{}}"#
    );
    assert_eq!(
        next(&mut two).await.unwrap(),
        r#"whole {"result":{"id":2},"jsonrpc":"2.0","id":"\u0037"}"#
    );
    assert!(
        next(&mut big)
            .await
            .unwrap()
            .contains(r#""id":12345678901234567890123,"#)
    );
}

#[tokio::test]
async fn progress_and_subscriptions_find_their_callers() {
    let mut program = Played::new();
    let meta = r#""_meta":{"progressToken":"tok"}"#;
    let request = |method: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":"x","method":"{method}","params":{{{meta}}}}}"#)
    };
    let mut call = program.call(&request("tools/call")).await;
    let mut listen = program.call(&request("subscriptions/listen")).await;
    assert!(program.is_told().await.contains(r#""progressToken":1"#));
    assert!(program.is_told().await.contains(r#""id":2,"#));
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    program.says(&progress("1")).await;
    assert_eq!(next(&mut call).await.unwrap(), progress(r#""tok""#));
    let changed = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    program.says(&changed("2")).await;
    assert_eq!(next(&mut listen).await.unwrap(), changed(r#""x""#));
    program.says(r#"{"jsonrpc":"2.0","id":2,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":2}}}"#).await;
    let end = r#"whole {"jsonrpc":"2.0","id":"x","result":{"_meta":{"io.modelcontextprotocol/subscriptionId":"x"}}}"#;
    assert_eq!(next(&mut listen).await.unwrap(), end);
}

#[tokio::test]
async fn what_names_no_call_goes_to_the_only_one_and_else_to_nobody() {
    let program = Played::new();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"secret"}}"#;
    let mut one = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.says(log).await;
    assert_eq!(next(&mut one).await.unwrap(), log);
    let mut two = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.says(log).await;
    for call in [&mut one, &mut two] {
        assert!(futures_util::poll!(std::pin::pin!(call.outlet.next())).is_pending());
    }
}

#[tokio::test]
async fn who_leaves_cancels_and_what_comes_late_belongs_to_nobody() {
    let mut program = Played::new();
    let call = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.is_told().await;
    drop(call);
    assert!(
        program
            .is_told()
            .await
            .contains(r#""method":"notifications/cancelled","params":{"requestId":1,"#)
    );
    let mut other = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.is_told().await;
    program
        .says(r#"{"jsonrpc":"2.0","id":1,"result":"late"}"#)
        .await;
    program
        .says(r#"{"jsonrpc":"2.0","id":2,"result":"own"}"#)
        .await;
    assert_eq!(
        next(&mut other).await.unwrap(),
        r#"whole {"jsonrpc":"2.0","id":1,"result":"own"}"#
    );
    drop(other);
    program.shared.input.aside("next".into());
    assert_eq!(
        program.is_told().await,
        "next",
        "what was answered is not cancelled"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_does_not_read_holds_the_others_back_for_a_moment_only() {
    let mut program = Played::new();
    let mut slow = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.is_told().await;
    let large = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":"{}"}}"#,
        "x".repeat(WAITING_BYTES)
    );
    program.says(&large).await;
    let started = tokio::time::Instant::now();
    program.says(&large).await;
    assert_eq!(started.elapsed(), SLOW_CALLER);
    assert!(program.is_told().await.contains("notifications/cancelled"));
    assert!(next(&mut slow).await.is_ok());
    assert_eq!(next(&mut slow).await.unwrap_err().cause, Cause::TunnelLost);
}

#[tokio::test]
async fn an_answer_that_is_no_message_fails_its_call_and_no_other() {
    let program = Played::new();
    let mut one = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    let mut two = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program
        .shared
        .heard(Bytes::from_static(
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}",
        ))
        .await;
    program.says("npm warn deprecated").await;
    assert_eq!(
        next(&mut one).await.unwrap_err().cause,
        Cause::ProviderGarbage
    );
    assert!(futures_util::poll!(std::pin::pin!(two.outlet.next())).is_pending());
}

#[tokio::test]
async fn a_program_that_asks_is_told_that_there_is_nobody() {
    let mut program = Played::new();
    program
        .says(r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage"}"#)
        .await;
    let told = program.is_told().await;
    assert!(
        told.starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32601,"#),
        "{told}"
    );
}

#[tokio::test]
async fn when_the_program_ends_all_calls_fail_and_no_new_one_begins() {
    let program = Played::new();
    let mut call = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.shared.ended(&Ended::by_itself(7));
    assert!(
        next(&mut call)
            .await
            .unwrap_err()
            .message
            .contains("exit status 7")
    );
    let again = program
        .shared
        .call(&message(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
        ))
        .await;
    assert_eq!(again.map(|_| ()).unwrap_err().cause, Cause::ProviderExited);
    tokio::time::timeout(PATIENCE, program.shared.ended_at_all())
        .await
        .unwrap();
}
