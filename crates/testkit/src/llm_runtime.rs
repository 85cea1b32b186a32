//! An LLM runtime that a test plays: like Ollama, like llama.cpp, or with OpenAI's API alone. It
//! records what reaches it, and which connections are closed on it.
//!
//! It answers by itself as a runtime does, a word after the other. A test that needs another answer,
//! or a fault, adds a [`RuntimeReply`].

mod answers;
mod connection;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::soon;

/// The kind of runtime that is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayedRuntime {
    /// Ollama.
    Ollama,
    /// The server of llama.cpp.
    LlamaCpp,
    /// A runtime with OpenAI's API and nothing else.
    OpenAi,
}

/// A running LLM runtime. Dropping it ends it.
pub struct LlmRuntime {
    /// Its URL, without a path.
    pub url: String,
    /// Its address.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinSet<()>,
}

/// The way in which a runtime behaves. All of it may change at any time.
#[derive(Debug, Clone)]
pub struct RuntimeBehaviour {
    /// Its models.
    pub models: Vec<RuntimeModel>,
    /// Its slots (llama.cpp).
    pub slots: u32,
    /// Slots that others use (llama.cpp).
    pub busy_elsewhere: u32,
    /// Whether a slot stays busy when the connection of its call is lost, until
    /// [`LlmRuntime::free_slots`] (llama.cpp).
    pub keeps_slots: bool,
    /// Whether all slots are shown as idle, whatever runs (llama.cpp).
    pub shows_idle_slots: bool,
    /// The words of each answer.
    pub words: Vec<String>,
    /// Tokens of each prompt, as the runtime counts them.
    pub prompt_tokens: u64,
    /// Tokens of each prompt that come from the cache.
    pub cached_tokens: u64,
    /// The batches in which it reads a prompt, for each of which it reports its progress (llama.cpp).
    pub prompt_batches: u64,
    /// The time before the first word, and between two batches.
    pub first_delay: Duration,
    /// The time between two words.
    pub word_delay: Duration,
    /// Whether it waits before the first word until this is false.
    pub is_held: bool,
    /// The numbers of words after which it waits until this is `None`.
    pub held_after: Option<usize>,
    /// Answers in the place of its own, each for one call, the first one first.
    pub replies: VecDeque<RuntimeReply>,
    /// Whether polls are answered with what no runtime sends.
    pub polls_are_garbage: bool,
}

/// A model of a runtime.
#[derive(Debug, Clone)]
pub struct RuntimeModel {
    /// Its name.
    pub name: String,
    /// The digest of its weights (Ollama).
    pub digest: String,
    /// Its context in tokens.
    pub context: u64,
    /// Whether it is loaded (Ollama).
    pub is_resident: bool,
}

/// An answer that a test chose.
#[derive(Debug, Clone)]
pub enum RuntimeReply {
    /// A status, a content type and a body with its length.
    Whole(u16, String, Bytes),
    /// A content type and the pieces of a body of unknown length, with the status 200.
    Pieces(String, Vec<Bytes>, ReplyEnd),
    /// These bytes, and the end of the connection.
    Raw(Bytes),
}

/// The end of a body of unknown length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyEnd {
    /// As HTTP ends a body.
    Orderly,
    /// The connection ends without it.
    Broken,
    /// It never comes, nor does anything else.
    Silent,
    /// These bytes follow, again and again.
    Endless(Bytes),
}

/// A call that reached a runtime.
#[derive(Debug, Clone)]
pub struct RuntimeCall {
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Its end, `None` while it runs.
    pub end: Option<RuntimeCallEnd>,
}

/// The end of a call, as the runtime sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeCallEnd {
    /// It was answered to the end.
    Answered,
    /// The other side closed the connection.
    Closed,
    /// The runtime broke it off.
    Broken,
}

/// What the connections of a runtime share.
struct Shared {
    kind: PlayedRuntime,
    behaviour: Mutex<RuntimeBehaviour>,
    calls: Mutex<Vec<RuntimeCall>>,
    polls: Mutex<Vec<String>>,
    kept_slots: Mutex<u32>,
    /// Counts changes of the calls and of the behaviour.
    changes: watch::Sender<u64>,
}

impl RuntimeModel {
    /// A model that is loaded.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            digest: format!("digest-of-{name}"),
            context: 4096,
            is_resident: true,
        }
    }
}

impl Default for RuntimeBehaviour {
    fn default() -> Self {
        Self {
            models: vec![RuntimeModel::named("m")],
            slots: 2,
            busy_elsewhere: 0,
            keeps_slots: false,
            shows_idle_slots: false,
            words: ["Hello", " you", "."].map(str::to_owned).to_vec(),
            prompt_tokens: 12,
            cached_tokens: 5,
            prompt_batches: 1,
            first_delay: Duration::ZERO,
            word_delay: Duration::ZERO,
            is_held: false,
            held_after: None,
            replies: VecDeque::new(),
            polls_are_garbage: false,
        }
    }
}

impl RuntimeReply {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: &str) -> Self {
        let body = Bytes::from(body.to_owned());
        Self::Whole(status, "application/json".to_owned(), body)
    }

    /// Server-sent events, each text with the blank line behind it.
    pub fn events(data: &[&str], end: ReplyEnd) -> Self {
        let pieces = data
            .iter()
            .map(|data| Bytes::from(format!("data: {data}\n\n")));
        Self::Pieces("text/event-stream".to_owned(), pieces.collect(), end)
    }
}

impl LlmRuntime {
    /// Starts a runtime with one model, `m`.
    pub async fn start(kind: PlayedRuntime) -> Self {
        Self::with(kind, |_| {}).await
    }

    /// Starts a runtime whose behaviour is changed by `configure` first.
    pub async fn with(kind: PlayedRuntime, configure: impl FnOnce(&mut RuntimeBehaviour)) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut behaviour = RuntimeBehaviour::default();
        configure(&mut behaviour);
        let shared = Arc::new(Shared {
            kind,
            behaviour: Mutex::new(behaviour),
            calls: Mutex::default(),
            polls: Mutex::default(),
            kept_slots: Mutex::new(0),
            changes: watch::Sender::new(0),
        });

        let mut server = JoinSet::new();
        server.spawn(connection::accept(listener, shared.clone()));
        Self {
            url: format!("http://{address}"),
            address,
            shared,
            server,
        }
    }

    /// Ends the runtime. Its port refuses connections from then on.
    pub async fn stop(mut self) {
        self.server.shutdown().await;
    }

    /// Changes the behaviour. Calls that are held look at it again.
    pub fn change(&self, change: impl FnOnce(&mut RuntimeBehaviour)) {
        change(&mut self.shared.behaviour.lock());
        self.shared.changed();
    }

    /// Adds an answer for one call.
    pub fn reply(&self, reply: RuntimeReply) {
        self.change(|behaviour| behaviour.replies.push_back(reply));
    }

    /// Frees the slots of calls whose connection was lost.
    pub fn free_slots(&self) {
        *self.shared.kept_slots.lock() = 0;
        self.shared.changed();
    }

    /// Returns the calls so far, in the order of their arrival.
    pub fn calls(&self) -> Vec<RuntimeCall> {
        self.shared.calls.lock().clone()
    }

    /// Returns the methods and paths of the polls so far, such as `GET /api/ps`.
    pub fn polls(&self) -> Vec<String> {
        self.shared.polls.lock().clone()
    }

    /// Waits for the call of a number, from 0, and returns it.
    pub async fn call(&self, number: usize) -> RuntimeCall {
        let what = format!("call {number} reaches the runtime");
        self.until(&what, |calls| calls.get(number).cloned()).await
    }

    /// Waits for the end of the call of a number, from 0.
    pub async fn ended(&self, number: usize) -> RuntimeCallEnd {
        let what = format!("call {number} ends at the runtime");
        self.until(&what, |calls| calls.get(number)?.end).await
    }

    async fn until<T>(&self, what: &str, find: impl Fn(&[RuntimeCall]) -> Option<T>) -> T {
        let mut changes = self.shared.changes.subscribe();
        let found = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = find(&self.shared.calls.lock()) {
                    return found;
                }
                changes.changed().await.expect("the runtime lives");
            }
        };
        soon(what, found).await
    }
}

impl Shared {
    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn behaviour(&self) -> RuntimeBehaviour {
        self.behaviour.lock().clone()
    }

    /// Waits until the behaviour satisfies a condition.
    async fn until(&self, is_so: impl Fn(&RuntimeBehaviour) -> bool) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if is_so(&self.behaviour.lock()) {
                return;
            }
            // The sender lives as long as this.
            let _ = changes.changed().await;
        }
    }
}
