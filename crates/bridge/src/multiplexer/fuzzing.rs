//! The check of a fuzz target in `fuzz/`: a shared program that writes anything.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use llamapool_limits::MemoryAccount;
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
/// In `output`, `$1` and `$2` stand for the program's ids of the two calls.
pub fn shared_program(output: &str) {
    runtime().block_on(async {
        let (input, writer) = program_input(&CancellationToken::new(), &MemoryAccount::default());
        let multiplexer = Arc::new(Multiplexer::new(input, true, None));
        // Nothing is written, but the queue stays open.

        let mut one = call(&multiplexer, ONE).await;
        let mut two = call(&multiplexer, TWO).await;
        for line in output.lines() {
            let line = line
                .replace("$1", &one.guard.id.to_string())
                .replace("$2", &two.guard.id.to_string());
            multiplexer.on_line(Bytes::from(line)).await;
        }

        check(&mut one, "two");
        check(&mut two, "one");
        drop(writer);
    });
}

async fn call(multiplexer: &Arc<Multiplexer>, text: &str) -> MultiplexedCall {
    let request = Message::parse(Bytes::copy_from_slice(text.as_bytes()));
    let request = request.expect("a request");
    let request = UnambiguousMessage::check(&request).expect("an unambiguous request");
    multiplexer.call(request).await.expect("a program")
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
            panic!("several messages: {text:?}");
        };
        if let ResponsePart::Whole(..) = part {
            responses += 1;
            let id = message.id.as_ref().expect("an id");
            assert_eq!(id.raw(text), b"7", "{text:?}");
        }
        if let Some(token) = message.reported_progress_token() {
            assert_ne!(
                token.raw(text),
                format!("\"{other}\"").as_bytes(),
                "{text:?}"
            );
        }
    }
    assert!(responses <= 1);
}
