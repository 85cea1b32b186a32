//! The messages that a shared program receives, and the callers that receive its messages.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, Lines};
use tokio_util::sync::CancellationToken;

use llamapool_limits::MemoryAccount;

use super::*;
use crate::program_input::program_input;

/// A message that does not arrive within this time never does.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that a test plays.
struct ScriptedProgram {
    multiplexer: Arc<Multiplexer>,
    input: Lines<BufReader<DuplexStream>>,
    _writing: tokio::task::JoinSet<()>,
}

impl ScriptedProgram {
    fn new() -> Self {
        let (input, writer) = program_input(&CancellationToken::new(), &MemoryAccount::default());
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(writer.write_to(near));
        let lines = BufReader::new(far).lines();
        Self {
            multiplexer: Arc::new(Multiplexer::new(input, true)),
            input: lines,
            _writing: writing,
        }
    }

    async fn call(&self, text: &str) -> MultiplexedCall {
        self.multiplexer.call(&message(text)).await.unwrap()
    }

    async fn next_input(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.input.next_line()).await;
        line.expect("the program receives a line").unwrap().unwrap()
    }

    async fn write(&self, text: &str) {
        self.multiplexer
            .on_line(Bytes::copy_from_slice(text.as_bytes()))
            .await;
    }
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

async fn next(call: &mut MultiplexedCall) -> Result<String, CallError> {
    let next = tokio::time::timeout(PATIENCE, call.receiver.next())
        .await
        .expect("a part arrives");
    match next.map_err(|broken| broken.failure)? {
        Some(ResponsePart::Whole(text, _)) => {
            Ok(format!("whole {}", String::from_utf8_lossy(&text)))
        }
        Some(ResponsePart::Event(None, text)) => Ok(String::from_utf8_lossy(&text).into_owned()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn equal_ids_never_meet_and_keep_their_spelling() {
    let mut program = ScriptedProgram::new();

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
        program.next_input().await,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#
    );
    assert_eq!(
        program.next_input().await,
        r#"{"jsonrpc":"2.0","method":"tools/list","id": 2 }"#
    );
    assert_eq!(
        program.next_input().await,
        r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#
    );

    program
        .write(r#"{"result":{"id":2},"jsonrpc":"2.0","id":2}"#)
        .await;
    program
        .write(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)
        .await;
    program
        .write(r#"{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":"?"}}"#)
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
    let mut program = ScriptedProgram::new();

    let meta = r#""_meta":{"progressToken":"tok"}"#;
    let request = |method: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":"x","method":"{method}","params":{{{meta}}}}}"#)
    };
    let mut call = program.call(&request("tools/call")).await;
    let mut listen = program.call(&request("subscriptions/listen")).await;

    assert!(program.next_input().await.contains(r#""progressToken":1"#));
    assert!(program.next_input().await.contains(r#""id":2,"#));

    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    program.write(&progress("1")).await;

    assert_eq!(next(&mut call).await.unwrap(), progress(r#""tok""#));

    let changed = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    program.write(&changed("2")).await;

    assert_eq!(next(&mut listen).await.unwrap(), changed(r#""x""#));

    program.write(r#"{"jsonrpc":"2.0","id":2,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":2}}}"#).await;
    let end = r#"whole {"jsonrpc":"2.0","id":"x","result":{"_meta":{"io.modelcontextprotocol/subscriptionId":"x"}}}"#;

    assert_eq!(next(&mut listen).await.unwrap(), end);
}

#[tokio::test]
async fn a_message_that_names_no_call_goes_to_the_only_one() {
    let program = ScriptedProgram::new();

    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"secret"}}"#;
    let mut one = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.write(log).await;

    assert_eq!(next(&mut one).await.unwrap(), log);

    let mut two = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.write(log).await;
    for call in [&mut one, &mut two] {
        assert!(futures_util::poll!(std::pin::pin!(call.receiver.next())).is_pending());
    }
}

#[tokio::test]
async fn a_disconnect_cancels_and_late_responses_are_dropped() {
    let mut program = ScriptedProgram::new();

    let call = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.next_input().await;
    drop(call);

    assert!(
        program
            .next_input()
            .await
            .contains(r#""method":"notifications/cancelled","params":{"requestId":1,"#)
    );

    let mut other = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.next_input().await;
    program
        .write(r#"{"jsonrpc":"2.0","id":1,"result":"late"}"#)
        .await;
    program
        .write(r#"{"jsonrpc":"2.0","id":2,"result":"own"}"#)
        .await;

    assert_eq!(
        next(&mut other).await.unwrap(),
        r#"whole {"jsonrpc":"2.0","id":1,"result":"own"}"#
    );

    drop(other);
    program.multiplexer.input.send_urgent("next".into());

    assert_eq!(
        program.next_input().await,
        "next",
        "an answered call is not cancelled"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_holds_the_others_back_only_briefly() {
    let mut program = ScriptedProgram::new();

    let mut slow = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.next_input().await;
    let large = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":"{}"}}"#,
        "x".repeat(WAITING_BYTES)
    );
    program.write(&large).await;
    let started = tokio::time::Instant::now();
    program.write(&large).await;

    assert_eq!(started.elapsed(), SLOW_CALLER);
    assert!(
        program
            .next_input()
            .await
            .contains("notifications/cancelled")
    );
    assert!(next(&mut slow).await.is_ok());
    assert_eq!(next(&mut slow).await.unwrap_err().cause, Cause::TunnelLost);
}

#[tokio::test]
async fn an_invalid_response_fails_its_own_call_alone() {
    let program = ScriptedProgram::new();

    let mut one = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    let mut two = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program
        .multiplexer
        .on_line(Bytes::from_static(
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}",
        ))
        .await;
    program.write("npm warn deprecated").await;

    assert_eq!(
        next(&mut one).await.unwrap_err().cause,
        Cause::ProviderGarbage
    );
    assert!(futures_util::poll!(std::pin::pin!(two.receiver.next())).is_pending());
}

#[tokio::test]
async fn a_request_of_the_program_is_declined() {
    let mut program = ScriptedProgram::new();

    program
        .write(r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage"}"#)
        .await;
    let line = program.next_input().await;

    assert!(
        line.starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32601,"#),
        "{line}"
    );
}

#[tokio::test]
async fn all_calls_fail_when_the_program_exits() {
    let program = ScriptedProgram::new();

    let mut call = program
        .call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        .await;
    program.multiplexer.on_exit(&Exit::with_status(7));

    assert!(
        next(&mut call)
            .await
            .unwrap_err()
            .message
            .contains("exit status 7")
    );

    let again = program
        .multiplexer
        .call(&message(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
        ))
        .await;

    assert_eq!(again.map(|_| ()).unwrap_err().cause, Cause::ProviderExited);

    tokio::time::timeout(PATIENCE, program.multiplexer.until_exited())
        .await
        .unwrap();
}
