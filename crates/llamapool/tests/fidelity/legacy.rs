//! Scenarios with sessions: MCP 2025-03-26, 2025-06-18 and 2025-11-25, with providers made with the
//! official SDKs.

use std::time::Instant;

use crate::differential::{Endpoint, EventReader, Route, read_answer, scenarios};
use crate::harness::RawHttp;
use crate::matrix::{BATCHING, POLLING, SESSIONS as REVISIONS};
use crate::pace::Timing;
use crate::parts::{FASTMCP_4, Served};
use crate::programs::{Program, Session, call, data_of, initialize, tool};
use crate::transcript::Transcript;

scenarios! {
    a_session_from_initialize_to_delete: Sessions, SESSIONS;
    unknown_sessions: Sessions, SESSIONS;
    a_session_with_the_example_server: Sessions, SESSIONS;
    a_batch_in_a_session: Batches, BATCHING;
    listening_with_get: ListeningByGet, SESSIONS;
    listening_twice: ListeningByGet, SESSIONS;
    resuming_a_stream_that_the_caller_left: Resuming, SESSIONS;
    resuming_a_stream_that_the_provider_ended: Resuming, POLLING;
    sampling_on_the_stream_of_a_call: ClientRequests, SESSIONS;
    elicitation_on_the_stream_of_a_call: ClientRequests, SESSIONS;
    elicitation_and_progress_with_python: ClientRequests, SESSIONS;
    cancelling_in_a_session: Cancelling, SESSIONS;
}

/// Opens a stream with `GET`.
async fn listen(
    endpoint: &Endpoint,
    session: &Session<'_>,
    last: Option<&str>,
    log: &mut Transcript,
) -> (RawHttp, EventReader) {
    let fields: Vec<_> = session
        .fields()
        .into_iter()
        .chain(last.map(|last| ("last-event-id", last)))
        .collect();
    let mut caller = endpoint.get(&fields).await;
    let head = caller.head().await;
    log.answer_head(&head);
    (caller, EventReader::of(&head))
}

/// Returns the id of an event.
fn id_of(event: &str) -> String {
    event
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an event with an id")
        .to_owned()
}

async fn a_session_from_initialize_to_delete(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
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

async fn unknown_sessions(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    for (fields, status) in [
        (&[("mcp-session-id", "nobody")][..], 404),
        (&[("mcp-session-id", "!#$%&'*+-.^_`|~{}[]()<>@,;:?=/")], 404),
        (&[], 400),
        (&[("mcp-protocol-version", "1999-01-01")], 400),
    ] {
        let (head, _) = call(&endpoint, fields, ping, &mut log).await;
        assert_eq!(head.status(), status, "{fields:?}");
    }

    call(&endpoint, &[], "not json", &mut log).await;
    call(&endpoint, &[], &initialize("1999-01-01"), &mut log).await;
    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        let fields = [
            ("mcp-session-id", &*session.id),
            ("mcp-protocol-version", "1999-01-01"),
        ];
        call(&endpoint, &fields, ping, &mut log).await;
    }

    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &[("accept", "application/json")],
        ping.as_bytes(),
    );
    read_answer(&mut endpoint.send(&request).await, &mut log).await;

    let mut no_stream = endpoint.get(&[("mcp-session-id", "nobody")]).await;
    read_answer(&mut no_stream, &mut log).await;

    log
}

async fn a_session_with_the_example_server(route: Route) -> Transcript {
    let program = Program::everything("streamableHttp").await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
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

async fn a_batch_in_a_session(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let session = Session::begin(&endpoint, BATCHING[0], &mut log).await;
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

async fn listening_with_get(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        let (mut caller, mut events) = listen(&endpoint, &session, None, &mut log).await;
        log.note("the stream was open before its first event");
        let mut times = Vec::new();
        for id in 2..5 {
            session
                .tool(id, "test_trigger_tool_change", "{}", &mut log)
                .await;
            let answered_at = Instant::now();
            events
                .until("notifications/tools/list_changed", &mut caller, &mut log)
                .await;
            times.push(answered_at.elapsed());
        }
        log.timing(Timing::EventOnGet, &mut times);
        session.end(&mut log).await;
        events.rest(&mut caller, &mut log).await;
    }

    log
}

/// The refusal of the second stream is the provider's own.
async fn listening_twice(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        let _first = listen(&endpoint, &session, None, &mut log).await;
        let mut second = endpoint.get(&session.fields()).await;
        assert_eq!(read_answer(&mut second, &mut log).await.0.status(), 409);
    }

    log
}

const SAMPLED: &str = r#"{"role":"assistant","model":"none","content":{"type":"text","text":"gr\u00fc\u00dfe \ud83e\udd99 1e400"}}"#;

/// Returns the response to the request in an event.
fn answer_to(event: &str, result: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
        data_of(event)["id"]
    )
}

/// In these revisions a disconnect does not cancel: the call goes on, and its answer is kept.
async fn resuming_a_stream_that_the_caller_left(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        let message = tool(2, "test_sampling", r#"{"prompt":"say something"}"#);
        let (mut caller, mut events) = session.open(&message, &mut log).await;
        let question = events
            .until("sampling/createMessage", &mut caller, &mut log)
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
            listen(&endpoint, &session, Some(&id_of(&question)), &mut log).await;
        events.until("LLM response", &mut caller, &mut log).await;
        drop(caller);
        session.end(&mut log).await;
    }

    log
}

/// The provider ends the stream cleanly after its first event; the answer arrives on a resumed one
/// (2025-11-25, polling).
async fn resuming_a_stream_that_the_provider_ended(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let session = Session::begin(&endpoint, POLLING[0], &mut log).await;
    let (_, primed) = session
        .call(&tool(2, "test_reconnection", "{}"), &mut log)
        .await;

    assert!(
        primed.contains("retry: 200") && !primed.contains("answered"),
        "{primed}"
    );

    let (mut caller, mut events) =
        listen(&endpoint, &session, Some(&id_of(&primed)), &mut log).await;
    events
        .until("answered after the stream had ended", &mut caller, &mut log)
        .await;

    log
}

/// Runs a call with a request to the client on its stream, which the client answers with a message.
async fn with_client_request(
    route: Route,
    call: &str,
    question: &str,
    answer: &str,
    result: &str,
) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        let (mut caller, mut events) = session.open(call, &mut log).await;
        let event = events.until(question, &mut caller, &mut log).await;
        log.note("the question came before it was answered");
        assert_eq!(
            session
                .call(&answer_to(&event, answer), &mut log)
                .await
                .0
                .status(),
            202
        );
        events.until(result, &mut caller, &mut log).await;
        events.rest(&mut caller, &mut log).await;
    }

    log
}

async fn sampling_on_the_stream_of_a_call(route: Route) -> Transcript {
    let call = tool(2, "test_sampling", r#"{"prompt":"say something"}"#);
    with_client_request(
        route,
        &call,
        "sampling/createMessage",
        SAMPLED,
        "LLM response: gr",
    )
    .await
}

async fn elicitation_on_the_stream_of_a_call(route: Route) -> Transcript {
    let call = tool(2, "test_elicitation", r#"{"message":"who?"}"#);
    let answer = r#"{"action":"accept","content":{"username":"Alpha","email":"a@example.com"}}"#;
    with_client_request(route, &call, "elicitation/create", answer, "action=accept").await
}

async fn elicitation_and_progress_with_python(route: Route) -> Transcript {
    let served = Served::start(FASTMCP_4, "stateful.py").await;
    let endpoint = route.endpoint(&served.url).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        let (mut caller, mut events) = session.open(&tool(2, "ask", "{}"), &mut log).await;
        let question = events
            .until("elicitation/create", &mut caller, &mut log)
            .await;
        let answer = r#"{"action":"accept","content":{"value":"Alpha"}}"#;
        session.call(&answer_to(&question, answer), &mut log).await;
        events.until("hello Alpha", &mut caller, &mut log).await;
        events.rest(&mut caller, &mut log).await;

        let (mut caller, mut events) = session
            .open(&tool(3, "count", r#"{"to":3}"#), &mut log)
            .await;
        for step in 1..=3 {
            events
                .until(&format!("step {step}"), &mut caller, &mut log)
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

/// The provider reacts by cancelling its own request to the client.
async fn cancelling_in_a_session(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in REVISIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        let message = tool(2, "test_sampling", r#"{"prompt":"say something"}"#);
        let (mut caller, mut events) = session.open(&message, &mut log).await;
        events
            .until("sampling/createMessage", &mut caller, &mut log)
            .await;
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2,"reason":"no more"}}"#;
        assert_eq!(session.call(cancel, &mut log).await.0.status(), 202);
        events
            .until("notifications/cancelled", &mut caller, &mut log)
            .await;
        session.end(&mut log).await;
        events.rest(&mut caller, &mut log).await;
    }

    log
}
