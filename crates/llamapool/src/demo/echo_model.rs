//! The demo's LLM runtime: one model, which repeats what it was asked last.
//!
//! It speaks the part of OpenAI's API that every runtime has, whole and streamed, and contains nothing of
//! llamapool, so that the demo shows what any runtime would.

use std::net::Ipv4Addr;

use anyhow::Context;
use axum::Router;
use axum::extract::Json;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The name of the model.
pub(super) const MODEL: &str = "echo";

/// The LLM runtime, on a loopback port that was free.
pub(super) struct EchoModel {
    listener: TcpListener,
}

/// A request for an answer in a conversation.
#[derive(Deserialize)]
struct ChatRequest {
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
}

/// A message of the conversation.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
}

/// What a stream has besides the answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: bool,
}

impl EchoModel {
    /// Binds a free port on loopback.
    pub(super) async fn bind() -> anyhow::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        })
    }

    /// Returns the URL of the runtime.
    pub(super) fn url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}", self.listener.local_addr()?))
    }

    /// Serves until it is dropped, or fails.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let routes = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(chat));

        axum::serve(self.listener, routes)
            .await
            .context("the connection")
    }
}

async fn models() -> Json<Value> {
    let model = json!({ "id": MODEL, "object": "model", "created": 0, "owned_by": "demo" });
    Json(json!({ "object": "list", "data": [model] }))
}

/// Answers with the last message. A token is a word here.
async fn chat(Json(request): Json<ChatRequest>) -> Response {
    let asked: Vec<String> = request.messages.iter().map(Message::text).collect();
    let text = asked.last().cloned().unwrap_or_default();

    let prompt: usize = asked.iter().map(|text| words(text).count()).sum();
    let completion = words(&text).count();
    let usage = json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    });

    if request.stream {
        let usage = request.stream_options.include_usage.then_some(usage);
        return ([(CONTENT_TYPE, "text/event-stream")], events(&text, usage)).into_response();
    }
    let choice = json!({
        "index": 0,
        "message": { "role": "assistant", "content": text },
        "finish_reason": "stop",
    });
    let mut answer = envelope("chat.completion", json!([choice]));
    answer["usage"] = usage;
    Json(answer).into_response()
}

/// Returns the events of a streamed answer, one for each word.
fn events(text: &str, usage: Option<Value>) -> String {
    let chunk = |delta: Value, finish_reason: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
        envelope("chat.completion.chunk", json!([choice]))
    };
    let mut chunks = vec![chunk(json!({ "role": "assistant", "content": "" }), None)];
    chunks.extend(words(text).map(|word| chunk(json!({ "content": word }), None)));
    chunks.push(chunk(json!({}), Some("stop")));

    if let Some(usage) = usage {
        let mut last = envelope("chat.completion.chunk", json!([]));
        last["usage"] = usage;
        chunks.push(last);
    }
    let events: String = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    events + "data: [DONE]\n\n"
}

fn envelope(object: &str, choices: Value) -> Value {
    json!({
        "id": "chatcmpl-demo",
        "object": object,
        "created": 0,
        "model": MODEL,
        "choices": choices,
    })
}

/// Splits a text into words, each with the space behind it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

impl Message {
    /// Returns the text of the message, whose content may be a list of parts.
    fn text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect(),
            _ => String::new(),
        }
    }
}
