//! One FastMCP server in every form that FastMCP gives its servers: HTTP with SSE, with sessions or without, and answers as
//! event streams or as JSON.

use crate::differential::{Place, Way, scenarios};
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

/// The questions that these servers ask, by the tool that asks: its arguments, what it asks, the answer, and what then
/// comes of it.
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

/// The answer to the question in an event.
fn answer_to(event: &str, result: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
        data_of(event)["id"]
    )
}

async fn fastmcp_over_http_with_sse(way: Way) -> Transcript {
    let program = Program::fastmcp("sse").await;
    let place = way.to(&format!("{}/sse", program.origin)).await;
    let mut log = place.transcript_of_a_program();
    let mut client = Client::connect(&place, &place.path, &mut log).await;
    assert_eq!(client.post(&initialize("2024-11-05"), &mut log).await, 202);
    client.hears(r#""id":1"#, &mut log).await;
    client.post(INITIALIZED, &mut log).await;
    client.post(LIST, &mut log).await;
    client.hears("test_elicitation", &mut log).await;
    client
        .post(&tool(3, "test_tool_with_progress", "{}"), &mut log)
        .await;
    for _ in 0..3 {
        client.hears("notifications/progress", &mut log).await;
    }
    let ping = client.hears(r#""method":"ping""#, &mut log).await;
    client.post(&answer_to(&ping, "{}"), &mut log).await;
    client.hears("went from 0 to 100", &mut log).await;
    for (name, arguments, question, answer, result) in QUESTIONS {
        client.post(&tool(4, name, arguments), &mut log).await;
        let asked = client.hears(question, &mut log).await;
        client.post(&answer_to(&asked, answer), &mut log).await;
        client.hears(result, &mut log).await;
    }
    log
}

/// What every form can carry: a list, a result, a refusal, and progress where there are streams.
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

async fn with_sessions(way: Way, form: &str, steps: usize) -> (Program, Place, Transcript) {
    let program = Program::fastmcp(form).await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in WITH_SESSIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        calls(&session, steps, &mut log).await;
        session.end(&mut log).await;
        assert_eq!(session.call(LIST, &mut log).await.0.status(), 404);
    }
    (program, place, log)
}

async fn fastmcp_with_sessions_and_streams(way: Way) -> Transcript {
    let (_program, place, mut log) = with_sessions(way, "sessions", 3).await;
    for revision in WITH_SESSIONS {
        let session = Session::begin(&place, *revision, &mut log).await;
        for (name, arguments, question, answer, result) in QUESTIONS {
            let (mut caller, mut events) = session.open(&tool(2, name, arguments), &mut log).await;
            let asked = events.with(question, &mut caller, &mut log).await;
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
    }
    log
}

async fn fastmcp_with_sessions_and_json(way: Way) -> Transcript {
    with_sessions(way, "sessions-json", 0).await.2
}

async fn without_sessions(way: Way, form: &str, steps: usize) -> Transcript {
    let program = Program::fastmcp(form).await;
    let place = way.to(&program.url()).await;
    let mut log = place.transcript_of_a_program();
    for revision in WITH_SESSIONS {
        let (head, _) = call(&place, &[], &initialize(revision.name()), &mut log).await;
        assert!(head.values("mcp-session-id").is_empty(), "{head:?}");
        calls(&Session::none(&place, *revision), steps, &mut log).await;
    }
    let params = serde_json::json!({ "name": "test_simple_text", "arguments": {} });
    let (head, answer) = ask(&place, "tools/call", &params, &mut log).await;
    assert!(
        head.status() == 200 && answer.contains("simple text"),
        "{answer}"
    );
    log
}

async fn fastmcp_without_sessions_with_streams(way: Way) -> Transcript {
    without_sessions(way, "stateless", 3).await
}

async fn fastmcp_without_sessions_with_json(way: Way) -> Transcript {
    without_sessions(way, "stateless-json", 0).await
}
