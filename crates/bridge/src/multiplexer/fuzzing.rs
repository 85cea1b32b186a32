//! The check of a fuzz target in `fuzz/`: a shared program that writes anything.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use llamapool_limits::MemoryAccount;
use llamapool_mcp::Token;
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, Lines};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fuzzing::runtime;
use crate::program_input::program_input;

/// The requests of two callers, whose ids are equal.
const ONE: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"progressToken":"one"}}}"#;
const TWO: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"_meta":{"progressToken":"two"}}}"#;

/// Checks that each caller gets messages with its own id and token alone, and one response at most.
/// In `output`, `$1` and `$2` stand for the program's ids of the two calls, `$3` and `$4` for their
/// tokens.
pub fn shared_program(output: &str) {
    runtime().block_on(async {
        let memory = MemoryAccount::default();
        let (input, writer) = program_input(&CancellationToken::new(), &memory);
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(writer.write_to(near));
        let mut input_lines = BufReader::new(far).lines();
        let hour = Duration::from_secs(3600);
        let multiplexer = Arc::new(Multiplexer::new(input, true, Some(hour)));

        let (mut one, first) = call(&multiplexer, ONE, &mut input_lines).await;
        let (mut two, second) = call(&multiplexer, TWO, &mut input_lines).await;
        let (first_id, first_token) = tokens(&first);
        let (second_id, second_token) = tokens(&second);
        for line in output.lines() {
            let line = line
                .replace("$1", &first_id)
                .replace("$2", &second_id)
                .replace("$3", &first_token)
                .replace("$4", &second_token);
            multiplexer.on_line(Bytes::from(line)).await;
        }

        check(&mut one, "two");
        check(&mut two, "one");
    });
}

async fn call(
    multiplexer: &Arc<Multiplexer>,
    text: &str,
    input: &mut Lines<BufReader<DuplexStream>>,
) -> (MultiplexedCall, Message) {
    let request = message(text);
    let request = UnambiguousMessage::check(&request).expect("one meaning");
    let memory = MemoryAccount::default();
    let call = multiplexer.call(request, &memory).await;
    let call = call.expect("a program");
    let line = input.next_line().await.expect("input").expect("a line");
    (call, message(&line))
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("a message")
}

/// Returns the id and the progress token of a request, as they are spelt.
fn tokens(request: &Message) -> (String, String) {
    let spelling = |token: Option<Token>| {
        let raw = token.expect("a token").raw(&request.text).to_vec();
        String::from_utf8(raw).expect("UTF-8")
    };
    (
        spelling(request.id.clone()),
        spelling(request.progress_token()),
    )
}

/// Checks what one caller got; `other` is the token of the other one.
fn check(call: &mut MultiplexedCall, other: &str) {
    let mut responses = 0;
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let next = pin!(call.receiver.next()).poll(&mut context);
        let Poll::Ready(Ok(Some(part))) = next else {
            break;
        };

        let (ResponsePart::Whole(text, _) | ResponsePart::Event(_, text)) = &part else {
            continue;
        };
        let messages = parse_messages_tolerant(text).expect("a message");
        let [message] = &messages[..] else {
            panic!("{} messages", messages.len());
        };
        if let ResponsePart::Whole(..) = part {
            responses += 1;
            let id = message.id.as_ref().expect("an id");
            assert_eq!(id.raw(text), b"7", "{text:?}");
        }
        if let Some(token) = message.reported_progress_token() {
            let is_foreign = token.raw(text) == format!("\"{other}\"").as_bytes();
            assert!(!is_foreign, "{text:?}");
        }
    }
    assert!(responses <= 1);
}
