//! What a played runtime answers by itself: to polls, and to calls in the forms of the APIs.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::connection::Arrived;
use super::{PlayedRuntime, RuntimeBehaviour, Shared};

/// A step of an answer.
pub(super) enum Step {
    /// Bytes to write.
    Write(Bytes),
    /// A time to wait.
    Wait(Duration),
    /// A wait until calls are no longer held.
    UntilReleased,
    /// A wait until calls are no longer held after so many words.
    UntilReleasedAfter(usize),
}

/// Returns whether a request is a call, and not a poll.
pub(super) fn is_call(request: &Arrived) -> bool {
    request.method != "GET" && request.path != "/api/show"
}

/// Returns the answer to a poll.
pub(super) fn poll(shared: &Shared, request: &Arrived) -> Vec<u8> {
    let behaviour = shared.behaviour();
    if behaviour.polls_are_garbage {
        return whole(200, "application/json", b"{\"models\": [[[");
    }
    let path = request.path.split('?').next().unwrap_or_default();
    if path == "/" && shared.kind == PlayedRuntime::Ollama {
        return whole(200, "text/plain", b"Ollama is running");
    }
    let answer = match shared.kind {
        PlayedRuntime::Ollama => ollama_poll(&behaviour, path),
        PlayedRuntime::LlamaCpp => llama_cpp_poll(shared, &behaviour, path),
        PlayedRuntime::OpenAi => None,
    };
    let answer = answer.or_else(|| (path == "/v1/models").then(|| v1_models(&behaviour)));
    match answer {
        Some(answer) => json_answer(200, &answer),
        None => json_answer(
            404,
            &json!({"error": {"message": "File Not Found", "code": 404}}),
        ),
    }
}

fn v1_models(behaviour: &RuntimeBehaviour) -> Value {
    let models = behaviour.models.iter();
    let models = models.map(|model| json!({"id": model.name, "object": "model", "created": 1}));
    json!({"object": "list", "data": models.collect::<Vec<_>>()})
}

fn ollama_poll(behaviour: &RuntimeBehaviour, path: &str) -> Option<Value> {
    let listed = |is_wanted: fn(&super::RuntimeModel) -> bool| {
        let models = behaviour.models.iter().filter(|model| is_wanted(model));
        let models = models.map(|model| {
            json!({"name": model.name, "model": model.name, "digest": model.digest, "size": 1000,
                "context_length": model.context,
                "details": {"family": "llama", "parameter_size": "1B", "quantization_level": "Q4_0"}})
        });
        json!({"models": models.collect::<Vec<_>>()})
    };
    match path {
        "/api/version" => Some(json!({"version": "0.17.4"})),
        "/api/tags" => Some(listed(|_| true)),
        "/api/ps" => Some(listed(|model| model.is_resident)),
        "/api/show" => Some(json!({
            "parameters": "num_ctx                        2048",
            "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
            "capabilities": ["completion", "tools"],
        })),
        _ => None,
    }
}

fn llama_cpp_poll(shared: &Shared, behaviour: &RuntimeBehaviour, path: &str) -> Option<Value> {
    match path {
        "/props" => Some(json!({"total_slots": behaviour.slots, "is_sleeping": false,
            "build_info": "b7062", "modalities": {"vision": false, "audio": false},
            "chat_template_caps": {"supports_tools": true}})),
        "/slots" => {
            let calls = shared.calls.lock();
            let running = calls.iter().filter(|call| call.end.is_none()).count() as u32;
            let busy = running + *shared.kept_slots.lock() + behaviour.busy_elsewhere;
            let busy = if behaviour.shows_idle_slots { 0 } else { busy };
            let slots = (0..behaviour.slots.max(busy))
                .map(|id| json!({"id": id, "is_processing": id < busy}));
            Some(slots.collect())
        }
        "/v1/models" => {
            let models = behaviour.models.iter().map(|model| {
                json!({"id": model.name, "object": "model", "created": 1,
                    "meta": {"n_ctx": model.context, "n_ctx_train": 8192, "n_params": 1000, "size": 2000}})
            });
            Some(json!({"object": "list", "data": models.collect::<Vec<_>>()}))
        }
        _ => None,
    }
}

/// Returns the steps of the answer to a call.
pub(super) fn steps(shared: &Shared, request: &Arrived) -> Vec<Step> {
    let behaviour = shared.behaviour();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.path.split('?').next().unwrap_or_default();
    let model = body["model"].as_str().unwrap_or_default();
    if !behaviour.models.iter().any(|known| known.name == model) {
        let message = format!("model '{model}' not found");
        let error = json!({"error": {"message": message, "type": "api_error", "code": null}});
        return vec![Step::Write(json_answer(404, &error).into())];
    }

    let is_native = path.starts_with("/api/");
    let streams = body["stream"].as_bool().unwrap_or(is_native);
    let answer = Answer {
        behaviour: &behaviour,
        kind: shared.kind,
        body: &body,
        model,
    };
    match path {
        "/v1/chat/completions" if streams => answer.streamed(Answer::chat_event, Answer::chat_end),
        "/v1/chat/completions" => answer.at_once(answer.chat()),
        "/v1/completions" if streams => answer.streamed(Answer::text_event, Answer::text_end),
        "/v1/completions" => answer.at_once(answer.completion()),
        "/api/chat" if streams => answer.streamed(Answer::native_line, Answer::native_end),
        "/api/chat" => answer.at_once(answer.native()),
        "/v1/embeddings" => answer.at_once(answer.embeddings()),
        _ => {
            let error = json!({"error": {"message": "File Not Found", "code": 404}});
            vec![Step::Write(json_answer(404, &error).into())]
        }
    }
}

/// The answer to one call.
struct Answer<'a> {
    behaviour: &'a RuntimeBehaviour,
    kind: PlayedRuntime,
    body: &'a Value,
    model: &'a str,
}

impl Answer<'_> {
    fn streamed(
        &self,
        word: fn(&Self, &str) -> String,
        end: fn(&Self) -> Vec<String>,
    ) -> Vec<Step> {
        let behaviour = self.behaviour;
        let is_native = !word(self, "").starts_with("data:");
        let content_type = if is_native {
            "application/x-ndjson"
        } else {
            "text/event-stream"
        };
        let mut steps = vec![Step::Write(chunked_head(content_type).into())];
        let write = |text: String| Step::Write(chunk(text.as_bytes()).into());

        if self.body["return_progress"] == true {
            let total = behaviour.prompt_tokens;
            let batches = behaviour.prompt_batches;
            for batch in 1..=batches {
                let processed = total * batch / (batches + 1);
                let progress =
                    json!({"total": total, "cache": 0, "processed": processed, "time_ms": 1});
                let event = json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": null},
                    "finish_reason": null}], "prompt_progress": progress});
                if batch > 1 {
                    steps.push(Step::Wait(behaviour.first_delay));
                }
                steps.push(write(format!("data: {event}\n\n")));
            }
        }
        steps.push(Step::Wait(behaviour.first_delay));
        steps.push(Step::UntilReleased);
        for (number, text) in behaviour.words.iter().enumerate() {
            steps.push(Step::UntilReleasedAfter(number));
            steps.push(write(word(self, text)));
            steps.push(Step::Wait(behaviour.word_delay));
        }
        steps.push(Step::UntilReleasedAfter(behaviour.words.len()));
        steps.extend(end(self).into_iter().map(write));
        steps.push(Step::Write(Bytes::from_static(b"0\r\n\r\n")));
        steps
    }

    fn at_once(&self, answer: Value) -> Vec<Step> {
        let behaviour = self.behaviour;
        let words = u32::try_from(behaviour.words.len()).unwrap_or(u32::MAX);
        vec![
            Step::Wait(behaviour.first_delay + behaviour.word_delay * words),
            Step::UntilReleased,
            Step::Write(json_answer(200, &answer).into()),
        ]
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
            "model": self.model, "choices": choices})
    }

    fn usage(&self) -> Value {
        let behaviour = self.behaviour;
        let completion = behaviour.words.len() as u64;
        json!({"prompt_tokens": behaviour.prompt_tokens, "completion_tokens": completion,
            "total_tokens": behaviour.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": behaviour.cached_tokens}})
    }

    fn timings(&self) -> Value {
        let behaviour = self.behaviour;
        let read = behaviour
            .prompt_tokens
            .saturating_sub(behaviour.cached_tokens);
        json!({"prompt_n": read,
            "cache_n": behaviour.cached_tokens, "predicted_n": behaviour.words.len()})
    }

    fn chat_event(&self, word: &str) -> String {
        let choice = json!([{"index": 0, "delta": {"content": word}, "finish_reason": null}]);
        format!("data: {}\n\n", self.chunk(choice))
    }

    /// The end of a stream of chat, with usage where it is asked for, and timings on llama.cpp.
    fn chat_end(&self) -> Vec<String> {
        let wants_usage = self.body["stream_options"]["include_usage"] == true;
        let mut last = self.chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]));
        let mut usage = self.chunk(json!([]));
        usage["usage"] = self.usage();
        if self.kind == PlayedRuntime::LlamaCpp {
            let carrier = if wants_usage { &mut usage } else { &mut last };
            carrier["timings"] = self.timings();
        }

        let mut events = vec![format!("data: {last}\n\n")];
        if wants_usage {
            events.push(format!("data: {usage}\n\n"));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn chat(&self) -> Value {
        let content = self.behaviour.words.concat();
        let message = json!({"role": "assistant", "content": content});
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": self.usage()})
    }

    fn text_event(&self, word: &str) -> String {
        let choice = json!([{"index": 0, "text": word, "finish_reason": null}]);
        let event = json!({"id": "cmpl-1", "object": "text_completion", "model": self.model,
            "choices": choice});
        format!("data: {event}\n\n")
    }

    fn text_end(&self) -> Vec<String> {
        let mut event = json!({"id": "cmpl-1", "object": "text_completion", "model": self.model,
            "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]});
        event["usage"] = self.usage();
        vec![format!("data: {event}\n\n"), "data: [DONE]\n\n".to_owned()]
    }

    fn completion(&self) -> Value {
        let choice =
            json!({"index": 0, "text": self.behaviour.words.concat(), "finish_reason": "stop"});
        json!({"id": "cmpl-1", "object": "text_completion", "model": self.model,
            "choices": [choice], "usage": self.usage()})
    }

    fn native_line(&self, word: &str) -> String {
        let message = json!({"role": "assistant", "content": word});
        let line = json!({"model": self.model, "message": message, "done": false});
        format!("{line}\n")
    }

    fn native_end(&self) -> Vec<String> {
        let mut line = self.native();
        line["message"]["content"] = json!("");
        vec![format!("{line}\n")]
    }

    fn native(&self) -> Value {
        let message = json!({"role": "assistant", "content": self.behaviour.words.concat()});
        json!({"model": self.model, "message": message, "done": true, "done_reason": "stop",
            "prompt_eval_count": self.behaviour.prompt_tokens,
            "eval_count": self.behaviour.words.len()})
    }

    fn embeddings(&self) -> Value {
        let inputs = self.body["input"].as_array().map_or(1, Vec::len);
        let data = (0..inputs)
            .map(|index| json!({"object": "embedding", "index": index, "embedding": [0.5, 0.25]}));
        let tokens = self.behaviour.prompt_tokens;
        json!({"object": "list", "model": self.model, "data": data.collect::<Vec<_>>(),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
    }
}

/// Returns an answer with a JSON body.
fn json_answer(status: u16, body: &Value) -> Vec<u8> {
    whole(status, "application/json", body.to_string().as_bytes())
}

/// Returns an answer with a length.
pub(super) fn whole(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         access-control-allow-origin: *\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Returns the head of an answer of unknown length.
pub(super) fn chunked_head(content_type: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\
         access-control-allow-origin: *\r\n\r\n"
    )
}

/// Returns a piece of a body of unknown length.
pub(super) fn chunk(piece: &[u8]) -> Vec<u8> {
    let size = format!("{:x}\r\n", piece.len());
    [size.as_bytes(), piece, b"\r\n"].concat()
}
