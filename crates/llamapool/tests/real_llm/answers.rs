//! The API itself: what reaches the runtime, what the answers have on them, and what is not offered.

use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use crate::harness::{API_KEY, http_request, soon};
use crate::runtimes::{Runtime, chat};
use crate::workers::{LlmPool, Whole};

async fn scripted() -> (Runtime, LlmPool, crate::harness::Process) {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let worker = pool.worker("alpha", &runtime).await;
    (runtime, pool, worker)
}

/// Sends a body as it is.
async fn post(pool: &LlmPool, path: &str, headers: &[(&str, &str)], body: &str) -> Whole {
    let mut request = pool
        .http
        .post(format!("{}{path}", pool.url))
        .bearer_auth(API_KEY)
        .body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Whole::read(soon("an answer", request.send()).await.unwrap()).await
}

async fn get(pool: &LlmPool, path: &str) -> Whole {
    let request = pool.http.get(format!("{}{path}", pool.url));
    let request = request.bearer_auth(API_KEY);
    Whole::read(soon("an answer", request.send()).await.unwrap()).await
}

/// Unknown members, odd spacing, escapes, big numbers and the order of members are the caller's.
#[tokio::test]
async fn the_body_reaches_the_runtime_byte_for_byte() {
    let (runtime, pool, _worker) = scripted().await;
    let body = concat!(
        "{ \"z\" : 1e400, \"model\"\t:\"scripted:latest\" ,\n \"messages\":[{\"role\":\"user\",",
        "\"content\":\"gr\\u00fc\\ud83e\\udd99\"}], \"n\":1.0, \"seed\":18446744073709551616 }"
    );

    for (count, content_type) in ["application/json", "application/x-www-form-urlencoded"]
        .into_iter()
        .enumerate()
    {
        let headers = [("content-type", content_type)];
        let answer = post(&pool, "/v1/chat/completions", &headers, body).await;

        assert_eq!(answer.status, 200, "{answer:?}");
        let call = &runtime.calls().await[count];
        assert_eq!(call["body"], body);
        assert_eq!(call["path"], "/v1/chat/completions");
    }
}

#[tokio::test]
async fn the_callers_key_and_origin_end_at_the_server() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::with(&[("ALLOWED_ORIGINS", "https://chat.example")]).await;
    let _worker = pool
        .worker_with(
            "alpha",
            &runtime,
            &[("COMPLETION_API_KEY", "of-the-runtime")],
        )
        .await;
    let headers = [
        ("origin", "https://chat.example"),
        ("cookie", "a=b"),
        ("x-stainless-lang", "js"),
        ("openai-organization", "org"),
    ];

    let body = chat("scripted", "Hi", 5).to_string();
    let answer = post(&pool, "/v1/chat/completions", &headers, &body).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let allowed: Vec<_> = answer
        .headers
        .get_all("access-control-allow-origin")
        .iter()
        .collect();
    assert_eq!(allowed, ["https://chat.example"]);
    let received = received(&runtime.calls().await[0]["headers"]);
    assert_eq!(received["authorization"], "Bearer of-the-runtime");
    assert_eq!(received["x-stainless-lang"], "js");
    for name in ["origin", "cookie", "openai-organization", "x-forwarded-for"] {
        assert!(!received.contains_key(name), "{name}: {received:?}");
    }
}

/// Returns headers that the runtime received.
fn received(headers: &Value) -> HeaderMap {
    let headers = headers.as_object().unwrap().iter();
    let headers = headers.map(|(name, value)| {
        let name: HeaderName = name.parse().unwrap();
        (name, value.as_str().unwrap().parse().unwrap())
    });
    headers.collect()
}

#[tokio::test]
async fn answers_have_a_request_id_and_a_route() {
    let (_runtime, pool, _worker) = scripted().await;

    let whole = pool
        .ask("/v1/chat/completions", &chat("scripted", "Hi", 5))
        .await;
    let mut request = chat("scripted", "Hi", 5);
    request["stream"] = json!(true);
    let stream = pool.ask("/v1/chat/completions", &request).await;

    for answer in [&whole, &stream] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_ne!(answer.header("x-request-id"), "", "{answer:?}");
        let route = answer.header("llamapool-route");
        assert!(route.contains(r#"worker="alpha""#), "{route}");
        assert!(route.contains("attempts=1"), "{route}");
    }
    assert_eq!(stream.header("content-type"), "text/event-stream");
    assert_eq!(stream.header("x-accel-buffering"), "no");
    assert_eq!(
        whole.json()["choices"][0]["message"]["content"],
        "One two three four five six."
    );
}

/// The worker asks an Ollama for its counts, and takes what came of that out again.
#[tokio::test]
async fn usage_is_in_a_stream_only_where_it_was_asked_for() {
    let (runtime, pool, _worker) = scripted().await;
    let mut request = chat("scripted", "Hi", 5);
    request["stream"] = json!(true);

    let unasked = pool.ask("/v1/chat/completions", &request).await;
    request["stream_options"] = json!({ "include_usage": true });
    let asked = pool.ask("/v1/chat/completions", &request).await;

    assert!(!unasked.body.contains("usage"), "{}", unasked.body);
    assert!(
        asked.body.contains(r#""completion_tokens": 6"#),
        "{}",
        asked.body
    );
    for call in runtime.calls().await {
        let body = call["body"].as_str().unwrap();
        assert!(body.contains("include_usage"), "{body}");
    }
    let state = pool
        .until("both are counted", |state| {
            state["workers"][0]["tokens_out_total"] == 12
        })
        .await;
    assert_eq!(state["workers"][0]["tokens_in_total"], 24, "{state}");
}

#[tokio::test]
async fn clients_that_spell_the_path_in_their_own_way_are_served() {
    let (_runtime, pool, _worker) = scripted().await;
    let body = chat("scripted", "Hi", 5).to_string();

    for path in [
        "/v1//chat/completions/",
        "/v1/v1/chat/completions",
        "/api/v1/chat/completions",
        "/chat/completions",
        "/v1/chat/completions?beta=true",
    ] {
        let answer = post(&pool, path, &[], &body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    for path in [
        "/v1/api/tags",
        "/api/tags",
        "/api/version",
        "/v1/models",
        "/",
    ] {
        let answer = get(&pool, path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }

    // An HTTP client would resolve this itself.
    let (head, _) = pool
        .raw_call(http_request("GET", "/v1/%2e%2e/api/state", "", b""))
        .await;
    assert_eq!(head.status(), 404);
}

/// A runtime has other methods on the same port: they load, delete and write.
#[tokio::test]
async fn what_manages_a_runtime_is_not_reached() {
    let (runtime, pool, _worker) = scripted().await;

    for path in [
        "/api/pull",
        "/api/delete",
        "/api/create",
        "/api/copy",
        "/api/push",
    ] {
        let answer = post(&pool, path, &[], r#"{"model":"scripted"}"#).await;
        assert!(
            [403, 404, 405].contains(&answer.status),
            "{path}: {answer:?}"
        );
    }
    for path in [
        "/slots/0?action=save",
        "/models/load",
        "/tools",
        "/control",
        "/v1/control",
    ] {
        let answer = post(&pool, path, &[], "{}").await;
        assert!([404, 405].contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(runtime.calls().await.len(), 0);
}

#[tokio::test]
async fn a_websocket_for_responses_is_refused_at_once() {
    let (_runtime, pool, _worker) = scripted().await;
    let request = pool
        .http
        .get(format!("{}/v1/responses", pool.url))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

    let answer = soon("an answer", request.send()).await.unwrap();

    assert_eq!(answer.status(), 426);
    assert_eq!(answer.headers()["connection"], "close");
}

#[tokio::test]
async fn the_list_of_models_is_one_for_all_dialects() {
    let (_runtime, pool, _worker) = scripted().await;

    let list = get(&pool, "/v1/models").await.json();
    let models = list["data"].as_array().unwrap();
    let model = models.iter().find(|model| model["id"] == "scripted:latest");
    let model = model.unwrap_or_else(|| panic!("{list}"));

    assert_eq!(list["object"], "list");
    assert_eq!(model["object"], "model");
    assert_eq!(model["type"], "model");
    assert_eq!(model["owned_by"], "alpha");
    let version = get(&pool, "/api/version").await.json();
    let numbers: Vec<_> = version["version"].as_str().unwrap().split('.').collect();
    assert_eq!(numbers.len(), 3, "{version}");
    assert!(
        numbers.iter().all(|number| number.parse::<u32>().is_ok()),
        "{version}"
    );
}
