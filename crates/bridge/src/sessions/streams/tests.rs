//! The stream that each message goes to, and what a caller that resumes receives.

use llamapool_limits::MemoryAccount;

use super::session_stream::RESUMABLE;
use super::*;

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn request(id: u32, progress: &str) -> Message {
    let meta = if progress.is_empty() {
        String::new()
    } else {
        format!(r#""_meta":{{"progressToken":"{progress}"}}"#)
    };
    message(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{{meta}}}}}"#
    ))
}

fn response(id: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
const QUESTION: &str =
    r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}"#;

/// The streams of a session, and the lines of its program.
struct Session(Streams);

impl Session {
    fn new() -> Self {
        Self(Streams::new(
            EventLog::new(1000, &MemoryAccount::default()),
            &MemoryAccount::default(),
        ))
    }

    fn starting() -> Self {
        let mut session = Self::new();
        session.0.set_primes_streams();
        session
    }

    fn call(&mut self, id: u32) -> (u64, EventReceiver) {
        self.0.open_call(&[request(id, &format!("p{id}"))]).unwrap()
    }

    /// Routes a line of the program. Returns whether a stream received it.
    fn line(&mut self, text: &str) -> bool {
        let Some(delivery) = self
            .0
            .route(&[message(text)], Bytes::copy_from_slice(text.as_bytes()))
        else {
            return false;
        };
        delivery.sender.push(delivery.part);
        if delivery.is_last {
            delivery.sender.finish();
        }
        true
    }
}

/// Returns the parts that a caller can read: each message, `start` for an event without one,
/// `whole` before a whole response, and the end.
async fn received(receiver: &mut EventReceiver) -> Vec<String> {
    let mut received = Vec::new();
    loop {
        let next = std::pin::pin!(receiver.next());
        received.push(match futures_util::poll!(next) {
            std::task::Poll::Pending => return received,
            std::task::Poll::Ready(Ok(Some(ResponsePart::Whole(text, _)))) => {
                format!("whole {}", String::from_utf8_lossy(&text))
            }
            std::task::Poll::Ready(Ok(Some(ResponsePart::Event(_, text)))) => {
                String::from_utf8_lossy(&text).into_owned()
            }
            std::task::Poll::Ready(Ok(Some(ResponsePart::Primer(_)))) => "start".into(),
            std::task::Poll::Ready(Ok(None)) => "end".into(),
            std::task::Poll::Ready(Err(_)) => "broken".into(),
        });
        if matches!(received.last().map(String::as_str), Some("end" | "broken")) {
            return received;
        }
    }
}

#[tokio::test]
async fn a_response_alone_is_whole_where_streams_are_not_primed() {
    let mut session = Session::new();
    let (_, mut receiver) = session.call(1);

    assert!(session.line(&response(1)));
    assert_eq!(
        received(&mut receiver).await,
        [format!("whole {}", response(1)), "end".into()]
    );

    let mut session = Session::starting();
    let (_, mut receiver) = session.call(1);

    assert!(session.line(&response(1)));
    assert_eq!(
        received(&mut receiver).await,
        ["start".into(), response(1), "end".into()]
    );
}

#[tokio::test]
async fn progress_and_responses_go_to_their_calls() {
    let mut session = Session::new();
    let (_, mut one) = session.call(1);
    let (_, mut two) = session.call(2);
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1}}"#;

    assert!(session.line(progress));
    assert!(session.line(&response(2)));
    assert!(session.line(&response(1)));
    assert_eq!(
        received(&mut one).await,
        [progress.to_owned(), response(1), "end".into()]
    );
    assert_eq!(
        received(&mut two).await,
        [format!("whole {}", response(2)), "end".into()]
    );
    assert!(
        !session.line(&response(1)),
        "a second response has no stream"
    );
}

#[tokio::test]
async fn other_messages_go_to_only_call_listener_or_newest_call() {
    let mut session = Session::new();
    let (_, mut one) = session.call(1);
    session.line(QUESTION);

    assert_eq!(received(&mut one).await, [QUESTION]);

    let (_, mut two) = session.call(2);
    session.line(LOG);

    assert_eq!(
        (received(&mut one).await, received(&mut two).await),
        (vec![], vec![LOG.to_owned()])
    );

    let mut listener = session.0.open_listener();
    session.line(LOG);

    assert_eq!(received(&mut listener).await, [LOG]);

    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}"#;
    session.line(cancelled);

    assert_eq!(
        received(&mut one).await,
        [cancelled],
        "a cancellation follows its question"
    );
}

#[tokio::test]
async fn unclaimed_messages_wait_for_the_next_listener() {
    let mut session = Session::starting();

    assert!(!session.line(LOG));

    let mut listener = session.0.open_listener();
    assert_eq!(received(&mut listener).await, ["start", LOG]);

    drop(listener);

    assert!(!session.line(QUESTION));

    let mut again = session.0.open_listener();
    assert_eq!(received(&mut again).await, ["start", QUESTION]);
}

#[tokio::test]
async fn a_resumed_stream_goes_on_after_the_last_event() {
    let mut session = Session::starting();
    let (stream, receiver) = session.call(1);
    let (_, mut other) = session.call(2);
    session.0.become_event_stream(stream);
    drop(receiver);
    session.line(&response(2));
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1}}"#;
    session.line(progress);
    let mut resumed = session.0.resume(EventId { stream, number: 0 }).unwrap();

    assert_eq!(received(&mut resumed).await, [progress]);

    session.line(&response(1));

    assert_eq!(received(&mut resumed).await, [response(1), "end".into()]);

    let mut late = session.0.resume(EventId { stream, number: 1 }).unwrap();
    assert_eq!(received(&mut late).await, [response(1), "end".into()]);
    assert_eq!(
        received(&mut other).await,
        ["start".into(), response(2), "end".into()]
    );
}

#[tokio::test(start_paused = true)]
async fn only_events_in_the_log_are_replayed() {
    let mut session = Session::starting();
    let (stream, _receiver) = session.call(1);

    for number in [1, 99] {
        assert_eq!(
            session.0.resume(EventId { stream, number }).err(),
            Some(ResumeError)
        );
    }

    assert_eq!(
        session
            .0
            .resume(EventId {
                stream: 7,
                number: 0
            })
            .err(),
        Some(ResumeError)
    );

    session.line(&response(1));

    assert!(session.0.resume(EventId { stream, number: 1 }).is_ok());

    tokio::time::advance(RESUMABLE).await;
    session.0.expire(Instant::now());

    assert_eq!(
        session.0.resume(EventId { stream, number: 1 }).err(),
        Some(ResumeError)
    );
}

#[tokio::test]
async fn an_id_is_free_again_after_its_response_or_withdrawal() {
    let mut session = Session::new();
    let (stream, _receiver) = session.call(1);

    assert_eq!(
        session.0.open_call(&[request(1, "")]).err(),
        Some(OpenCallError::IdInUse)
    );
    assert_eq!(
        session.0.open_call(&[request(2, ""), request(2, "")]).err(),
        Some(OpenCallError::IdInUse)
    );

    session.0.withdraw(stream);
    let (_, _receiver) = session.call(1);
    session.line(&response(1));
    session.call(1);

    assert!(session.0.calls.len() == 1 && session.0.progress.len() == 1);
}

/// SDKs accept `"7"` as the answer to 7, and its digits as the token 7; a number answers no string.
#[tokio::test]
async fn a_number_is_also_answered_as_a_string() {
    let mut session = Session::new();
    let request =
        message(r#"{"jsonrpc":"2.0","id":7,"method":"x","params":{"_meta":{"progressToken":8}}}"#);
    let (_, mut number) = session.0.open_call(&[request]).unwrap();
    let text = message(r#"{"jsonrpc":"2.0","id":"9","method":"x"}"#);
    let (_, mut text) = session.0.open_call(&[text]).unwrap();
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"8","progress":1}}"#;
    let response = r#"{"jsonrpc":"2.0","id":"7","result":{}}"#;

    assert!(session.line(progress));
    assert!(session.line(response));
    assert!(!session.line(r#"{"jsonrpc":"2.0","id":9,"result":{}}"#));

    assert_eq!(
        received(&mut number).await,
        [progress.to_owned(), response.to_owned(), "end".into()]
    );
    assert_eq!(received(&mut text).await, ["broken"]);
    assert!(session.0.calls.is_empty());
}

#[tokio::test]
async fn an_exact_id_is_preferred_to_one_that_is_alike() {
    let mut session = Session::new();
    let (_, mut number) = session.call(7);
    let text = message(r#"{"jsonrpc":"2.0","id":"7","method":"x"}"#);
    let (_, mut text) = session.0.open_call(&[text]).unwrap();
    let to_text = r#"{"jsonrpc":"2.0","id":"7","result":{}}"#;

    session.line(to_text);
    session.line(&response(7));

    assert_eq!(
        received(&mut text).await,
        [format!("whole {to_text}"), "end".into()]
    );
    assert_eq!(
        received(&mut number).await,
        [format!("whole {}", response(7)), "end".into()]
    );
}

#[tokio::test]
async fn a_batch_ends_with_its_last_response() {
    let mut session = Session::new();
    let (_, mut receiver) = session
        .0
        .open_call(&[request(1, ""), request(2, "")])
        .unwrap();
    let both = format!("[{},{}]", response(1), response(2));
    let messages = [message(&response(1)), message(&response(2))];
    let delivery = session.0.route(&messages, both.clone().into()).unwrap();

    assert!(delivery.is_last);

    delivery.sender.push(delivery.part);

    assert_eq!(received(&mut receiver).await[0], format!("whole {both}"));

    let (_, mut receiver) = session
        .0
        .open_call(&[request(1, ""), request(2, "")])
        .unwrap();
    session.line(&response(2));
    session.line(&response(1));

    assert_eq!(
        received(&mut receiver).await,
        [response(2), response(1), "end".into()]
    );
}

#[tokio::test]
async fn the_end_of_a_session_fails_calls_and_ends_listeners() {
    let mut session = Session::new();
    let (_, mut call) = session.call(1);
    let mut listener = session.0.open_listener();
    session.0.end_all(&CallError::new(
        llamapool_wire::Cause::ProviderExited,
        "exit status 1",
    ));

    assert_eq!(
        (received(&mut call).await, received(&mut listener).await),
        (vec!["broken".into()], vec!["end".into()])
    );
}

#[tokio::test]
async fn calls_and_listeners_are_bounded() {
    let mut session = Session::new();
    let mut receivers: Vec<_> = (0..CALLS as u32).map(|id| session.call(id)).collect();

    assert_eq!(
        session.0.open_call(&[request(9999, "")]).err(),
        Some(OpenCallError::TooMany)
    );

    receivers.clear();
    let mut listeners: Vec<_> = (0..=LISTENERS).map(|_| session.0.open_listener()).collect();

    assert_eq!(received(&mut listeners[0]).await, ["end"]);
    assert_eq!(received(&mut listeners[1]).await, Vec::<String>::new());
}
