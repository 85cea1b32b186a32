//! What the tests of the LLM API share.

use llamapool_identity::{CallerRights, Key, Rights, digest_of};
use llamapool_server::LlmConfig;
use llamapool_testkit::{
    API_KEY, Answer, PendingCall, Pool, ScriptedWorker, ServerConfig, WorkerSetup, soon,
};
use serde_json::{Value, json};

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const CHUNK: &str =
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";
pub(crate) const COMPLETION: &str =
    r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"content":"hi"}}]}"#;

/// Starts a server whose settings of the LLM API are changed by `configure` first.
pub(crate) async fn server(configure: impl FnOnce(&mut LlmConfig)) -> Pool {
    Pool::with(|config: &mut ServerConfig| configure(&mut config.llm)).await
}

/// Starts a server, and connects a worker with the model `m` and so many slots.
pub(crate) async fn server_with_worker(slots: u32) -> (Pool, ScriptedWorker) {
    let server = server(|_| {}).await;
    let worker = worker(&server, "alpha", slots).await;
    (server, worker)
}

/// Returns a declared key for all models, changed by `configure`. Its secret is `key-of-` and its name.
pub(crate) fn key(name: &str, configure: impl FnOnce(&mut CallerRights)) -> Key {
    let mut rights = CallerRights {
        models: vec!["*".to_owned()],
        ..CallerRights::default()
    };
    configure(&mut rights);
    let secret = format!("key-of-{name}");
    Key::declared(name, Rights::Caller(rights), digest_of(secret.as_bytes())).expect("a name")
}

/// Starts a server with these declared keys.
pub(crate) async fn server_with_keys(keys: Vec<Key>) -> Pool {
    Pool::with(|config: &mut ServerConfig| config.identity.declared.keys = keys).await
}

/// Connects a worker with the model `m`.
pub(crate) async fn worker(server: &Pool, id: &str, slots: u32) -> ScriptedWorker {
    ScriptedWorker::connect(server, id, WorkerSetup::new(&["m"], slots)).await
}

/// Returns a request for a chat with the model `m`.
pub(crate) fn chat(stream: bool) -> Value {
    json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": "hi" }] })
}

/// Builds a request with the API key.
pub(crate) fn request(server: &Pool, path: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = server.http.post(format!("{}{path}", server.url));
    request.bearer_auth(API_KEY).json(body)
}

/// Starts a call that runs on its own.
pub(crate) fn start(server: &Pool, path: &str, body: &Value) -> PendingCall {
    PendingCall::start(request(server, path, body))
}

/// Waits for the answer of a call, and reads it to its end.
pub(crate) async fn read(call: &mut PendingCall) -> Answer {
    Answer::read(call.answer().await).await
}

/// Sends a call, and reads its answer to its end.
pub(crate) async fn call(server: &Pool, path: &str, body: &Value) -> Answer {
    read(&mut start(server, path, body)).await
}

/// Reads a body until it breaks off or ends. Returns its text, and whether it ended well.
pub(crate) async fn read_broken(mut answer: reqwest::Response) -> (String, bool) {
    let mut text = Vec::new();
    loop {
        match soon("a piece of the answer", answer.chunk()).await {
            Ok(Some(piece)) => text.extend_from_slice(&piece),
            Ok(None) => return (String::from_utf8(text).expect("UTF-8"), true),
            Err(_) => return (String::from_utf8(text).expect("UTF-8"), false),
        }
    }
}

/// Waits until so many calls wait.
pub(crate) async fn until_waiting(server: &Pool, number: u64) {
    let what = format!("{number} calls wait");
    server
        .until(&what, |state| {
            state["server"]["scheduler_queue_len"] == number
        })
        .await;
}
