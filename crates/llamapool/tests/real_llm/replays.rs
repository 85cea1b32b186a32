//! Requests as Claude Code and Open WebUI send them, replayed: written down after their documentation, source and
//! public threads about them, not recorded from the programs.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{API_KEY, soon};
use crate::runtimes::{Runtime, SMOLLM2};
use crate::workers::{LlmPool, Whole};

/// What Claude Code sends with each request.
const CLAUDE_CODE: [(&str, &str); 9] = [
    ("user-agent", "claude-cli/2.1.258 (external, cli)"),
    ("x-app", "cli"),
    ("anthropic-version", "2023-06-01"),
    (
        "anthropic-beta",
        "claude-code-20250219,interleaved-thinking-2025-05-14,mid-conversation-system-2026-04-07,effort-2025-11-24",
    ),
    ("anthropic-dangerous-direct-browser-access", "true"),
    ("x-stainless-lang", "js"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-timeout", "600"),
    (
        "x-claude-code-session-id",
        "7f0a4e0e-0d8b-4a4b-9f0e-4d1d3a9d5f10",
    ),
];
/// What Open WebUI sends with each request where it is to say who asks.
const OPEN_WEBUI: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("x-openwebui-user-name", "Ada"),
    ("x-openwebui-user-id", "0f6e"),
    ("x-openwebui-user-email", "ada@example.org"),
    ("x-openwebui-user-role", "admin"),
];
/// The alias that a client asks for in place of the model.
const ALIAS: &str = "claude-local";

/// Sends a request with the headers of a client and the key as bearer.
async fn replay(
    pool: &LlmPool,
    headers: &[(&str, &str)],
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Whole {
    let mut request = pool.http.request(method, format!("{}{path}", pool.url));
    request = request.bearer_auth(API_KEY);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    Whole::read(soon("an answer", request.send()).await.unwrap()).await
}

/// Builds a turn of Claude Code: the line that differs in every turn, the rest of the system prompt, a tool.
fn claude_turn(model: &str, turn: usize) -> Value {
    let billing = format!(
        "x-anthropic-billing-header: cc_version=2.1.258.0d9; cc_entrypoint=cli; cch=0000{turn};"
    );
    let cached = json!({ "type": "ephemeral" });
    json!({
        "model": model,
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "<system-reminder>Today is a day.</system-reminder>" },
                { "type": "text", "text": "Count to six.", "cache_control": cached },
            ] },
        ],
        "system": [
            { "type": "text", "text": billing },
            { "type": "text", "text": "You are Claude Code, Anthropic's official CLI for Claude.", "cache_control": cached },
        ],
        "tools": [{
            "name": "Bash",
            "description": "Runs a command.",
            "input_schema": { "type": "object", "properties": { "command": { "type": "string" } }, "required": ["command"] },
        }],
        "metadata": { "user_id": "user_0_account__session_0" },
        "max_tokens": 12,
        "temperature": 1,
        "stream": true,
    })
}

/// Replays a session of Claude Code. Returns the two streams.
async fn claude_code(pool: &LlmPool) -> [String; 2] {
    let probe = replay(pool, &CLAUDE_CODE, Method::HEAD, "/", None).await;
    assert_eq!(probe.status, 200, "{probe:?}");

    let list = replay(
        pool,
        &CLAUDE_CODE,
        Method::GET,
        "/v1/models?limit=1000",
        None,
    )
    .await;
    let list = list.json();
    let models = list["data"].as_array().unwrap();
    assert!(models.iter().any(|model| model["id"] == ALIAS), "{list}");

    // In the background it asks for a smaller model by a name that no one configured.
    let path = "/v1/messages?beta=true";
    let mut title = claude_turn("claude-haiku-4-5-20251001", 0);
    title["stream"] = json!(false);
    let title = replay(pool, &CLAUDE_CODE, Method::POST, path, Some(&title)).await;
    assert_eq!(title.status, 200, "{title:?}");
    assert_eq!(title.json()["type"], "message", "{title:?}");

    let mut streams = [String::new(), String::new()];
    for (turn, stream) in (1..).zip(&mut streams) {
        let request = claude_turn(ALIAS, turn);
        let answer = replay(pool, &CLAUDE_CODE, Method::POST, path, Some(&request)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "text/event-stream");
        assert_ne!(answer.header("request-id"), "", "{answer:?}");
        *stream = answer.body;
    }
    streams
}

#[tokio::test]
async fn claude_code_is_answered_by_llama_cpp() {
    let runtime = Runtime::llama_cpp(&[]).await;
    let aliases = format!("{ALIAS}={SMOLLM2}\nclaude-*={SMOLLM2}");
    let pool = LlmPool::with(&[("LLM_ALIASES", &aliases)]).await;
    let _worker = pool.worker("alpha", &runtime).await;

    let streams = claude_code(&pool).await;
    let mut counted = claude_turn(ALIAS, 3);
    let members = counted.as_object_mut().unwrap();
    members.retain(|name, _| {
        !["max_tokens", "temperature", "stream", "metadata"].contains(&name.as_str())
    });
    let path = "/v1/messages/count_tokens?beta=true";
    let count = replay(&pool, &CLAUDE_CODE, Method::POST, path, Some(&counted)).await;

    for stream in &streams {
        assert!(stream.starts_with("event: message_start\n"), "{stream}");
        assert!(stream.contains("event: content_block_delta\n"), "{stream}");
        assert!(
            stream.trim_end().ends_with(r#"{"type":"message_stop"}"#),
            "{stream}"
        );
    }
    assert!(
        count.json()["input_tokens"].as_u64().unwrap() > 20,
        "{count:?}"
    );
    // The second turn differs from the first in nothing but the line that is taken out.
    let reads = &streams[1];
    let cached = number_after(reads, r#""cache_read_input_tokens":"#);
    assert!(cached > 20, "{reads}");
}

/// Returns the largest number that follows a text.
fn number_after(text: &str, before: &str) -> u64 {
    let numbers = text.split(before).skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    numbers
        .max()
        .unwrap_or_else(|| panic!("no {before} in {text}"))
}

#[tokio::test]
async fn claude_code_is_answered_by_ollama() {
    let runtime = Runtime::scripted(&[]).await;
    let aliases = format!("{ALIAS}=scripted:latest\nclaude-*=scripted:latest");
    let pool = LlmPool::with(&[("LLM_ALIASES", &aliases)]).await;
    let _worker = pool.worker("alpha", &runtime).await;

    let [first, second] = claude_code(&pool).await;
    let path = "/v1/messages/count_tokens?beta=true";
    let count = json!({ "model": ALIAS, "messages": claude_turn(ALIAS, 3)["messages"] });
    let count = replay(&pool, &CLAUDE_CODE, Method::POST, path, Some(&count)).await;

    assert_eq!(first, second);
    assert!(first.contains(r#""text": " six.""#), "{first}");
    // Ollama cannot count, and Claude Code then estimates.
    assert_eq!(count.status, 404, "{count:?}");
    assert_eq!(count.json()["type"], "error", "{count:?}");
    let calls = runtime.calls().await;
    let bodies: Vec<&str> = calls
        .iter()
        .filter_map(|call| call["body"].as_str())
        .collect();
    let messages = |at: usize| serde_json::from_str::<Value>(bodies[at]).unwrap();
    assert_eq!(
        bodies[1], bodies[2],
        "the prompt of the second turn is the first one's"
    );
    assert_eq!(messages(1)["model"], "scripted:latest");
    assert_eq!(messages(1)["system"].as_array().unwrap().len(), 1);
    for call in &calls[..3] {
        assert_eq!(call["path"], "/v1/messages?beta=true");
        let beta = received(call, "anthropic-beta");
        assert!(beta.starts_with("claude-code-20250219,"), "{call}");
    }
}

/// Returns a header that the runtime received.
fn received(call: &Value, name: &str) -> String {
    let headers = call["headers"].as_object().unwrap();
    let mut headers = headers.iter();
    let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
    let found = found.unwrap_or_else(|| panic!("no {name}: {call}"));
    found.1.as_str().unwrap().to_owned()
}

/// Builds a chat of Open WebUI with members that only Open WebUI has.
fn open_webui_chat(model: &str) -> Value {
    json!({
        "stream": true,
        "model": model,
        "messages": [{ "role": "user", "content": "Count to six." }],
        "params": {},
        "features": { "image_generation": false, "code_interpreter": false, "web_search": false },
        "variables": { "{{USER_NAME}}": "Ada" },
        "session_id": "kTqY",
        "chat_id": "a5d8",
        "id": "c1f2",
        "background_tasks": { "title_generation": true, "tags_generation": true },
        "stream_options": { "include_usage": true },
        "max_tokens": 12,
    })
}

#[tokio::test]
async fn open_webui_is_answered_over_openais_api() {
    let scripted = Runtime::scripted(&[]).await;
    let real = Runtime::llama_cpp(&[]).await;

    for (runtime, model) in [(&scripted, "scripted:latest"), (&real, SMOLLM2)] {
        let pool = LlmPool::start().await;
        let _worker = pool.worker("alpha", runtime).await;

        let list = replay(&pool, &OPEN_WEBUI, Method::GET, "/v1/models", None)
            .await
            .json();
        let chat = open_webui_chat(model);
        let path = "/v1/chat/completions";
        let stream = replay(&pool, &OPEN_WEBUI, Method::POST, path, Some(&chat)).await;
        let mut title = open_webui_chat(model);
        title["stream"] = json!(false);
        title.as_object_mut().unwrap().remove("stream_options");
        let title = replay(&pool, &OPEN_WEBUI, Method::POST, path, Some(&title)).await;

        let models = list["data"].as_array().unwrap();
        assert!(models.iter().any(|listed| listed["id"] == model), "{list}");
        assert_eq!(stream.status, 200, "{stream:?}");
        assert!(
            stream.body.trim_end().ends_with("data: [DONE]"),
            "{stream:?}"
        );
        assert!(stream.body.contains(r#""usage":"#), "{stream:?}");
        assert_eq!(title.status, 200, "{title:?}");
        assert_eq!(title.json()["object"], "chat.completion", "{title:?}");
    }
    let calls = scripted.calls().await;
    let body: Value = serde_json::from_str(calls[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        body,
        open_webui_chat("scripted:latest"),
        "its own members arrive"
    );
    assert_eq!(received(&calls[0], "x-openwebui-user-id"), "0f6e");
}

#[tokio::test]
async fn open_webui_is_answered_over_ollamas_api() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;
    let get = async |path: &str| replay(&pool, &OPEN_WEBUI, Method::GET, path, None).await;

    let version = get("/api/version").await.json();
    let tags = get("/api/tags").await.json();
    let chat = json!({
        "model": "scripted:latest",
        "messages": [{ "role": "user", "content": "Count to six." }],
        "options": { "temperature": 0.7, "num_ctx": 2048 },
        "stream": true,
        "metadata": { "chat_id": "a5d8" },
    });
    let stream = replay(&pool, &OPEN_WEBUI, Method::POST, "/api/chat", Some(&chat)).await;
    let state = pool.until("the model is loaded", |state| {
        state["models"]
            .as_array()
            .unwrap()
            .iter()
            .any(|model| model["resident_on"] == 1)
    });
    state.await;
    let loaded = get("/api/ps").await.json();

    assert_eq!(version["version"], "0.17.4", "{version}");
    let listed = tags["models"].as_array().unwrap();
    let listed = listed
        .iter()
        .find(|model| model["model"] == "scripted:latest");
    assert_eq!(listed.unwrap()["name"], "scripted:latest", "{tags}");
    assert_eq!(stream.status, 200, "{stream:?}");
    assert_eq!(stream.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = stream
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 7, "{stream:?}");
    assert_eq!(lines[6]["done"], true, "{stream:?}");
    assert_eq!(loaded["models"][0]["name"], "scripted:latest", "{loaded}");
    assert_eq!(loaded["models"].as_array().unwrap().len(), 1, "{loaded}");
}
