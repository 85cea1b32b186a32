//! README.md's section on LLM runtimes, as a newcomer runs it.
//!
//! The one rule: every replaced text is listed here, and must be there. The address of the runtime is set, because it has a port of its
//! own here and not the usual one.

use serde_json::{Value, json};

use crate::harness::{Pool, Process};
use crate::parts::root;
use crate::runtimes::{Runtime, SMOLLM2, chat};
use crate::shell::{bash, blocks};
use crate::workers::send;

#[tokio::test]
async fn the_worker_of_the_readme_serves_the_models_of_its_runtime() {
    let document = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = document.split_once("\n## A GPU of yours\n").unwrap();
    let section = blocks(rest.split("\n## ").next().unwrap());
    let [line] = &section[..] else {
        panic!("one block, found {section:?}")
    };
    let runtime = Runtime::llama_cpp(&[]).await;
    let pool = Pool::start().await;

    let mut line = line.clone();
    let server = pool.url.replace("http", "ws");
    for (text, here) in [
        (
            "llamapool worker",
            concat!("exec ", env!("CARGO_BIN_EXE_llamapool"), " worker"),
        ),
        ("ws://server.example:8080", &*server),
    ] {
        assert!(line.contains(text), "there is no {text} in:\n{line}");
        line = line.replace(text, here);
    }
    let mut worker = bash(&line);
    worker
        .env("COMPLETION_BASE_URL", &runtime.url)
        .env("STATUS_ADDR", "off");
    let _worker = Process::start(worker);

    let is_listed = |state: &Value| {
        let mut models = state["models"].as_array().into_iter().flatten();
        models.any(|model| model["name"] == SMOLLM2)
    };
    pool.until("the model is listed", is_listed).await;
    let body = chat(SMOLLM2, "Hi", 4);
    let answer = send(&pool.url, "/v1/chat/completions", &body).await;
    let answer: Value = answer.json().await.unwrap();
    let text = &answer["choices"][0]["message"]["content"];
    assert_ne!(*text, json!(""), "{answer}");
    assert!(text.is_string(), "{answer}");
}
