//! Keys at the LLM API by the command line and by the settings file, with real processes.

use std::path::PathBuf;

use futures_util::StreamExt;
use llamapool_testkit::{LlmRuntime, PlayedRuntime};
use serde_json::{Value, json};

use super::identity::{Place, id_of};
use crate::harness::{API_KEY, PendingCall, Pool, Process, Provider, WORKER_KEY, soon, tools_call};

const CHAT: &str = "/v1/chat/completions";

/// Connects a worker beside a runtime that plays llama.cpp with the model `m`.
async fn worker(pool: &Pool, runtime: &LlmRuntime, key: &str) -> Process {
    let settings = [
        ("SERVER_URL", &*pool.url),
        ("WORKER_KEY", key),
        ("WORKER_ID", "gpu"),
        ("COMPLETION_BASE_URL", &*runtime.url),
        ("STATUS_ADDR", "off"),
        ("RECONNECT_MIN", "50ms"),
    ];
    let worker = Process::llamapool(&["worker", "--reconnect"], &settings);
    pool.until("the worker's models are listed", |state| {
        let models = state["workers"][0]["models_supported"].as_array();
        models.is_some_and(|models| !models.is_empty())
    })
    .await;
    worker
}

fn chat(pool: &Pool, key: &str, streams: bool) -> reqwest::RequestBuilder {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let body = json!({ "model": "m", "stream": streams, "messages": messages });
    pool.http
        .post(format!("{}{CHAT}", pool.url))
        .bearer_auth(key)
        .json(&body)
}

/// Returns the status of a list of models, and the names in it.
async fn models(pool: &Pool, key: &str) -> (u16, Vec<String>) {
    let request = pool.http.get(format!("{}/v1/models", pool.url));
    let answer = soon("a list", request.bearer_auth(key).send())
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let list: Value = answer.json().await.unwrap();
    let names = list["data"].as_array().into_iter().flatten();
    let names = names.map(|model| model["id"].as_str().unwrap().to_owned());
    (status, names.collect())
}

async fn status_at(pool: &Pool, id: &str, key: &str, tool: &str) -> u16 {
    let request = pool.http.post(pool.mcp(id)).bearer_auth(key);
    let answer = request.json(&tools_call(1, tool)).send().await.unwrap();
    answer.status().as_u16()
}

/// Writes a settings file. Returns its path.
fn settings_file(place: &Place, text: &str) -> PathBuf {
    let path = PathBuf::from(place.path()).join("server.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_key_for_models_is_revoked_while_a_stream_runs() {
    let place = Place::new();
    let pool = place.server().await;
    let runtime = LlmRuntime::with(PlayedRuntime::LlamaCpp, |behaviour| {
        behaviour.held_after = Some(1);
    })
    .await;
    let gpu = ["key", "create", "worker", "--ids", "gpu", "--kinds", "llm"];
    let gpu = place.done(&gpu).await;
    let _worker = worker(&pool, &runtime, &gpu).await;
    let create = [
        "key", "create", "caller", "--name", "agent", "--models", "m",
    ];
    let agent = place.done(&create).await;
    let other = place
        .done(&["key", "create", "caller", "--models", "x*"])
        .await;

    assert_eq!(models(&pool, &agent).await, (200, vec!["m".to_owned()]));
    assert_eq!(models(&pool, &other).await, (200, Vec::new()));
    assert_eq!(models(&pool, &gpu).await.0, 401);
    let mut call = PendingCall::start(chat(&pool, &agent, true));
    let mut body = call.answer().await.bytes_stream();
    soon("the first event", body.next()).await.unwrap().unwrap();

    let revoked = place.run(&["key", "revoke", id_of(&agent)]).await;

    assert!(revoked.notes.contains("1 call"), "{}", revoked.notes);
    let mut is_broken = false;
    while let Some(piece) = soon("the stream ends", body.next()).await {
        is_broken |= piece.is_err();
    }
    assert!(is_broken, "an end by a revocation is no clean end");
    assert_eq!(models(&pool, &agent).await.0, 401);
    let state = pool.state().await.to_string();
    assert!(state.contains("\"agent\"") && !state.contains(&agent));
}

#[tokio::test]
async fn a_declared_key_opens_both_doors_by_its_table() {
    let place = Place::new();
    let file = settings_file(
        &place,
        "mcp_access = 'keys'\n\
         [[key]]\nname = 'both'\nkey = 'the-key-for-both'\nids = ['notes']\nmodels = ['m']\n\
         [[key]]\nname = 'reader'\nkey = 'the-key-to-read'\nids = ['notes']\nread_only = true\n\
         [[key]]\nname = 'old'\nkey = 'the-key-of-before'\n\
         [[key]]\nname = 'relays'\nkind = 'worker'\nkey = 'the-key-of-relays'\nids = ['gpu', 'notes']\n",
    );
    let settings = [
        ("CONFIG_FILE", file.to_str().unwrap()),
        ("DATA_DIR", place.path()),
    ];
    let pool = Pool::with(&settings).await;
    let runtime = LlmRuntime::start(PlayedRuntime::LlamaCpp).await;
    let provider = Provider::echoing().await;
    let _worker = worker(&pool, &runtime, "the-key-of-relays").await;
    let of_relays = [("WORKER_KEY", "the-key-of-relays")];
    let _relay = pool.relay_with("notes", &provider.url, &of_relays).await;

    let m = vec!["m".to_owned()];
    assert_eq!(models(&pool, "the-key-for-both").await, (200, m.clone()));
    assert_eq!(models(&pool, "the-key-of-before").await, (200, m));
    assert_eq!(models(&pool, "the-key-to-read").await.0, 403);
    assert_eq!(models(&pool, "the-key-of-relays").await.0, 401);
    let answer = soon("an answer", chat(&pool, "the-key-for-both", false).send()).await;
    assert_eq!(answer.unwrap().status(), 200);

    assert_eq!(
        status_at(&pool, "notes", "the-key-for-both", "echo").await,
        200
    );
    assert_eq!(
        status_at(&pool, "notes", "the-key-to-read", "echo").await,
        403
    );
    assert_eq!(
        status_at(&pool, "notes", "the-key-of-before", "echo").await,
        403
    );
    let mut taking = Process::llamapool(
        &["mcp"],
        &[
            ("SERVER_URL", &*pool.url),
            ("WORKER_KEY", WORKER_KEY),
            ("CLIENT_ID", "notes"),
            ("PROVIDER_URL", &*provider.url),
            ("STATUS_ADDR", "off"),
        ],
    );
    let (status, log) = taking.status_and_log().await;
    assert!(!status.success() && log.contains("reserved"), "{log}");
}

/// A key that was revoked in the store must not come back by the settings.
#[tokio::test]
async fn a_declared_key_that_is_stored_starts_no_server() {
    let place = Place::new();
    let stored = place
        .done(&["key", "create", "caller", "--models", "*"])
        .await;
    place.done(&["key", "revoke", id_of(&stored)]).await;
    let file = settings_file(
        &place,
        &format!("[[key]]\nname = 'again'\nkey = '{stored}'\n"),
    );

    let log = place
        .server_that_fails(&[("CONFIG_FILE", file.to_str().unwrap())])
        .await;

    assert!(log.contains("the key \"again\" of the settings"), "{log}");
    assert!(
        log.contains(id_of(&stored)) && !log.contains(&stored),
        "{log}"
    );
}

/// What is open to whom is in the log of the start, and a key that nobody has to present is warned of.
#[tokio::test]
async fn the_start_says_who_may_use_the_models() {
    let place = Place::new();
    place
        .done(&["key", "create", "caller", "--models", "*"])
        .await;
    let started = |settings: &'static [(&'static str, &'static str)]| {
        let data = [("DATA_DIR", place.path())];
        let settings: Vec<_> = settings.iter().chain(&data).copied().collect();
        async move {
            let pool = Pool::with(&settings).await;
            let status = models(&pool, "anything").await.0;
            (pool.server.log(), status)
        }
    };

    let (log, status) = started(&[]).await;
    assert!(log.contains("the LLM API asks for API_KEY"), "{log}");
    assert_eq!(status, 401);
    let (log, status) = started(&[("LLM_ACCESS", "open")]).await;
    assert!(log.contains("set LLM_ACCESS=keys"), "{log}");
    assert_eq!(status, 200);
    assert!(!log.contains(API_KEY), "{log}");
}
