//! Scenarios of MCP 2026-07-28, which has no sessions, with a provider made with the official SDK.

use serde_json::{Value, json};

use crate::differential::{Endpoint, EventReader, Route, read_answer, scenarios};
use crate::harness::RawHead;
use crate::programs::{Program, call};
use crate::transcript::Transcript;

scenarios! {
    discovering_and_calling: Calls, MODERN;
    calls_that_are_refused: Calls, MODERN;
    progress_on_the_stream_of_a_call: Calls, MODERN;
    methods_of_the_older_revisions: Calls, MODERN;
    a_question_in_a_result: QuestionsInResults, MODERN;
    questions_with_request_state: QuestionsInResults, MODERN;
    listening_to_a_subscription: Subscriptions, MODERN;
    two_subscriptions: Subscriptions, MODERN;
    arguments_in_headers: ParamHeaders, MODERN;
    headers_that_contradict_the_body: ParamHeaders, MODERN;
}

const VERSION: &str = "2026-07-28";

/// Returns a request with the `_meta` that the revision requires.
fn request(id: &str, method: &str, params: &Value) -> Value {
    let mut params = params.clone();
    let capabilities = json!({ "elicitation": {}, "sampling": {} });
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = VERSION.into();
    params["_meta"]["io.modelcontextprotocol/clientInfo"] =
        json!({ "name": "by hand", "version": "0" });
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Returns the headers that repeat fields of the body.
fn mirrored(message: &Value) -> Vec<(&str, &str)> {
    let mut fields = vec![("mcp-protocol-version", VERSION)];
    fields.extend(
        message["method"]
            .as_str()
            .map(|method| ("mcp-method", method)),
    );
    let name = message["params"]["name"]
        .as_str()
        .or_else(|| message["params"]["uri"].as_str());
    fields.extend(name.map(|name| ("mcp-name", name)));
    fields
}

/// Sends a request and reads the answer to its end.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    method: &str,
    params: &Value,
    log: &mut Transcript,
) -> (RawHead, String) {
    let message = request("an id", method, params);
    call(endpoint, &mirrored(&message), &message.to_string(), log).await
}

async fn discovering_and_calling(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for method in [
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ] {
        let (head, _) = ask(&endpoint, method, &json!({}), &mut log).await;
        assert_eq!(head.status(), 200, "{method}");
        assert!(head.values("mcp-session-id").is_empty());
    }

    for name in [
        "test_simple_text",
        "test_image_content",
        "test_error_handling",
    ] {
        let (_, answer) = ask(
            &endpoint,
            "tools/call",
            &json!({ "name": name, "arguments": {} }),
            &mut log,
        )
        .await;
        assert!(answer.contains("content"), "{answer}");
    }

    ask(
        &endpoint,
        "resources/read",
        &json!({ "uri": "test://static-text" }),
        &mut log,
    )
    .await;
    ask(
        &endpoint,
        "prompts/get",
        &json!({ "name": "test_simple_prompt" }),
        &mut log,
    )
    .await;

    log
}

async fn calls_that_are_refused(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let (head, answer) = ask(&endpoint, "future/method", &json!({}), &mut log).await;

    assert!(
        head.status() == 404 && answer.contains("-32601"),
        "{answer}"
    );

    let mut future = request("1", "tools/list", &json!({}));
    future["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2031-01-01".into();
    let fields = [
        ("mcp-protocol-version", "2031-01-01"),
        ("mcp-method", "tools/list"),
    ];
    let (head, answer) = call(&endpoint, &fields, &future.to_string(), &mut log).await;

    assert!(
        head.status() == 400 && answer.contains("-32022"),
        "{answer}"
    );

    // Without `_meta`, without JSON, and without an answer.
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    call(
        &endpoint,
        &[
            ("mcp-protocol-version", VERSION),
            ("mcp-method", "tools/list"),
        ],
        bare,
        &mut log,
    )
    .await;
    call(
        &endpoint,
        &[("mcp-protocol-version", VERSION)],
        "{",
        &mut log,
    )
    .await;
    let notification =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    call(
        &endpoint,
        &[("mcp-protocol-version", VERSION)],
        notification,
        &mut log,
    )
    .await;

    ask(
        &endpoint,
        "tools/call",
        &json!({ "name": "nobody", "arguments": {} }),
        &mut log,
    )
    .await;

    log
}

async fn progress_on_the_stream_of_a_call(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let params = json!({ "name": "test_tool_with_progress", "arguments": {}, "_meta": { "progressToken": 9007199254740991_u64 } });
    let (_, answer) = ask(&endpoint, "tools/call", &params, &mut log).await;

    assert_eq!(
        answer.matches("notifications/progress").count(),
        3,
        "{answer}"
    );

    log
}

async fn methods_of_the_older_revisions(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    for method in ["GET", "DELETE", "PUT"] {
        let fields = [
            ("mcp-protocol-version", VERSION),
            ("accept", "text/event-stream"),
        ];
        let mut caller = endpoint
            .send(&endpoint.request_to(method, &endpoint.path, &fields, b""))
            .await;
        assert!(read_answer(&mut caller, &mut log).await.0.status() >= 400);
    }

    log
}

async fn a_question_in_a_result(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let mut params = json!({ "name": "test_input_required_result_elicitation", "arguments": {} });
    let (_, question) = ask(&endpoint, "tools/call", &params, &mut log).await;

    assert!(question.contains("input_required"), "{question}");

    params["inputResponses"] =
        json!({ "user_name": { "action": "accept", "content": { "name": "Alpha" } } });
    let (_, answer) = ask(&endpoint, "tools/call", &params, &mut log).await;
    assert!(answer.contains("Hello, Alpha!"), "{answer}");

    log
}

/// The state is returned unchanged, or the provider would refuse it.
async fn questions_with_request_state(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let mut params = json!({ "name": "test_input_required_result_multi_round", "arguments": {} });
    let mut last = String::new();

    for (key, value) in [
        ("step1", json!({ "name": "Alpha" })),
        ("step2", json!({ "color": "gr\u{fc}n" })),
    ] {
        let (_, question) = ask(&endpoint, "tools/call", &params, &mut log).await;
        let question: Value = serde_json::from_str(&question).unwrap();
        let state = question["result"]["requestState"]
            .as_str()
            .expect("a state");
        log.alias(state, "state");
        params["requestState"] = state.into();
        params["inputResponses"] = json!({ key: { "action": "accept", "content": value } });
        last = question["result"]["inputRequests"].to_string();
    }

    assert!(last.contains("favorite color"), "{last}");

    let (_, answer) = ask(&endpoint, "tools/call", &params, &mut log).await;
    assert!(answer.contains("Alpha likes gr\u{fc}n"), "{answer}");

    log
}

/// Opens a subscription and reads its acknowledgement, which is the first event.
async fn subscribe(
    endpoint: &Endpoint,
    id: &str,
    log: &mut Transcript,
) -> (crate::harness::RawHttp, EventReader) {
    let wanted =
        json!({ "notifications": { "toolsListChanged": true, "promptsListChanged": true } });
    let message = request(id, "subscriptions/listen", &wanted);
    let mut caller = endpoint
        .post(&mirrored(&message), message.to_string().as_bytes())
        .await;
    let head = caller.head().await;
    log.answer_head(&head);
    let mut events = EventReader::of(&head);
    let first = events
        .next(&mut caller, log)
        .await
        .expect("the stream goes on");

    assert!(String::from_utf8_lossy(&first).contains("subscriptions/acknowledged"));

    (caller, events)
}

async fn listening_to_a_subscription(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let (mut caller, mut events) = subscribe(&endpoint, "listen \u{1f999}", &mut log).await;

    for (tool, notification) in [
        ("test_trigger_tool_change", "tools/list_changed"),
        ("test_trigger_prompt_change", "prompts/list_changed"),
        ("test_trigger_tool_change", "tools/list_changed"),
    ] {
        ask(
            &endpoint,
            "tools/call",
            &json!({ "name": tool, "arguments": {} }),
            &mut log,
        )
        .await;
        let event = events.until(notification, &mut caller, &mut log).await;
        assert!(event.contains("listen \u{1f999}"), "{event}");
    }

    log
}

async fn two_subscriptions(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let (mut one, mut of_one) = subscribe(&endpoint, "one", &mut log).await;
    let (other, _) = subscribe(&endpoint, "other", &mut log).await;
    drop(other);
    let change = json!({ "name": "test_trigger_tool_change", "arguments": {} });
    ask(&endpoint, "tools/call", &change, &mut log).await;
    let event = of_one.until("tools/list_changed", &mut one, &mut log).await;

    assert!(event.contains(r#""one""#), "{event}");

    log
}

async fn with_region(
    endpoint: &Endpoint,
    fields: &[(&str, &str)],
    region: &str,
    log: &mut Transcript,
) -> (RawHead, String) {
    let arguments = json!({ "region": region, "depth": 3, "dry": true });
    let message = request(
        "1",
        "tools/call",
        &json!({ "name": "test_x_mcp_header", "arguments": arguments }),
    );
    let fields: Vec<_> = mirrored(&message)
        .into_iter()
        .chain(fields.iter().copied())
        .collect();
    call(endpoint, &fields, &message.to_string(), log).await
}

async fn arguments_in_headers(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let rest = [
        ("mcp-param-depth", "3"),
        ("mcp-param-dry", "true"),
        ("mcp-param-unknown", "x"),
    ];

    for (region, written) in [("eu-1", "eu-1"), ("gr\u{fc}n", "=?base64?Z3LDvG4=?=")] {
        let fields = [&rest[..], &[("mcp-param-region", written)]].concat();
        let (head, answer) = with_region(&endpoint, &fields, region, &mut log).await;
        assert!(head.status() == 200 && answer.contains(region), "{answer}");
    }

    log
}

async fn headers_that_contradict_the_body(route: Route) -> Transcript {
    let program = Program::conformance().await;
    let endpoint = route.endpoint(&program.url()).await;
    let mut log = endpoint.transcript_of_a_program();

    let rest = [
        ("mcp-param-depth", "3"),
        ("mcp-param-dry", "true"),
        ("mcp-param-region", "us"),
    ];
    let (head, answer) = with_region(&endpoint, &rest, "eu", &mut log).await;

    assert!(
        head.status() == 400 && answer.contains("-32020"),
        "{answer}"
    );

    let message = request("1", "tools/list", &json!({})).to_string();
    for fields in [
        &[
            ("mcp-protocol-version", VERSION),
            ("mcp-method", "prompts/list"),
        ][..],
        &[("mcp-protocol-version", VERSION)],
        &[
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-method", "tools/list"),
        ],
        &[("mcp-method", "tools/list")],
    ] {
        let (head, _) = call(&endpoint, fields, &message, &mut log).await;
        assert_eq!(head.status(), 400, "{fields:?}");
    }

    log
}
