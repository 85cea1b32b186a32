//! The SDKs that people use, through the pool: lists, answers, streams, embeddings, calls of tools, late errors, refused
//! keys, and leaving.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::API_KEY;
use crate::parts::{PATH, python, root};
use crate::runtimes::{E5, Runtime, SMOLLM2, with_end};
use crate::workers::LlmPool;

/// The part with the Python clients.
const CLIENTS: &str = "openai-3.57.0";
/// The longest that a client may take: some of them import for many seconds.
const LONGEST: Duration = Duration::from_secs(120);
/// What the scripted runtime answers.
const WORDS: &str = "One two three four five six.";
/// What it has sent when it breaks off.
const BROUGHT: &str = "One two three";

/// Runs a client of `tests/parts/clients`, `python NAME` or `node NAME`. Returns its observations.
pub(crate) async fn run(
    client: &str,
    url: &str,
    key: &str,
    model: &str,
    actions: &[&str],
) -> Vec<Value> {
    let (language, sdk) = client.split_once(' ').expect("a language and an SDK");
    let folder = root().join("tests/parts/clients");
    let mut command = match language {
        "python" => {
            let mut command = Command::new(python(CLIENTS));
            command.arg(folder.join("llm.py"));
            command
        }
        _ => {
            let mut command = Command::new("node");
            command.arg(folder.join("llm.mjs"));
            command
        }
    };
    command
        .arg(sdk)
        .args(actions)
        .env_clear()
        .env("PATH", PATH)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1")
        .env(
            "LLAMAPOOL_PARTS",
            std::env::var_os("LLAMAPOOL_PARTS").unwrap_or_default(),
        )
        .env("LLAMAPOOL_URL", url)
        .env("LLAMAPOOL_KEY", key)
        .env("LLAMAPOOL_MODEL", model)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONGEST, command.output())
        .await
        .expect("the client ends")
        .expect("it starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");

    assert!(
        output.status.success(),
        "{client} has failed:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let seen: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON text a line"))
        .collect();
    assert_eq!(seen.len(), actions.len(), "{seen:?}");
    seen
}

/// Runs a client with a model of the pool.
pub(crate) async fn through(
    pool: &LlmPool,
    client: &str,
    model: &str,
    actions: &[&str],
) -> Vec<Value> {
    run(client, &pool.url, API_KEY, model, actions).await
}

/// Runs a client through the pool and beside it, and compares its observations.
async fn assert_same(client: &str, actions: &[&str]) {
    let runtime = Runtime::llama_cpp(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    let direct = run(client, &runtime.url, API_KEY, SMOLLM2, actions).await;
    let found = through(&pool, client, SMOLLM2, actions).await;

    for (direct, found) in direct.iter().zip(&found) {
        assert_eq!(direct["error"], Value::Null, "{direct}");
        assert_eq!(without_cache(direct), without_cache(found));
    }
}

/// Returns an observation without the tokens that were read: Anthropic's are those that no cache had.
fn without_cache(seen: &Value) -> Value {
    let mut seen = seen.clone();
    seen.as_object_mut().unwrap().remove("input");
    seen
}

#[tokio::test]
async fn openai_sdks_see_what_the_runtime_answers() {
    assert_same("python openai", &["list", "answer", "stream", "leave"]).await;
    assert_same("node openai", &["list", "answer", "stream", "leave"]).await;
}

#[tokio::test]
async fn the_responses_api_is_what_the_runtime_answers() {
    assert_same("python responses", &["answer", "stream"]).await;
    assert_same("node responses", &["answer", "stream"]).await;
}

#[tokio::test]
async fn anthropic_sdks_see_what_the_runtime_answers() {
    let actions = ["list", "answer", "stream", "leave"];
    assert_same("python anthropic", &[&["count"][..], &actions].concat()).await;
    assert_same("node anthropic", &actions).await;
}

#[tokio::test]
async fn langchain_and_litellm_see_what_the_runtime_answers() {
    assert_same("python langchain", &["answer", "stream"]).await;
    assert_same("python litellm", &["answer", "stream"]).await;
}

#[tokio::test]
async fn models_can_be_retrieved_by_their_names() {
    let runtime = Runtime::scripted(&["name=org/scripted"]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for client in ["python openai", "node openai", "python anthropic"] {
        let seen = through(&pool, client, "org/scripted:latest", &["retrieve"]).await;

        assert_eq!(
            seen[0]["model"], "org/scripted:latest",
            "{client}: {seen:?}"
        );
    }
}

#[tokio::test]
async fn the_ollama_sdk_talks_to_an_ollama_in_the_pool() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    let actions = [
        "list", "answer", "stream", "generate", "embed", "show", "resident",
    ];
    let seen = through(&pool, "python ollama", "scripted", &actions).await;

    let [list, answer, stream, generate, embed, show, resident] = &seen[..] else {
        panic!("{seen:?}")
    };
    let models = list["models"].as_array().unwrap();
    assert!(models.contains(&json!("scripted:latest")), "{list}");
    assert_eq!(answer["text"], WORDS, "{answer}");
    assert_eq!(answer["output"], 6, "{answer}");
    assert_eq!(stream["text"], WORDS, "{stream}");
    assert_eq!(stream["events"], 6, "{stream}");
    assert_eq!(generate["text"], WORDS, "{generate}");
    assert_eq!(embed["lengths"], json!([8, 8]), "{embed}");
    assert_eq!(show["info"]["general.architecture"], "llama", "{show}");
    assert_eq!(resident["models"], json!(["scripted:latest"]), "{resident}");
}

#[tokio::test]
async fn other_clients_of_ollamas_api_talk_to_one_in_the_pool() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for client in ["node ollama", "python langchain-ollama"] {
        let actions = ["list", "answer", "stream", "embed"];
        let seen = through(&pool, client, "scripted:latest", &actions).await;

        let models = seen[0]["models"].as_array().unwrap();
        assert!(
            models.contains(&json!("scripted:latest")),
            "{client}: {seen:?}"
        );
        assert_eq!(seen[1]["text"], WORDS, "{client}: {seen:?}");
        assert_eq!(seen[1]["input"], 12, "{client}: {seen:?}");
        assert_eq!(seen[1]["output"], 6, "{client}: {seen:?}");
        assert_eq!(seen[2]["text"], WORDS, "{client}: {seen:?}");
        assert_eq!(seen[2]["events"], 6, "{client}: {seen:?}");
        assert_eq!(seen[3]["lengths"], json!([8, 8]), "{client}: {seen:?}");
    }
}

#[tokio::test]
async fn embeddings_are_those_of_the_runtime_in_both_encodings() {
    let runtime = Runtime::embeddings().await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for client in [
        "python openai",
        "node openai",
        "python langchain",
        "python litellm",
    ] {
        let direct = run(client, &runtime.url, API_KEY, E5, &["embed"]).await;
        let found = through(&pool, client, E5, &["embed"]).await;

        assert_eq!(direct[0]["lengths"], json!([384, 384]), "{direct:?}");
        assert_eq!(direct, found, "{client}");
    }
}

#[tokio::test]
async fn two_calls_of_tools_arrive_as_two() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;
    let called = json!([
        ["get_weather", { "city": "Lagos" }],
        ["get_weather", { "city": "Grüße 🦙" }],
    ]);

    for (client, actions) in [
        ("python openai", &["tool", "tool-stream"][..]),
        ("python anthropic", &["tool", "tool-stream"]),
        ("python ollama", &["tool", "tool-stream"]),
        ("python langchain", &["tool"]),
        ("python langchain-ollama", &["tool"]),
        ("node ollama", &["tool", "tool-stream"]),
        ("node openai", &["tool"]),
        ("node anthropic", &["tool", "tool-stream"]),
    ] {
        for seen in through(&pool, client, "tools", actions).await {
            assert_eq!(seen["calls"], called, "{client}: {seen}");
        }
    }
}

/// A broken connection without an error event would be a network problem to an SDK.
#[tokio::test]
async fn an_error_in_mid_stream_is_one_to_the_sdk() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for (client, class) in [
        ("python openai", "APIError"),
        ("python anthropic", "APIStatusError"),
        ("python ollama", "ResponseError"),
        ("python langchain-ollama", "ResponseError"),
        ("node openai", "APIError"),
        ("node anthropic", "APIError"),
        // Its class for a late error is the language's own.
        ("node ollama", "Error"),
    ] {
        for model in ["error", "breaks"] {
            let seen = through(&pool, client, model, &["stream"]).await;

            assert_eq!(seen[0]["error"], class, "{client}, {model}: {seen:?}");
            assert_eq!(seen[0]["text"], BROUGHT, "{client}, {model}: {seen:?}");
        }
    }
    for call in runtime.calls().await {
        assert_eq!(call["end"], "broken", "{call}");
    }
    assert_eq!(runtime.calls().await.len(), 14, "no call was made twice");
}

#[tokio::test]
async fn a_wrong_key_is_refused_in_each_sdks_own_words() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for (client, class) in [
        ("python openai", "AuthenticationError"),
        ("python anthropic", "AuthenticationError"),
        ("python ollama", "ResponseError"),
        ("python langchain-ollama", "ResponseError"),
        ("node openai", "AuthenticationError"),
        ("node anthropic", "AuthenticationError"),
        ("node ollama", "ResponseError"),
    ] {
        let seen = run(
            client,
            &pool.url,
            "wrong",
            "scripted",
            &["answer", "stream"],
        )
        .await;

        for seen in seen {
            assert_eq!(seen["error"], class, "{client}: {seen}");
            assert_eq!(seen["status"], 401, "{client}: {seen}");
        }
    }
    assert_eq!(runtime.calls().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_model_that_is_not_there_is_not_found() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for client in ["python openai", "python anthropic", "python ollama"] {
        let seen = through(&pool, client, "nowhere", &["answer"]).await;

        assert_eq!(seen[0]["status"], 404, "{client}: {seen:?}");
        let message = seen[0]["message"].as_str().unwrap();
        assert!(message.contains("nowhere"), "{client}: {message}");
    }
}

/// SDKs repeat 502 twice by themselves, unless a header forbids it.
#[tokio::test]
async fn sdks_do_not_repeat_a_call_that_may_have_run() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    for client in [
        "python openai",
        "node openai",
        "python anthropic",
        "node anthropic",
    ] {
        let before = runtime.calls().await.len();
        let seen = through(&pool, client, "breaks", &["answer"]).await;

        assert_ne!(seen[0]["error"], Value::Null, "{client}: {seen:?}");
        assert_eq!(
            runtime.calls().await.len(),
            before + 1,
            "{client}: {seen:?}"
        );
    }
}

/// They repeat 503 twice by themselves, and a header invites them to.
#[tokio::test]
async fn sdks_repeat_a_call_that_certainly_did_not_run() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    let clients = [
        "python openai",
        "node openai",
        "python anthropic",
        "node anthropic",
    ];
    for client in clients {
        let before = runtime.calls().await.len();
        let seen = through(&pool, client, "fails", &["answer"]).await;

        assert_eq!(seen[0]["status"], 503, "{client}: {seen:?}");
        let calls = runtime.calls().await.len() - before;
        assert_eq!(calls, 3, "{client}: {seen:?}");
    }
    let seen = through(&pool, "python openai", "fails", &["once"]).await;
    assert_eq!(seen[0]["status"], 503, "{seen:?}");
    assert_eq!(runtime.calls().await.len(), 13);
}

#[tokio::test]
async fn an_sdk_that_leaves_ends_the_call_at_the_runtime() {
    let runtime = Runtime::scripted(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    let clients = [
        "python openai",
        "python anthropic",
        "python ollama",
        "python langchain-ollama",
        "node openai",
        "node anthropic",
        "node ollama",
    ];
    for (count, client) in clients.into_iter().enumerate() {
        let seen = through(&pool, client, "endless", &["leave"]).await;

        assert_eq!(seen[0]["text"], " more", "{client}: {seen:?}");
        runtime
            .until_calls("the call is cancelled", |calls| {
                with_end(calls, "cancelled") == count + 1
            })
            .await;
    }
}
