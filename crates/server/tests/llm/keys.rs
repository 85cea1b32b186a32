//! Keys of the LLM API: who calls, and within which bounds.

use std::time::Duration;

use llamapool_identity::Key;
use llamapool_server::LlmAccess;
use llamapool_testkit::{
    API_KEY, PendingCall, Pool, RawHttp, ScriptedWorker, ServerConfig, WorkerSetup, http_request,
    soon,
};
use serde_json::{Value, json};

use crate::kit::{CHAT, COMPLETION, chat, key, read, server_with_keys, until_waiting, worker};

fn request_as(server: &Pool, headers: &[(&str, &str)], body: &Value) -> reqwest::RequestBuilder {
    let mut request = server.http.post(format!("{}{CHAT}", server.url)).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

async fn status_as(server: &Pool, headers: &[(&str, &str)]) -> (u16, String) {
    let request = request_as(server, headers, &json!({ "model": "none", "messages": [] }));
    let answer = soon("an answer", request.send()).await.unwrap();
    let word = answer.headers()["llamapool-error"].to_str().unwrap();
    (answer.status().as_u16(), word.to_owned())
}

#[tokio::test]
async fn a_key_may_come_in_every_header_but_only_one_key() {
    let server = server_with_keys(vec![key("alice", |_| {})]).await;
    let found = (404, "model_not_found".to_owned());
    let refused = (401, "unauthorized".to_owned());

    for headers in [
        &[("authorization", "Bearer key-of-alice")][..],
        &[("x-api-key", "key-of-alice")],
        &[("api-key", "key-of-alice")],
        &[
            ("authorization", "Bearer key-of-alice"),
            ("x-api-key", "key-of-alice"),
        ],
        &[("authorization", "Bearer "), ("x-api-key", "key-of-alice")],
        &[("x-api-key", API_KEY)],
    ] {
        assert_eq!(status_as(&server, headers).await, found, "{headers:?}");
    }
    for headers in [
        &[][..],
        &[("authorization", "Bearer wrong")],
        &[
            ("authorization", "Bearer key-of-alice"),
            ("x-api-key", API_KEY),
        ],
        &[("authorization", "Basic key-of-alice")],
    ] {
        assert_eq!(status_as(&server, headers).await, refused, "{headers:?}");
    }
}

#[tokio::test]
async fn a_key_for_models_opens_the_llm_api_alone() {
    let server = server_with_keys(vec![key("alice", |_| {})]).await;
    let get = |path: &str| {
        let request = server.http.get(format!("{}{path}", server.url));
        request.bearer_auth("key-of-alice").send()
    };

    let models = soon("an answer", get("/v1/models")).await.unwrap();
    let state = soon("an answer", get("/api/state")).await.unwrap();

    assert_eq!(models.status(), 200);
    assert_eq!(state.status(), 401);
    let state = server.state().await.to_string();
    assert!(state.contains("alice") && !state.contains("key-of-alice"));
}

#[tokio::test]
async fn a_server_without_keys_is_open_to_all() {
    let server = Pool::with(|config: &mut ServerConfig| config.auth.keys.api = None).await;

    assert_eq!(status_as(&server, &[]).await.0, 404);
}

/// The access that is set holds, whichever keys there are.
#[tokio::test]
async fn the_access_of_the_llm_api_can_be_set() {
    let with = |access, api_key: bool| {
        Pool::with(move |config: &mut ServerConfig| {
            config.auth.llm_access = Some(access);
            if !api_key {
                config.auth.keys.api = None;
            }
        })
    };

    let open = with(LlmAccess::Open, true).await;
    let closed = with(LlmAccess::Keys, false).await;

    let wrong = [("authorization", "Bearer anything")];
    for headers in [&[][..], &wrong, &[("x-api-key", "a"), ("api-key", "b")]] {
        assert_eq!(status_as(&open, headers).await.0, 404, "{headers:?}");
    }
    assert_eq!(status_as(&closed, &[]).await.0, 401);
    assert_eq!(status_as(&closed, &wrong).await.0, 401);
    // A key of the settings closes a server without API key.
    let declared = Pool::with(|config: &mut ServerConfig| {
        config.auth.keys.api = None;
        config.identity.declared.keys = vec![key("alice", |_| {})];
    })
    .await;
    assert_eq!(status_as(&declared, &[]).await.0, 401);
    let alice = [("x-api-key", "key-of-alice")];
    assert_eq!(status_as(&declared, &alice).await.0, 404);
}

/// Where nobody needs a key, the one of the operator still makes a difference.
#[tokio::test]
async fn callers_of_an_open_api_pin_and_unload_nothing() {
    let open = |config: &mut ServerConfig| config.auth.llm_access = Some(LlmAccess::Open);
    let server = Pool::with(open).await;
    let mut setup = WorkerSetup::new(&["m"], 2);
    setup.models[0].apis.push("ollama".to_owned());
    let mut worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    let generate = |body: &str| {
        let request = server.http.post(format!("{}/api/generate", server.url));
        request.body(body.to_owned())
    };

    let unload = generate(r#"{"model":"m","keep_alive":0}"#);
    let unload = soon("an answer", unload.send()).await.unwrap();
    let pinned = r#"{"model":"m","keep_alive":-1,"prompt":"a"}"#;
    let _by_operator = PendingCall::start(generate(pinned).bearer_auth(API_KEY));
    let of_operator = worker.next_call().await;

    assert_eq!(unload.status(), 403);
    assert_eq!(of_operator.body, pinned);
}

/// A client sends head and body in two packets. A connection that is closed before the body arrives
/// would take the refusal along.
#[tokio::test]
async fn a_refusal_waits_for_the_body_that_follows_its_head() {
    let for_notes = key("notes", |rights| {
        rights.ids = vec!["notes".parse().unwrap()];
        rights.models = Vec::new();
    });
    let server = server_with_keys(vec![for_notes]).await;

    for (path, headers, status) in [
        (CHAT, "", 401),
        (CHAT, "authorization: Bearer key-of-notes\r\n", 403),
        (CHAT, "origin: http://evil.example\r\n", 403),
        ("/v1/nothing", "", 404),
        ("/api/pull", "authorization: Bearer test123\r\n", 403),
        (
            CHAT,
            "authorization: Bearer test123\r\nllamapool-queue: maybe\r\n",
            400,
        ),
    ] {
        let request = http_request("POST", path, headers, &[b'a'; 1000]);
        let (head, body) = request.split_at(request.len() - 1000);
        let mut caller = RawHttp::connect(&server.url).await;
        caller.send(head).await;
        // Long enough for an answer that does not wait.
        let early = tokio::time::timeout(Duration::from_millis(100), caller.head()).await;
        assert!(
            early.is_err(),
            "{path} {headers}: an answer before the body"
        );

        caller.send(body).await;
        let head = soon("a head", caller.head()).await;

        assert_eq!(head.status(), status, "{path} {headers}");
    }
}

#[tokio::test]
async fn an_expired_key_is_refused() {
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(1);
    let bob = Key {
        expires_at: Some(past),
        ..key("bob", |_| {})
    };
    let server = server_with_keys(vec![bob]).await;

    let status = status_as(&server, &[("x-api-key", "key-of-bob")]).await;

    assert_eq!(status, (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn a_key_sees_and_uses_its_models_alone() {
    let only_m = key("alice", |rights| rights.models = vec!["m".to_owned()]);
    let server = server_with_keys(vec![only_m]).await;
    let setup = WorkerSetup::new(&["m", "secret"], 2);
    let _worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    let alice = [("x-api-key", "key-of-alice")];

    let body = json!({ "model": "secret", "messages": [] });
    let refused = soon("an answer", request_as(&server, &alice, &body).send()).await;
    let models = server.http.get(format!("{}/v1/models", server.url));
    let models = soon(
        "an answer",
        models.header("x-api-key", "key-of-alice").send(),
    )
    .await;
    let models: Value = models.unwrap().json().await.unwrap();

    let refused = refused.unwrap();
    assert_eq!(refused.status(), 404);
    assert_eq!(refused.headers()["llamapool-error"], "model_not_found");
    let ids: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, ["m"]);
}

#[tokio::test]
async fn rates_and_budgets_refuse_with_the_time_to_wait() {
    let server = server_with_keys(vec![
        key("calls", |rights| rights.llm.requests_per_minute = Some(1)),
        key("daily", |rights| rights.llm.tokens_per_day = Some(2000)),
    ])
    .await;
    let mut worker = worker(&server, "alpha", 4).await;

    for (name, word, retry) in [
        ("calls", "rate_limited", "true"),
        ("daily", "budget_exhausted", "false"),
    ] {
        let secret = format!("key-of-{name}");
        let headers = [("x-api-key", secret.as_str())];
        let mut first = PendingCall::start(request_as(&server, &headers, &chat(false)));
        let sent = worker.next_call().await;
        let second = request_as(&server, &headers, &chat(false));
        let second = soon("an answer", second.send()).await.unwrap();
        sent.answer_json(200, COMPLETION);
        let first = read(&mut first).await;

        assert_eq!(first.status(), 200, "{name}");
        assert_eq!(second.status(), 429, "{name}");
        assert_eq!(second.headers()["llamapool-error"], word);
        assert_eq!(second.headers()["x-should-retry"], retry);
        let wait = second.headers()["retry-after"].to_str().unwrap();
        assert!(wait.parse::<u64>().unwrap() >= 1, "{wait}");
        assert!(second.headers().contains_key("retry-after-ms"));
        if name == "calls" {
            assert_eq!(first.header("x-ratelimit-limit-requests"), Some("1"));
            assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("0"));
        }
    }
}

#[tokio::test]
async fn a_concurrency_of_one_makes_the_second_call_wait() {
    let server = server_with_keys(vec![key("alice", |rights| {
        rights.llm.max_concurrency = Some(1);
        rights.llm.max_queued = Some(1);
    })])
    .await;
    let mut worker = worker(&server, "alpha", 4).await;
    let alice = [("x-api-key", "key-of-alice")];
    let _first = PendingCall::start(request_as(&server, &alice, &chat(false)));
    let running = worker.next_call().await;
    let mut second = PendingCall::start(request_as(&server, &alice, &chat(false)));
    until_waiting(&server, 1).await;

    let third = request_as(&server, &alice, &chat(false));
    let third = soon("an answer", third.send()).await.unwrap();
    assert!(!worker.has_call());
    running.answer_json(200, COMPLETION);
    worker.next_call().await.answer_json(200, COMPLETION);

    assert_eq!(third.status(), 429);
    assert_eq!(third.headers()["llamapool-error"], "too_many_waiting");
    assert_eq!(read(&mut second).await.status(), 200);
}

#[tokio::test]
async fn a_key_that_floods_does_not_keep_others_waiting() {
    let server = server_with_keys(vec![key("alice", |_| {}), key("bob", |_| {})]).await;
    let mut worker = worker(&server, "alpha", 1).await;
    let alice = [("x-api-key", "key-of-alice")];
    let bob = [("x-api-key", "key-of-bob")];
    let operator = [("x-api-key", API_KEY)];
    let mut calls = vec![PendingCall::start(request_as(
        &server,
        &operator,
        &chat(false),
    ))];
    server
        .until("a call runs", |state| state["workers"][0]["inflight"] == 1)
        .await;
    for number in 1..=4 {
        calls.push(PendingCall::start(request_as(
            &server,
            &alice,
            &chat(false),
        )));
        until_waiting(&server, number).await;
    }
    let mut body = chat(false);
    body["user"] = json!("bob");
    calls.push(PendingCall::start(request_as(&server, &bob, &body)));
    until_waiting(&server, 5).await;

    let mut before = 0;
    loop {
        let call = worker.next_call().await;
        if call.json()["user"] == "bob" {
            break;
        }
        before += 1;
        call.answer_json(200, COMPLETION);
    }

    // The one that ran, and one of the key that came first.
    assert!(before <= 2, "{before} of 5 calls went before");
}

#[tokio::test]
async fn only_the_operator_pins_and_unloads_models() {
    let server = server_with_keys(vec![key("alice", |_| {})]).await;
    let mut setup = WorkerSetup::new(&["m"], 2);
    setup.models[0].apis.push("ollama".to_owned());
    let mut worker = ScriptedWorker::connect(&server, "alpha", setup).await;
    let generate = |secret: &str, body: &str| {
        let request = server.http.post(format!("{}/api/generate", server.url));
        request.bearer_auth(secret).body(body.to_owned())
    };

    let pinned = r#"{"model":"m","keep_alive":-1,"prompt":"a"}"#;
    let _by_key = PendingCall::start(generate("key-of-alice", pinned));
    let of_key = worker.next_call().await;
    let _by_operator = PendingCall::start(generate(API_KEY, pinned));
    let of_operator = worker.next_call().await;
    let unload = generate("key-of-alice", r#"{"model":"m","keep_alive":0}"#);
    let unload = soon("an answer", unload.send()).await.unwrap();

    assert_eq!(of_key.body, r#"{"model":"m","prompt":"a"}"#);
    assert_eq!(of_operator.body, pinned);
    assert_eq!(unload.status(), 403);
}

/// One caller can make all its calls fail, and must not take a worker from the others.
#[tokio::test]
async fn failures_of_several_keys_close_a_worker() {
    for (names, breaker) in [
        (["alice"; 3], "closed"),
        (["alice", "bob", "alice"], "open"),
    ] {
        let server = server_with_keys(vec![key("alice", |_| {}), key("bob", |_| {})]).await;
        let mut worker = worker(&server, "alpha", 1).await;

        for name in names {
            let key = format!("key-of-{name}");
            let call = request_as(&server, &[("x-api-key", &key)], &chat(false));
            let mut pending = PendingCall::start(call);
            worker.next_call().await.answer_json(502, "{}");
            assert_eq!(read(&mut pending).await.status(), 502);
        }

        let state = server.state().await;
        assert_eq!(state["workers"][0]["breaker"], breaker, "{names:?}");
    }
}
