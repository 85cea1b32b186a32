//! Scenarios with one FastMCP server in all its forms: HTTP with SSE, with or without sessions,
//! with event streams or JSON.

use crate::differential::{Endpoint, Route, scenarios};
use crate::matrix::SESSIONS as WITH_SESSIONS;
use crate::modern::ask;
use crate::oldest::Client;
use crate::programs::{Program, Session, call, data_of, initialize, tool};
use crate::transcript::Transcript;

scenarios! {
    fastmcp_over_http_with_sse: HttpWithSse, OLDEST;
    fastmcp_with_sessions_and_streams: Sessions, SESSIONS;
    fastmcp_with_sessions_and_json: Sessions, SESSIONS;
    fastmcp_without_sessions_with_streams: Calls, STREAMABLE;
    fastmcp_without_sessions_with_json: Calls, STREAMABLE;
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const SAMPLED: &str = r#"{"role":"assistant","model":"none","content":{"type":"text","text":"gr\u00fc\u00dfe \ud83e\udd99"}}"#;
const FORM: &str =
    r#"{"action":"accept","content":{"username":"llama","email":"llama@example.org"}}"#;

/// The requests to the client: the tool that sends it, its arguments, the method, the client's
/// answer, and the result.
const QUESTIONS: [(&str, &str, &str, &str, &str); 2] = [
    (
        "test_sampling",
        r#"{"prompt":"Say it"}"#,
        "sampling/createMessage",
        SAMPLED,
        "LLM response: gr",
    ),
    (
        "test_elicitation",
        r#"{"message":"Who?"}"#,
        "elicitation/create",
        FORM,
        "action=accept",
    ),
];

/// Returns the response to the request in an event.
fn answer_to(event: &str, result: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
        data_of(event)["id"]
    )
}

async fn fastmcp_over_http_with_sse(route: Route) -> Transcript {
    let program = Program::fastmcp("sse").await;
    let endpoint = route.endpoint(&format!("{}/sse", program.origin)).await;
    let mut log = endpoint.transcript_of_a_program();

    let mut client = Client::connect(&endpoint, &endpoint.path, &mut log).await;

    assert_eq!(client.post(&initialize("2024-11-05"), &mut log).await, 202);

    client.read_until(r#""id":1"#, &mut log).await;
    client.post(INITIALIZED, &mut log).await;
    client.post(LIST, &mut log).await;
    client.read_until("test_elicitation", &mut log).await;
    client
        .post(&tool(3, "test_tool_with_progress", "{}"), &mut log)
        .await;
    for _ in 0..3 {
        client.read_until("notifications/progress", &mut log).await;
    }
    let ping = client.read_until(r#""method":"ping""#, &mut log).await;
    client.post(&answer_to(&ping, "{}"), &mut log).await;
    client.read_until("went from 0 to 100", &mut log).await;

    for (name, arguments, question, answer, result) in QUESTIONS {
        client.post(&tool(4, name, arguments), &mut log).await;
        let event = client.read_until(question, &mut log).await;
        client.post(&answer_to(&event, answer), &mut log).await;
        client.read_until(result, &mut log).await;
    }

    log
}

/// Makes the calls that every form supports: a list, a result, errors, and progress where there are
/// streams.
async fn calls(session: &Session<'_>, steps: usize, log: &mut Transcript) {
    assert!(session.call(LIST, log).await.1.contains("test_elicitation"));
    assert!(
        session
            .tool(3, "test_simple_text", "{}", log)
            .await
            .contains("simple text")
    );

    session.tool(4, "nobody_has_this", "{}", log).await;
    let progress = session.tool(5, "test_tool_with_progress", "{}", log).await;
    assert_eq!(
        progress.matches("notifications/progress").count(),
        steps,
        "{progress}"
    );

    session
        .call(r#"{"jsonrpc":"2.0","id":6,"method":"nobody/knows"}"#, log)
        .await;
}

async fn with_sessions(route: Route, form: &str, steps: usize) -> (Program, Endpoint, Transcript) {
    let program = Program::fastmcp(form).await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in WITH_SESSIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        calls(&session, steps, &mut log).await;
        session.end(&mut log).await;
        assert_eq!(session.call(LIST, &mut log).await.0.status(), 404);
    }

    (program, endpoint, log)
}

async fn fastmcp_with_sessions_and_streams(route: Route) -> Transcript {
    let (_program, endpoint, mut log) = with_sessions(route, "sessions", 3).await;
    for revision in WITH_SESSIONS {
        let session = Session::begin(&endpoint, *revision, &mut log).await;
        for (name, arguments, question, answer, result) in QUESTIONS {
            let (mut caller, mut events) = session.open(&tool(2, name, arguments), &mut log).await;
            let event = events.until(question, &mut caller, &mut log).await;
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
    }

    log
}

async fn fastmcp_with_sessions_and_json(route: Route) -> Transcript {
    with_sessions(route, "sessions-json", 0).await.2
}

async fn without_sessions(route: Route, form: &str, steps: usize) -> Transcript {
    let program = Program::fastmcp(form).await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for revision in WITH_SESSIONS {
        let (head, _) = call(&endpoint, &[], &initialize(revision.name()), &mut log).await;
        assert!(head.values("mcp-session-id").is_empty(), "{head:?}");
        calls(&Session::none(&endpoint, *revision), steps, &mut log).await;
    }

    let params = serde_json::json!({ "name": "test_simple_text", "arguments": {} });
    let (head, answer) = ask(&endpoint, "tools/call", &params, &mut log).await;
    assert!(
        head.status() == 200 && answer.contains("simple text"),
        "{answer}"
    );

    log
}

async fn fastmcp_without_sessions_with_streams(route: Route) -> Transcript {
    without_sessions(route, "stateless", 3).await
}

async fn fastmcp_without_sessions_with_json(route: Route) -> Transcript {
    without_sessions(route, "stateless-json", 0).await
}
