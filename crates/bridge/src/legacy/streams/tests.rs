//! Which message goes to which stream, and what a caller who resumes gets.

use super::*;

fn message(text: &str) -> Message {
    Message::read(Bytes::copy_from_slice(text.as_bytes())).unwrap()
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

/// Streams, and the way of lines through them.
struct Session(Streams);

impl Session {
    fn new() -> Self {
        Self(Streams::new(1000))
    }

    fn starting() -> Self {
        let mut session = Self::new();
        session.0.start_with_an_event();
        session
    }

    fn call(&mut self, id: u32) -> (u64, Outlet) {
        self.0.open_call(&[request(id, &format!("p{id}"))]).unwrap()
    }

    /// The program says something; whether somebody hears it.
    fn says(&mut self, text: &str) -> bool {
        let Some(delivery) = self
            .0
            .route(&[message(text)], Bytes::copy_from_slice(text.as_bytes()))
        else {
            return false;
        };
        delivery.inlet.push(delivery.item);
        if delivery.is_last {
            delivery.inlet.end();
        }
        true
    }
}

/// What a caller has before it: each message, `start` for an event without one, `whole` before a whole answer, and the end.
async fn heard(outlet: &mut Outlet) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let next = std::pin::pin!(outlet.next());
        heard.push(match futures_util::poll!(next) {
            std::task::Poll::Pending => return heard,
            std::task::Poll::Ready(Ok(Some(Item::Whole(text, _)))) => {
                format!("whole {}", String::from_utf8_lossy(&text))
            }
            std::task::Poll::Ready(Ok(Some(Item::Event(_, text)))) => {
                String::from_utf8_lossy(&text).into_owned()
            }
            std::task::Poll::Ready(Ok(Some(Item::Start(_)))) => "start".into(),
            std::task::Poll::Ready(Ok(None)) => "end".into(),
            std::task::Poll::Ready(Err(_)) => "broken".into(),
        });
        if matches!(heard.last().map(String::as_str), Some("end" | "broken")) {
            return heard;
        }
    }
}

#[tokio::test]
async fn a_response_alone_is_a_whole_answer_where_streams_begin_with_no_event() {
    let mut session = Session::new();
    let (_, mut outlet) = session.call(1);
    assert!(session.says(&response(1)));
    assert_eq!(
        heard(&mut outlet).await,
        [format!("whole {}", response(1)), "end".into()]
    );
    let mut session = Session::starting();
    let (_, mut outlet) = session.call(1);
    assert!(session.says(&response(1)));
    assert_eq!(
        heard(&mut outlet).await,
        ["start".into(), response(1), "end".into()]
    );
}

#[tokio::test]
async fn progress_goes_to_the_call_that_wants_it_and_a_response_to_its_own() {
    let mut session = Session::new();
    let (_, mut one) = session.call(1);
    let (_, mut two) = session.call(2);
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1}}"#;
    assert!(session.says(progress));
    assert!(session.says(&response(2)));
    assert!(session.says(&response(1)));
    assert_eq!(
        heard(&mut one).await,
        [progress.to_owned(), response(1), "end".into()]
    );
    assert_eq!(
        heard(&mut two).await,
        [format!("whole {}", response(2)), "end".into()]
    );
    assert!(
        !session.says(&response(1)),
        "nobody waits for a second response"
    );
}

#[tokio::test]
async fn what_belongs_to_no_call_goes_to_the_only_one_or_to_who_listens_or_to_the_newest() {
    let mut session = Session::new();
    let (_, mut one) = session.call(1);
    session.says(QUESTION);
    assert_eq!(heard(&mut one).await, [QUESTION]);
    let (_, mut two) = session.call(2);
    session.says(LOG);
    assert_eq!(
        (heard(&mut one).await, heard(&mut two).await),
        (vec![], vec![LOG.to_owned()])
    );
    let mut listener = session.0.open_listener();
    session.says(LOG);
    assert_eq!(heard(&mut listener).await, [LOG]);
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}"#;
    session.says(cancelled);
    assert_eq!(
        heard(&mut one).await,
        [cancelled],
        "a cancellation follows its question"
    );
}

#[tokio::test]
async fn what_nobody_hears_waits_for_the_next_who_listens() {
    let mut session = Session::starting();
    assert!(!session.says(LOG));
    let mut listener = session.0.open_listener();
    assert_eq!(heard(&mut listener).await, ["start", LOG]);
    drop(listener);
    assert!(!session.says(QUESTION));
    let mut again = session.0.open_listener();
    assert_eq!(heard(&mut again).await, ["start", QUESTION]);
}

#[tokio::test]
async fn a_caller_who_left_gets_the_rest_of_its_own_stream_when_it_resumes() {
    let mut session = Session::starting();
    let (stream, outlet) = session.call(1);
    let (_, mut other) = session.call(2);
    session.0.become_events(stream);
    drop(outlet);
    session.says(&response(2));
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1}}"#;
    session.says(progress);
    let mut resumed = session.0.resume(EventId { stream, number: 0 }).unwrap();
    assert_eq!(heard(&mut resumed).await, [progress]);
    session.says(&response(1));
    assert_eq!(heard(&mut resumed).await, [response(1), "end".into()]);
    let mut late = session.0.resume(EventId { stream, number: 1 }).unwrap();
    assert_eq!(heard(&mut late).await, [response(1), "end".into()]);
    assert_eq!(
        heard(&mut other).await,
        ["start".into(), response(2), "end".into()]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_resumed_that_is_not_kept() {
    let mut session = Session::starting();
    let (stream, _outlet) = session.call(1);
    for number in [1, 99] {
        assert_eq!(
            session.0.resume(EventId { stream, number }).err(),
            Some(NotKept)
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
        Some(NotKept)
    );
    session.says(&response(1));
    assert!(session.0.resume(EventId { stream, number: 1 }).is_ok());
    tokio::time::advance(RESUMABLE).await;
    session.0.tidy(Instant::now());
    assert_eq!(
        session.0.resume(EventId { stream, number: 1 }).err(),
        Some(NotKept)
    );
}

#[tokio::test]
async fn an_id_is_free_again_when_it_is_answered_or_taken_back() {
    let mut session = Session::new();
    let (stream, _outlet) = session.call(1);
    assert_eq!(
        session.0.open_call(&[request(1, "")]).err(),
        Some(NotOpened::IdInUse)
    );
    assert_eq!(
        session.0.open_call(&[request(2, ""), request(2, "")]).err(),
        Some(NotOpened::IdInUse)
    );
    session.0.withdraw(stream);
    let (_, _outlet) = session.call(1);
    session.says(&response(1));
    session.call(1);
    assert!(session.0.calls.len() == 1 && session.0.progress.len() == 1);
}

#[tokio::test]
async fn a_batch_is_answered_when_all_its_requests_are() {
    let mut session = Session::new();
    let (_, mut outlet) = session
        .0
        .open_call(&[request(1, ""), request(2, "")])
        .unwrap();
    let both = format!("[{},{}]", response(1), response(2));
    let messages = [message(&response(1)), message(&response(2))];
    let delivery = session.0.route(&messages, both.clone().into()).unwrap();
    assert!(delivery.is_last);
    delivery.inlet.push(delivery.item);
    assert_eq!(heard(&mut outlet).await[0], format!("whole {both}"));
    let (_, mut outlet) = session
        .0
        .open_call(&[request(1, ""), request(2, "")])
        .unwrap();
    session.says(&response(2));
    session.says(&response(1));
    assert_eq!(
        heard(&mut outlet).await,
        [response(2), response(1), "end".into()]
    );
}

#[tokio::test]
async fn the_end_of_a_session_is_well_for_who_listens_and_a_failure_for_who_waits() {
    let mut session = Session::new();
    let (_, mut call) = session.call(1);
    let mut listener = session.0.open_listener();
    session.0.end_all(&CallError::new(
        llamapool_wire::Cause::ProviderExited,
        "exit status 1",
    ));
    assert_eq!(
        (heard(&mut call).await, heard(&mut listener).await),
        (vec!["broken".into()], vec!["end".into()])
    );
}

#[tokio::test]
async fn there_are_only_so_many_calls_and_listeners() {
    let mut session = Session::new();
    let mut outlets: Vec<_> = (0..CALLS as u32).map(|id| session.call(id)).collect();
    assert_eq!(
        session.0.open_call(&[request(9999, "")]).err(),
        Some(NotOpened::TooMany)
    );
    outlets.clear();
    let mut listeners: Vec<_> = (0..=LISTENERS).map(|_| session.0.open_listener()).collect();
    assert_eq!(heard(&mut listeners[0]).await, ["end"]);
    assert_eq!(heard(&mut listeners[1]).await, Vec::<String>::new());
}
