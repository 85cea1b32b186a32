//! Ollama's API made of OpenAI's: each member of requests and answers, as exact bytes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod mutated;
mod requests;
mod streams;

use std::time::{Duration, SystemTime};

use llamapool_dialect::{
    AnswerTimes, Endpoint, RuntimeExtensions, TranslatedRequest, translate_request,
};
use serde_json::{Value, json};

/// What llama.cpp has.
const LLAMA_CPP: RuntimeExtensions = RuntimeExtensions {
    repeat_penalty: Some("repeat_penalty"),
    template_arguments: true,
};
/// A runtime with OpenAI's API alone.
const PLAIN: RuntimeExtensions = RuntimeExtensions {
    repeat_penalty: None,
    template_arguments: false,
};

/// The times of every answer here.
fn times() -> AnswerTimes {
    AnswerTimes {
        at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_644_861_250_000),
        elapsed: Duration::from_millis(1500),
    }
}

fn translate(endpoint: Endpoint, body: &str) -> TranslatedRequest {
    translate_request(endpoint, body.as_bytes(), &LLAMA_CPP).unwrap()
}

/// Returns the body that a chat of one message with these members is translated to.
fn chat_with(members: &Value, extensions: &RuntimeExtensions) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    let body = body.to_string();
    let translated = translate_request(Endpoint::OllamaChat, body.as_bytes(), extensions);
    serde_json::from_slice(&translated.unwrap().body).unwrap()
}
