//! Sessions: MCP 2025-03-26, 2025-06-18 and 2025-11-25, with providers that are made with the official SDKs.

use std::time::Instant;

use crate::differential::{Events, Place, Way, read_answer, scenarios};
use crate::harness::RawHttp;
use crate::matrix::{BATCHING, POLLING, SESSIONS as REVISIONS};
use crate::pace::Timed;
use crate::parts::{FASTMCP_4, Served};
use crate::programs::{Program, Session, call, data_of, initialize, tool};
use crate::transcript::Transcript;

scenarios! {
    a_session_from_its_beginning_to_its_end: Sessions, SESSIONS;
    sessions_that_are_not_there: Sessions, SESSIONS;
    a_session_with_the_example_server: Sessions, SESSIONS;
    a_batch_in_a_session: Batches, BATCHING;
    listening_with_get: ListeningByGet, SESSIONS;
    listening_twice: ListeningByGet, SESSIONS;
    resuming_a_stream_that_the_caller_left: Resuming, SESSIONS;
    resuming_a_stream_that_the_provider_ended: Resuming, POLLING;
    sampling_on_the_stream_of_a_call: AskingTheClient, SESSIONS;
    elicitation_on_the_stream_of_a_call: AskingTheClient, SESSIONS;
    elicitation_and_progress_with_python: AskingTheClient, SESSIONS;
    cancelling_in_a_session: Cancelling, SESSIONS;
}

/// A stream that was opened with GET.
async fn listen(
    place: &Place,
    session: &Session<'_>,
    last: Option<&str>,
    log: &mut Transcript,
) -> (RawHttp, Events) {
    let fields: Vec<_> = session
        .fields()
        .into_iter()
        .chain(last.map(|last| ("last-event-id", last)))
        .collect();
    let mut caller = place.get(&fields).await;
    let head = caller.head().await;
    log.answered(&head);
    (caller, Events::of(&head))
}

/// The address of an event.
fn id_of(event: &str) -> String {
    event
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an event with an id")
        .to_owned()
}

async fn a_session_from_its_beginning_to_its_end(way: Way) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        for method in [
            "ping",
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
            "nobody/knows",
        ] {
            session
                .call(
                    &format!(r#"{{"jsonrpc":"2.0","id":"{method}","method":"{method}"}}"#),
                    &mut log,
                )
                .await;
        }
        for name in [
            "test_simple_text",
            "test_image_content",
            "test_multiple_content_types",
            "test_error_handling",
        ] {
            assert!(
                session
                    .tool(2, name, "{}", &mut log)
                    .await
                    .contains("content")
            );
        }
        let logged = session
            .tool(3, "test_tool_with_logging", "{}", &mut log)
            .await;
        assert_eq!(
            logged.matches("notifications/message").count(),
            3,
            "{logged}"
        );
        let progress = session
            .tool(4, "test_tool_with_progress", "{}", &mut log)
            .await;
        assert_eq!(
            progress.matches("notifications/progress").count(),
            3,
            "{progress}"
        );
        assert_eq!(session.end(&mut log).await, 200);
        assert_eq!(
            session
                .call(&tool(5, "test_simple_text", "{}"), &mut log)
                .await
                .0
                .status(),
            404
        );
        assert_eq!(session.end(&mut log).await, 404);
    }
    log
}

async fn sessions_that_are_not_there(way: Way) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (fields, status) in [
        (&[("mcp-session-id", "nobody")][..], 404),
        (&[("mcp-session-id", "!#$%&'*+-.^_`|~{}[]()<>@,;:?=/")], 404),
        (&[], 400),
        (&[("mcp-protocol-version", "1999-01-01")], 400),
    ] {
        let (head, _) = call(&place, fields, ping, &mut log).await;
        assert_eq!(head.status(), status, "{fields:?}");
    }
    call(&place, &[], "not json", &mut log).await;
    call(&place, &[], &initialize("1999-01-01"), &mut log).await;
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        let fields = [
            ("mcp-session-id", &*session.id),
            ("mcp-protocol-version", "1999-01-01"),
        ];
        call(&place, &fields, ping, &mut log).await;
    }
    let request = place.request_to(
        "POST",
        &place.path,
        &[("accept", "application/json")],
        ping.as_bytes(),
    );
    read_answer(&mut place.send(&request).await, &mut log).await;
    let mut no_stream = place.get(&[("mcp-session-id", "nobody")]).await;
    read_answer(&mut no_stream, &mut log).await;
    log
}

async fn a_session_with_the_example_server(way: Way) -> Transcript {
    let program = Program::everything("streamableHttp").await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        session
            .call(
                r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#,
                &mut log,
            )
            .await;
        let echo = session
            .tool(
                3,
                "echo",
                r#"{"message":"gr\u00fc\u00dfe \ud83e\udd99"}"#,
                &mut log,
            )
            .await;
        assert!(echo.contains("Echo: grüße 🦙"), "{echo}");
        session.tool(4, "get-tiny-image", "{}", &mut log).await;
        let long = session
            .tool(
                5,
                "trigger-long-running-operation",
                r#"{"duration":0.2,"steps":4}"#,
                &mut log,
            )
            .await;
        assert_eq!(long.matches("notifications/progress").count(), 4, "{long}");
        session.end(&mut log).await;
    }
    log
}

async fn a_batch_in_a_session(way: Way) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    let session = Session::begin(&place, BATCHING[0], &mut log).await;
    let batch =
        r#"[{"jsonrpc":"2.0","id":7,"method":"ping"},{"jsonrpc":"2.0","id":8,"method":"ping"}]"#;
    let (_, answers) = session.call(batch, &mut log).await;
    assert!(
        answers.contains(r#""id":7"#) && answers.contains(r#""id":8"#),
        "{answers}"
    );
    let notifications = r#"[{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","method":"notifications/y"}]"#;
    assert_eq!(session.call(notifications, &mut log).await.0.status(), 202);
    log
}

async fn listening_with_get(way: Way) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        let (mut caller, mut events) = listen(&place, &session, None, &mut log).await;
        log.note("the stream was open before anything was said on it");
        let mut times = Vec::new();
        for id in 2..5 {
            session
                .tool(id, "test_trigger_tool_change", "{}", &mut log)
                .await;
            let answered_at = Instant::now();
            events
                .with("notifications/tools/list_changed", &mut caller, &mut log)
                .await;
            times.push(answered_at.elapsed());
        }
        log.took(Timed::EventOnGet, &mut times);
        session.end(&mut log).await;
        events.rest(&mut caller, &mut log).await;
    }
    log
}

/// The provider's own refusal.
async fn listening_twice(way: Way) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        let _first = listen(&place, &session, None, &mut log).await;
        let mut second = place.get(&session.fields()).await;
        assert_eq!(read_answer(&mut second, &mut log).await.0.status(), 409);
    }
    log
}

const SAMPLED: &str = r#"{"role":"assistant","model":"none","content":{"type":"text","text":"gr\u00fc\u00dfe \ud83e\udd99 1e400"}}"#;

/// The answer to the question in an event.
fn answer_to(event: &str, result: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
        data_of(event)["id"]
    )
}

/// In none of these revisions is leaving a stream a cancel: the call goes on, and its answer waits.
async fn resuming_a_stream_that_the_caller_left(way: Way) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        let message = tool(2, "test_sampling", r#"{"prompt":"say something"}"#);
        let (mut caller, mut events) = session.open(&message, &mut log).await;
        let question = events
            .with("sampling/createMessage", &mut caller, &mut log)
            .await;
        drop(caller);
        assert_eq!(
            session
                .call(&answer_to(&question, SAMPLED), &mut log)
                .await
                .0
                .status(),
            202
        );
        let (mut caller, mut events) =
            listen(&place, &session, Some(&id_of(&question)), &mut log).await;
        events.with("LLM response", &mut caller, &mut log).await;
        drop(caller);
        session.end(&mut log).await;
    }
    log
}

/// The provider ends the connection, well, after its first event; the answer comes on another (2025-11-25, polling).
async fn resuming_a_stream_that_the_provider_ended(way: Way) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    let session = Session::begin(&place, POLLING[0], &mut log).await;
    let (_, primed) = session
        .call(&tool(2, "test_reconnection", "{}"), &mut log)
        .await;
    assert!(
        primed.contains("retry: 200") && !primed.contains("answered"),
        "{primed}"
    );
    let (mut caller, mut events) = listen(&place, &session, Some(&id_of(&primed)), &mut log).await;
    events
        .with("answered after the stream had ended", &mut caller, &mut log)
        .await;
    log
}

/// A call that asks a question on its stream, which is answered by another message.
async fn asked(way: Way, call: &str, question: &str, answer: &str, result: &str) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        let (mut caller, mut events) = session.open(call, &mut log).await;
        let asked = events.with(question, &mut caller, &mut log).await;
        log.note("the question came before it was answered");
        assert_eq!(
            session
                .call(&answer_to(&asked, answer), &mut log)
                .await
                .0
                .status(),
            202
        );
        events.with(result, &mut caller, &mut log).await;
        events.rest(&mut caller, &mut log).await;
    }
    log
}

async fn sampling_on_the_stream_of_a_call(way: Way) -> Transcript {
    let call = tool(2, "test_sampling", r#"{"prompt":"say something"}"#);
    asked(
        way,
        &call,
        "sampling/createMessage",
        SAMPLED,
        "LLM response: gr",
    )
    .await
}

async fn elicitation_on_the_stream_of_a_call(way: Way) -> Transcript {
    let call = tool(2, "test_elicitation", r#"{"message":"who?"}"#);
    let answer = r#"{"action":"accept","content":{"username":"Alpha","email":"a@example.com"}}"#;
    asked(way, &call, "elicitation/create", answer, "action=accept").await
}

async fn elicitation_and_progress_with_python(way: Way) -> Transcript {
    let served = Served::start(FASTMCP_4, "stateful.py").await;
    let place = way.to(&served.url).await;
    let mut log = place.transcript_of_a_program();
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        let (mut caller, mut events) = session.open(&tool(2, "ask", "{}"), &mut log).await;
        let question = events
            .with("elicitation/create", &mut caller, &mut log)
            .await;
        let answer = r#"{"action":"accept","content":{"value":"Alpha"}}"#;
        session.call(&answer_to(&question, answer), &mut log).await;
        events.with("hello Alpha", &mut caller, &mut log).await;
        events.rest(&mut caller, &mut log).await;

        let (mut caller, mut events) = session
            .open(&tool(3, "count", r#"{"to":3}"#), &mut log)
            .await;
        for step in 1..=3 {
            events
                .with(&format!("step {step}"), &mut caller, &mut log)
                .await;
            session
                .tool(
                    10 + step,
                    "hear",
                    &format!(r#"{{"step":{step}}}"#),
                    &mut log,
                )
                .await;
        }
        events.rest(&mut caller, &mut log).await;
        session.end(&mut log).await;
    }
    log
}

/// What the provider makes of it is seen in what it says to the question that it had asked.
async fn cancelling_in_a_session(way: Way) -> Transcript {
    let program = Program::conformance().await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in REVISIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        let message = tool(2, "test_sampling", r#"{"prompt":"say something"}"#);
        let (mut caller, mut events) = session.open(&message, &mut log).await;
        events
            .with("sampling/createMessage", &mut caller, &mut log)
            .await;
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2,"reason":"no more"}}"#;
        assert_eq!(session.call(cancel, &mut log).await.0.status(), 202);
        events
            .with("notifications/cancelled", &mut caller, &mut log)
            .await;
        session.end(&mut log).await;
        events.rest(&mut caller, &mut log).await;
    }
    log
}
