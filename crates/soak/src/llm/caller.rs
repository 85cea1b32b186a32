//! A caller of the LLM API: sends calls and records each with what arrived and its end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::history::{LlmCall, LlmEnd, LlmOutcome, Refusal};
use super::runtime::MODEL;
use super::script::CallScript;
use crate::history::Millis;

/// The time after which a caller gives up: later than any call may end, so that the history shows when
/// it did.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all callers of a window share.
#[derive(Clone)]
pub(super) struct Setting {
    /// The URL of the server.
    pub(super) url: String,
    pub(super) api_key: &'static str,
    /// The start of the run, from which times are counted.
    pub(super) epoch: Instant,
    /// The runtimes at which something may go wrong.
    pub(super) runtimes: Vec<String>,
    pub(super) recorder: Arc<Mutex<Vec<LlmCall>>>,
}

/// Calls, one after the other, until `stop` is true.
pub(super) async fn run(
    setting: Setting,
    name: String,
    mut rng: StdRng,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut number = 0_u32;
    while !*stop.borrow_and_update() {
        let nonce = format!("{name}n{number}");
        number += 1;
        let call = CallScript::draw(&mut rng, nonce, &setting.runtimes);
        send(&setting, &http, &call).await;
    }
    Ok(())
}

/// Sends one call and records it. Returns its end.
pub(super) async fn send(
    setting: &Setting,
    http: &reqwest::Client,
    call: &CallScript,
) -> LlmOutcome {
    let began = now(setting);
    let mut text = String::new();
    let leaves = call.leave_after.unwrap_or(PATIENCE);
    let answered = tokio::time::timeout(leaves, exchange(setting, http, call, &mut text)).await;
    let outcome = match (answered, call.leave_after) {
        (Ok(outcome), _) => outcome,
        (Err(_), Some(_)) => LlmOutcome::Left,
        (Err(_), None) => LlmOutcome::Hung,
    };

    let end = LlmEnd {
        at: now(setting),
        outcome: outcome.clone(),
    };
    setting.recorder.lock().push(LlmCall {
        nonce: call.script.nonce.clone(),
        began,
        text,
        ends: vec![end],
    });
    outcome
}

/// Sends a call and reads its answer. The content is appended to `text` as it arrives.
async fn exchange(
    setting: &Setting,
    http: &reqwest::Client,
    call: &CallScript,
    text: &mut String,
) -> LlmOutcome {
    let mut body = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Go." }],
        "stream": call.stream,
        "script": call.script,
    });
    if call.tools {
        let function = json!({ "name": "f", "parameters": { "type": "object" } });
        body["tools"] = json!([{ "type": "function", "function": function }]);
    }
    let request = http
        .post(format!("{}/v1/chat/completions", setting.url))
        .bearer_auth(setting.api_key)
        .header("x-request-id", &call.script.nonce)
        .header("content-type", "application/json")
        .body(body.to_string());
    let Ok(response) = request.send().await else {
        return LlmOutcome::NoAnswer;
    };

    if response.status() != 200 {
        return refused(&response);
    }
    if call.stream {
        return read_stream(response, text).await;
    }
    let Ok(answer) = response.json::<Value>().await else {
        return LlmOutcome::Broken(None);
    };
    let content = &answer["choices"][0]["message"]["content"];
    text.push_str(content.as_str().unwrap_or_default());
    LlmOutcome::Whole
}

fn refused(response: &reqwest::Response) -> LlmOutcome {
    let header = |name: &str| {
        let value = response.headers().get(name);
        let value = value.and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    LlmOutcome::Refused(Refusal {
        status: response.status().as_u16(),
        word: header("llamapool-error"),
        should_retry: header("x-should-retry") == "true",
    })
}

async fn read_stream(response: reqwest::Response, text: &mut String) -> LlmOutcome {
    let mut pieces = response.bytes_stream();
    let mut rest: Vec<u8> = Vec::new();
    let mut is_done = false;
    let mut error = None;
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            return LlmOutcome::Broken(error);
        };
        rest.extend_from_slice(&piece);
        while let Some(at) = memchr::memchr(b'\n', &rest) {
            let line: Vec<u8> = rest.drain(..=at).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(data) = line.trim_end().strip_prefix("data: ") else {
                continue;
            };
            is_done |= data == "[DONE]";
            let data: Value = serde_json::from_str(data).unwrap_or_default();
            if let Some(content) = data["choices"][0]["delta"]["content"].as_str() {
                text.push_str(content);
            }
            if data["error"].is_object() {
                let word = data["error"]["code"].as_str().unwrap_or_default();
                error = Some(word.to_owned());
            }
        }
    }
    match (is_done, error) {
        (true, None) => LlmOutcome::Whole,
        (_, Some(word)) => LlmOutcome::Broken(Some(word)),
        (false, None) => LlmOutcome::Endless,
    }
}

fn now(setting: &Setting) -> Millis {
    let elapsed = setting.epoch.elapsed().as_millis();
    Millis::try_from(elapsed).unwrap_or(Millis::MAX)
}
