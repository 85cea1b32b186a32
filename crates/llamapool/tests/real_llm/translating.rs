//! Ollama's SDK before runtimes that do not have Ollama's API.

use serde_json::{Value, json};

use crate::clients::{run, through};
use crate::harness::API_KEY;
use crate::runtimes::{E5, Runtime, SMOLLM2};
use crate::workers::LlmPool;

#[tokio::test]
async fn the_ollama_sdk_talks_to_a_llama_cpp_in_the_pool() {
    let runtime = Runtime::llama_cpp(&["slots=1"]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    let asked = ["answer", "stream"];
    let direct = run("python openai", &runtime.url, API_KEY, SMOLLM2, &asked).await;
    let actions = [
        "list", "answer", "stream", "generate", "tool", "shape", "show", "resident", "leave",
    ];
    let seen = through(&pool, "python ollama", SMOLLM2, &actions).await;
    runtime.until_busy_slots(0).await;

    for seen in &seen {
        assert_eq!(seen["error"], Value::Null, "{seen}");
    }
    let [
        list,
        answer,
        stream,
        generate,
        tool,
        shape,
        show,
        resident,
        leave,
    ] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(list["models"], json!([SMOLLM2]));
    for counted in ["text", "input", "output"] {
        assert_eq!(answer[counted], direct[0][counted], "{answer}");
    }
    assert_eq!(stream["text"], direct[1]["text"]);
    assert_eq!(generate["text"], direct[0]["text"]);
    assert!(tool["calls"].is_array(), "{tool}");
    assert!(shape["value"]["done"].is_boolean(), "{shape}");
    let capabilities = show["capabilities"].as_array().unwrap();
    assert!(capabilities.contains(&json!("completion")), "{show}");
    assert_eq!(show["info"]["general.architecture"], "unknown", "{show}");
    assert_eq!(resident["models"], json!([SMOLLM2]));
    assert_ne!(leave["text"], "", "{leave}");
}

#[tokio::test]
async fn the_ollama_sdk_embeds_with_a_server_of_embeddings() {
    let runtime = Runtime::embeddings().await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    let direct = run("python openai", &runtime.url, API_KEY, E5, &["embed"]).await;
    let found = through(&pool, "python ollama", E5, &["embed"]).await;

    assert_eq!(direct[0]["lengths"], json!([384, 384]), "{direct:?}");
    assert_eq!(direct, found);
}

#[tokio::test]
async fn an_answer_of_llama_cpp_has_the_runtimes_times() {
    let runtime = Runtime::llama_cpp(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;
    let chat = json!({ "model": SMOLLM2, "messages": [{ "role": "user", "content": "Count." }],
        "options": { "num_predict": 4, "temperature": 0, "top_k": 1, "min_p": 0.1,
            "repeat_penalty": 1.1, "num_ctx": 512 } });

    let streamed = pool.ask("/api/chat", &chat).await;
    let mut whole = chat.clone();
    whole["stream"] = json!(false);
    let whole = pool.ask("/api/chat", &whole).await;

    assert_eq!(streamed.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = streamed
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for last in [lines.last().unwrap(), &whole.json()] {
        assert_eq!(last["done_reason"], "length", "{last}");
        assert_eq!(last["eval_count"], 4, "{last}");
        for time in ["total_duration", "prompt_eval_duration", "eval_duration"] {
            assert!(last[time].as_u64() > Some(0), "{time}: {last}");
        }
    }
}

/// Clients look at these before they talk to an Ollama at all.
#[tokio::test]
async fn a_pool_without_an_ollama_shows_what_clients_probe() {
    let runtime = Runtime::llama_cpp(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;
    let get = async |path: &str| -> Value {
        let request = reqwest::Client::new().get(format!("{}{path}", pool.url));
        let answer = request.bearer_auth(API_KEY).send().await.unwrap();
        answer.json().await.unwrap()
    };

    let version = get("/api/version").await;
    let numbers: Vec<u32> = version["version"]
        .as_str()
        .unwrap()
        .split('.')
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(numbers.len() == 3 && numbers >= vec![0, 6, 4], "{version}");
    let tags = get("/api/tags").await;
    let model = &tags["models"][0];
    assert_eq!(model["name"], SMOLLM2);
    assert!(
        model["capabilities"]
            .as_array()
            .unwrap()
            .contains(&json!("completion")),
        "{tags}"
    );
    assert_eq!(get("/api/ps").await["models"][0]["name"], SMOLLM2);
    let show = pool
        .ask("/api/show", &json!({ "model": SMOLLM2 }))
        .await
        .json();
    assert!(
        show["details"].is_object() && show["model_info"].is_object(),
        "{show}"
    );
    assert!(
        show["capabilities"]
            .as_array()
            .unwrap()
            .contains(&json!("completion")),
        "{show}"
    );
}

#[tokio::test]
async fn what_llama_cpp_cannot_do_is_refused_by_name() {
    let runtime = Runtime::llama_cpp(&[]).await;
    let pool = LlmPool::start().await;
    let _worker = pool.worker("alpha", &runtime).await;

    let context = json!({ "model": SMOLLM2, "prompt": "a", "context": [1, 2] });
    let refused = pool.ask("/api/generate", &context).await;
    let embed = json!({ "model": SMOLLM2, "input": "a" });
    let no_embeddings = pool.ask("/api/embed", &embed).await;
    let older = pool.ask("/api/embeddings", &embed).await;

    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.body.contains("`context`"), "{refused:?}");
    assert_eq!(no_embeddings.status, 404, "{no_embeddings:?}");
    assert_eq!(older.status, 404, "{older:?}");
    assert!(older.json()["error"].is_string(), "{older:?}");
}
