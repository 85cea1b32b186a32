//! A worker in front of llama.cpp's router: many models, of which some are loaded, and changes that it
//! pushes. Its answers are those that llama.cpp's documentation shows.

use std::sync::Arc;
use std::time::Duration;

use llamapool_testkit::{llm_provider, read_head, soon};
use llamapool_wire::Event;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Worker;

/// The state of the router: the statuses of its models, and what it has pushed.
#[derive(Debug, Clone)]
struct Router {
    /// The name of each model with its status.
    models: Vec<(&'static str, &'static str)>,
    /// What is pushed, each as an event.
    pushed: Vec<String>,
}

/// A running router. Dropping it ends it.
struct PlayedRouter {
    url: String,
    state: Arc<watch::Sender<Router>>,
    asked: watch::Receiver<Vec<String>>,
    _tasks: JoinSet<()>,
}

impl PlayedRouter {
    async fn start(models: &[(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router {
            models: models.to_vec(),
            pushed: Vec::new(),
        };
        let state = Arc::new(watch::Sender::new(router));
        let (asking, asked) = watch::channel(Vec::new());
        let mut tasks = JoinSet::new();
        let shared = state.clone();
        tasks.spawn(async move {
            let mut calls = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                calls.spawn(answer(stream, shared.clone(), asking.clone()));
            }
        });
        Self {
            url,
            state,
            asked,
            _tasks: tasks,
        }
    }

    /// Changes the statuses of models, and pushes an event.
    fn push(&self, models: &[(&'static str, &'static str)], event: &Value) {
        self.state.send_modify(|router| {
            router.models = models.to_vec();
            router.pushed.push(format!("data: {event}\n\n"));
        });
    }

    /// Waits until a path was asked for.
    async fn asked_for(&mut self, path: &str) {
        let wanted = |asked: &Vec<String>| asked.iter().any(|one| one == path);
        soon("a path is asked for", self.asked.wait_for(wanted))
            .await
            .unwrap();
    }
}

/// Answers one request, and ends the connection.
async fn answer(
    mut stream: TcpStream,
    state: Arc<watch::Sender<Router>>,
    asking: watch::Sender<Vec<String>>,
) {
    let head = read_head(&mut stream).await;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asking.send_modify(|asked| asked.push(path.clone()));
    if path == "/models/sse" {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        if stream.write_all(head.as_bytes()).await.is_ok() {
            push(stream, state.subscribe()).await;
        }
        return;
    }

    let router = state.borrow().clone();
    let (status, body) = poll(&router, &path);
    let head = format!(
        "HTTP/1.1 {status} X\r\nServer: llama.cpp\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.to_string().len()
    );
    drop(stream.write_all(head.as_bytes()).await);
}

/// Sends what is pushed from now on.
async fn push(mut stream: TcpStream, mut state: watch::Receiver<Router>) {
    let mut sent = state.borrow_and_update().pushed.len();
    while state.changed().await.is_ok() {
        let new: String = state.borrow_and_update().pushed[sent..].concat();
        sent = state.borrow().pushed.len();
        if stream.write_all(new.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn poll(router: &Router, path: &str) -> (u16, Value) {
    let is_loaded = |name: &str| router.models.contains(&(name, "loaded"));
    match path {
        "/props" => (
            200,
            json!({"role": "router", "max_instances": 4, "models_autoload": true,
            "build_info": "b11337"}),
        ),
        "/v1/models" | "/models" => {
            let models = router.models.iter().map(|(name, status)| {
                let mut model = json!({"id": name, "status": {"value": status}});
                if *status == "loaded" {
                    model["meta"] = json!({"n_ctx": 4096, "n_params": 1000, "size": 2000});
                }
                model
            });
            (200, json!({"data": models.collect::<Vec<_>>()}))
        }
        "/slots?model=org%2Fa%3AQ4&autoload=false" if is_loaded("org/a:Q4") => (
            200,
            json!([{"id": 0, "is_processing": true}, {"id": 1, "is_processing": false},
                {"id": 2, "is_processing": false}]),
        ),
        // Asked for without `autoload=false`, it would load the model.
        path if path.starts_with("/slots?") => (400, json!({"error": {"code": 400}})),
        _ => (404, json!({"error": {"code": 404}})),
    }
}

#[tokio::test]
async fn models_of_a_router_are_loaded_or_not_and_share_slots() {
    let router = PlayedRouter::start(&[
        ("org/a:Q4", "loaded"),
        ("b", "unloaded"),
        ("c", "loading"),
        ("d", "sleeping"),
        ("e", "downloading"),
    ])
    .await;
    let mut worker = Worker::unready(&router.url, |_| {}).await;

    let llm = worker
        .events
        .find(|event| match event {
            Event::Offer(offer) => offer.llm.filter(|llm| llm.max_concurrency != 2),
            _ => None,
        })
        .await;
    let models = worker.events.models().await.models;
    let load = worker
        .events
        .find(|event| match event {
            Event::Load(load) if !load.resident.is_empty() => Some(load),
            _ => None,
        })
        .await;

    let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["org/a:Q4", "b", "c", "d"], "e has no file yet");
    assert_eq!(models[0].context, 4096);
    assert_eq!((load.resident, load.loading), (vec![0], vec![2]));
    assert_eq!(llm.max_concurrency, 3);
}

#[tokio::test]
async fn what_a_router_pushes_is_known_at_once() {
    let unloaded = [("org/a:Q4", "unloaded"), ("b", "unloaded")];
    let mut router = PlayedRouter::start(&unloaded).await;
    let mut worker = Worker::unready(&router.url, |config| {
        // So that only what is pushed can be the reason.
        llm_provider(config).model_poll_interval = Duration::from_secs(3600);
    })
    .await;
    worker.events.models().await;
    router.asked_for("/models/sse").await;

    let loaded = [
        ("org/a:Q4", "loaded"),
        ("b", "unloaded"),
        ("new", "unloaded"),
    ];
    router.push(
        &loaded,
        &json!({"model": "org/a:Q4", "event": "model_status", "data": {"status": "loaded"}}),
    );

    let models = worker
        .events
        .find(|event| match event {
            Event::Models(models) if models.models.len() == 3 => Some(models.models),
            _ => None,
        })
        .await;
    let load = worker
        .events
        .find(|event| match event {
            Event::Load(load) if !load.resident.is_empty() => Some(load),
            _ => None,
        })
        .await;
    assert_eq!(models[2].name, "new");
    assert_eq!(load.resident, [0]);
    let asked = router.asked.borrow();
    let would_load =
        |path: &&String| path.starts_with("/slots?") && !path.ends_with("autoload=false");
    assert_eq!(asked.iter().find(would_load), None);
}
