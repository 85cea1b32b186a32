//! The messages that a shared program receives, and the callers that receive its messages.

mod interleavings;

use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, Lines};
use tokio_util::sync::CancellationToken;

use llamapool_limits::MemoryAccount;

use super::stall_budget::LONGEST;
use super::*;
use crate::error::ServeError;
use crate::program_input::program_input;

/// A message that does not arrive within this time never does.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest time of a call.
const TIMEOUT: Duration = Duration::from_secs(3600);

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
            multiplexer: Arc::new(Multiplexer::new(input, true, Some(TIMEOUT))),
            input: lines,
            _writing: writing,
        }
    }

    /// Sends a request. Returns the call, and the message that the program receives.
    async fn call(&mut self, text: &str) -> (MultiplexedCall, Message) {
        let request = message(text);
        let request = UnambiguousMessage::check(&request).unwrap();
        let call = self
            .multiplexer
            .call(request, &MemoryAccount::default())
            .await
            .unwrap();
        (call, message(&self.next_input().await))
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

/// Returns the id of a request, as it is spelled.
fn id_of(request: &Message) -> String {
    let id = request.id.as_ref().unwrap().raw(&request.text);
    String::from_utf8(id.to_vec()).unwrap()
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

/// Checks that nothing has arrived for a call.
fn assert_waits(call: &mut MultiplexedCall) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(call.receiver.poll_next(&mut context).is_pending());
}

fn line(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
const LOG: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"secret"}}"#;

/// The bridge has asked, and then a caller has got the program.
#[tokio::test]
async fn a_late_response_is_not_for_the_next_observer() {
    let mut program = ScriptedProgram::new();
    let (mut call, received) = program.call(CALL).await;
    let response = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#,
        id_of(&received)
    );

    assert!(!program.multiplexer.takes_response(&line(LOG)));
    assert!(!program.multiplexer.takes_response(&line("downloading")));
    assert_waits(&mut call);
    assert!(program.multiplexer.takes_response(&line(&response)));

    assert_eq!(
        next(&mut call).await.unwrap(),
        r#"whole {"jsonrpc":"2.0","id":1,"result":{}}"#
    );
    assert!(!program.multiplexer.takes_response(&line(&response)));
}

#[tokio::test]
async fn another_response_passes_over_earlier_requests() {
    let mut program = ScriptedProgram::new();
    let (mut call, _) = program.call(CALL).await;

    let taken = program
        .multiplexer
        .takes_response(&line(r#"{"jsonrpc":"2.0","id":"theirs","result":{}}"#));

    assert!(!taken);
    assert!(matches!(call.receiver.next().await, Ok(None)));
}

#[tokio::test]
async fn equal_ids_never_meet_and_keep_their_spelling() {
    let mut program = ScriptedProgram::new();
    let requests = [
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","method":"tools/list","id": "\u0037" }"#,
        r#"{"jsonrpc":"2.0","id":12345678901234567890123,"method":"tools/list"}"#,
    ];
    let spellings = ["7", r#""\u0037""#, "12345678901234567890123"];
    let mut calls = Vec::new();
    let mut ids = Vec::new();

    for (request, spelling) in requests.into_iter().zip(spellings) {
        let (call, received) = program.call(request).await;
        let id = id_of(&received);
        assert_eq!(
            received.text,
            request.replace(spelling, &id),
            "only the id changes"
        );
        calls.push(call);
        ids.push(id);
    }
    // In another order, and one as a string, which SDKs accept.
    let result = |id: &str| format!(r#"{{"result":{{"id":2}},"jsonrpc":"2.0","id":{id}}}"#);
    program.write(&result(&format!("\"{}\"", ids[2]))).await;
    program.write(&result(&ids[0])).await;
    program.write(&result(&ids[1])).await;

    for (mut call, spelling) in calls.into_iter().zip(spellings) {
        let received = next(&mut call).await.unwrap();
        assert_eq!(received, format!("whole {}", result(spelling)));
    }
}

#[tokio::test]
async fn a_call_fails_when_the_program_accepts_no_more() {
    let ScriptedProgram {
        multiplexer,
        input,
        _writing,
    } = ScriptedProgram::new();
    drop(input);
    let request = message(CALL);
    let request = UnambiguousMessage::check(&request).unwrap();

    let call = multiplexer
        .call(request, &MemoryAccount::default())
        .await
        .unwrap();
    let whole = |message, _| crate::response::json(http::StatusCode::OK, message);
    let failed = tokio::time::timeout(PATIENCE, call.respond(whole))
        .await
        .expect("the call ends");

    assert!(
        matches!(&failed, Err(ServeError::Failed(failure)) if failure.cause == Cause::ProviderExited)
    );
    assert!(multiplexer.has_exited(), "no other call gets this program");
}

/// Neither can be guessed from what a caller has seen before.
#[tokio::test]
async fn ids_and_progress_tokens_are_random() {
    let mut program = ScriptedProgram::new();
    let mut numbers = Vec::new();
    for _ in 0..50 {
        let request =
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":1}}}"#;
        let (_, received) = program.call(request).await;
        let tokens = [received.id.clone(), received.progress_token()];
        numbers.extend(tokens.map(|token| token.unwrap().key.as_integer().unwrap()));
        program.next_input().await;
    }
    numbers.sort_unstable();
    assert!(numbers.iter().all(|number| (1..1 << 53).contains(number)));
    assert!(numbers[0] > 1 << 20);
    assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] > 1 << 20));
}

#[tokio::test]
async fn progress_and_subscriptions_find_their_callers() {
    let mut program = ScriptedProgram::new();

    let meta = r#""_meta":{"progressToken":"tok"}"#;
    let request = |method: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":"x","method":"{method}","params":{{{meta}}}}}"#)
    };
    let (mut call, called) = program.call(&request("tools/call")).await;
    let (mut listen, listened) = program.call(&request("subscriptions/listen")).await;
    let own_token = called.progress_token().unwrap();
    let own_token = String::from_utf8_lossy(own_token.raw(&called.text)).into_owned();
    assert_ne!(own_token, id_of(&called));

    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    program.write(&progress("1")).await;
    program.write(&progress(&id_of(&called))).await;
    program.write(&progress(r#""tok""#)).await;
    program.write(&progress(&own_token)).await;

    assert_eq!(next(&mut call).await.unwrap(), progress(r#""tok""#));
    assert_waits(&mut call);

    let changed = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    program.write(&changed(&id_of(&listened))).await;

    assert_eq!(next(&mut listen).await.unwrap(), changed(r#""x""#));

    let id = id_of(&listened);
    let end = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    program.write(&end(&id)).await;

    assert_eq!(
        next(&mut listen).await.unwrap(),
        format!("whole {}", end(r#""x""#))
    );
}

/// Characters that end a line for some programs, in values that are forwarded and in the id, which
/// is replaced.
#[tokio::test]
async fn no_message_is_two_lines_for_any_program() {
    let mut program = ScriptedProgram::new();
    let ends = "\u{85}\u{2028}\u{2029}";
    let request = format!(
        r#"{{"jsonrpc":"2.0","id":"{ends}","method":"x","params":{{"ä{ends}":"{ends}"}}}}"#
    );
    let (mut call, received) = program.call(&request).await;
    let escaped = r"\u0085\u2028\u2029";

    assert_eq!(
        received.text,
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"x","params":{{"ä{escaped}":"{escaped}"}}}}"#,
            id_of(&received)
        )
    );

    let response = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"{ends}"}}"#);
    program.write(&response(&id_of(&received))).await;

    assert_eq!(
        next(&mut call).await.unwrap(),
        format!("whole {}", response(&format!("\"{ends}\"")))
    );

    let notification = format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"a":"{ends}"}}}}"#);
    let notification = message(&notification);
    let notification = UnambiguousMessage::check(&notification).unwrap();
    program.multiplexer.notify(notification).await.unwrap();

    assert!(program.next_input().await.contains(escaped));
}

#[tokio::test]
async fn a_message_that_names_no_call_goes_to_the_only_one() {
    let mut program = ScriptedProgram::new();

    let (mut one, _) = program.call(CALL).await;
    program.write(LOG).await;

    assert_eq!(next(&mut one).await.unwrap(), LOG);

    let (mut two, _) = program.call(CALL).await;
    program.write(LOG).await;
    for call in [&mut one, &mut two] {
        assert_waits(call);
    }
}

/// The message may be about the call that has ended.
#[tokio::test]
async fn a_call_that_had_company_gets_no_message_without_a_name() {
    let mut program = ScriptedProgram::new();
    let (one, received) = program.call(CALL).await;
    let (mut two, _) = program.call(CALL).await;
    let response = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#,
        id_of(&received)
    );

    program.write(&response).await;
    drop(one);
    program.write(LOG).await;

    assert_waits(&mut two);
}

/// They belong to a subscription, a task or a request of the program, not to a call that happens to
/// run.
#[tokio::test]
async fn messages_about_something_else_go_to_no_call() {
    let mut program = ScriptedProgram::new();
    let (mut call, _) = program.call(CALL).await;

    for method in [
        "notifications/resources/updated",
        "notifications/tasks/status",
        "notifications/elicitation/complete",
        "notifications/cancelled",
        "notifications/progress",
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"requestId":1}}}}"#);
        program.write(&text).await;
        assert_waits(&mut call);
    }
}

#[tokio::test]
async fn a_disconnect_cancels_and_late_responses_are_dropped() {
    let mut program = ScriptedProgram::new();

    let (call, received) = program.call(CALL).await;
    let left = id_of(&received);
    drop(call);
    let cancelled = format!(r#""method":"notifications/cancelled","params":{{"requestId":{left},"#);
    assert!(program.next_input().await.contains(&cancelled));

    let (mut other, received) = program.call(CALL).await;
    let result =
        |id: &str, result: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"{result}"}}"#);
    program.write(&result(&left, "late")).await;
    program.write(&result(&id_of(&received), "own")).await;

    assert_eq!(
        next(&mut other).await.unwrap(),
        format!("whole {}", result("1", "own"))
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

    let (mut slow, _) = program.call(CALL).await;
    let large = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":"{}"}}"#,
        "x".repeat(WAITING_BYTES)
    );
    program.write(&large).await;
    let started = tokio::time::Instant::now();
    program.write(&large).await;

    assert_eq!(started.elapsed(), LONGEST);
    assert!(
        program
            .next_input()
            .await
            .contains("notifications/cancelled")
    );
    assert!(next(&mut slow).await.is_ok());
    assert_eq!(next(&mut slow).await.unwrap_err().cause, Cause::TunnelLost);
}

/// As with one slow caller after the other.
#[tokio::test(start_paused = true)]
async fn slow_callers_hold_the_others_back_briefly_together() {
    let mut program = ScriptedProgram::new();
    let large = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":"{}"}}"#,
        "x".repeat(WAITING_BYTES)
    );
    let started = tokio::time::Instant::now();

    for _ in 0..4 {
        let (_slow, _) = program.call(CALL).await;
        program.write(&large).await;
        program.write(&large).await;
        program.next_input().await;
    }

    assert!(started.elapsed() < 2 * LONGEST, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_fails_and_is_cancelled() {
    let mut program = ScriptedProgram::new();
    let (mut call, received) = program.call(CALL).await;
    let listen = CALL.replace("tools/call", "subscriptions/listen");
    let (mut listen, _) = program.call(&listen).await;
    let multiplexer = program.multiplexer.clone();
    let mut attending = tokio::task::JoinSet::new();
    attending.spawn(async move { multiplexer.attend().await });

    tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
    assert_waits(&mut call);
    tokio::time::sleep(Duration::from_secs(2)).await;

    let failure = next(&mut call).await.unwrap_err();
    assert_eq!(failure.cause, Cause::CallTimeout);
    assert!(failure.message.contains("3600 s"), "{}", failure.message);
    let cancelled = format!(r#""params":{{"requestId":{},"#, id_of(&received));
    assert!(program.next_input().await.contains(&cancelled));
    assert_waits(&mut listen);
}

#[tokio::test]
async fn an_invalid_response_fails_its_own_call_alone() {
    let mut program = ScriptedProgram::new();
    let (mut other, _) = program.call(CALL).await;

    for broken in [
        &b"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":\"\xff\"}"[..],
        b"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":\"a\tb\"}",
        br#"{"jsonrpc":"2.0","id":$ID,"result":{}} done"#,
        br#"Loading... {"jsonrpc":"2.0","id":$ID,"result":{}}"#,
        br#"{"jsonrpc":"2.0","id":"$ID","result":1,"error":{}}"#,
        br#"{"id":$ID,"result":{}}"#,
    ] {
        let (mut call, received) = program.call(CALL).await;
        let at = broken.windows(3).position(|it| it == b"$ID").unwrap();
        let line = [
            &broken[..at],
            id_of(&received).as_bytes(),
            &broken[at + 3..],
        ]
        .concat();

        program.multiplexer.on_line(line.into()).await;

        assert_eq!(
            next(&mut call).await.unwrap_err().cause,
            Cause::ProviderGarbage
        );
    }
    program.write("npm warn deprecated").await;
    assert_waits(&mut other);
}

#[tokio::test]
async fn responses_in_a_batch_find_their_calls() {
    let mut program = ScriptedProgram::new();
    let (mut one, first) = program.call(CALL).await;
    let (mut two, second) = program.call(CALL).await;
    let result = |id: &str, result: u8| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"v":NaN,"r":{result}}}}}"#)
    };
    let batch = [result(&id_of(&second), 2), result(&id_of(&first), 1)].join(", ");

    program.write(&format!("[{batch}]")).await;

    let whole = |number| format!("whole {}", result("1", number));
    assert_eq!(next(&mut one).await.unwrap(), whole(1));
    assert_eq!(next(&mut two).await.unwrap(), whole(2));
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
    let mut program = ScriptedProgram::new();

    let (mut call, _) = program.call(CALL).await;
    program.multiplexer.on_exit(&Exit::with_status(7));

    assert!(
        next(&mut call)
            .await
            .unwrap_err()
            .message
            .contains("exit status 7")
    );

    let again = message(CALL);
    let again = UnambiguousMessage::check(&again).unwrap();
    let again = program
        .multiplexer
        .call(again, &MemoryAccount::default())
        .await;

    assert_eq!(again.map(|_| ()).unwrap_err().cause, Cause::ProviderExited);

    tokio::time::timeout(PATIENCE, program.multiplexer.until_exited())
        .await
        .unwrap();
}
