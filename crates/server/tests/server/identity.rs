//! Keys of the store while the server runs: who may call which id, who may serve it, and the end of
//! what runs by a key that has ended.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use llamapool_identity::{
    AccessMode, CallerRights, KeyEdit, KeyId, KeyKind, KeyText, NewKey, Pattern, Rights, Store,
    WorkerRights,
};
use llamapool_server::DataDirConfig;
use llamapool_testkit::{
    API_KEY, PendingCall, Pool, Provider, Reconnect, RelayConfig, ScriptedProvider, WORKER_KEY,
    event_stream, json_answer, soon, tools_call,
};
use llamapool_wire::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server with a store, as the command line changes it.
pub(super) struct Place {
    pub(super) pool: Pool,
    pub(super) folder: tempfile::TempDir,
}

impl Place {
    /// Starts a server whose ids ask for keys.
    pub(super) async fn start() -> Self {
        Self::with(AccessMode::Keys).await
    }

    async fn with(access: AccessMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDirConfig::Required(folder.path().to_owned());
        let pool = Pool::with(|server| {
            server.data_dir = data_dir;
            server.identity.default_access = access;
        })
        .await;
        Self { pool, folder }
    }

    fn store(&self) -> Store {
        open(self.folder.path())
    }

    /// Creates a key, and waits until the server has it.
    async fn key(&self, rights: Rights) -> KeyText {
        let text = KeyText::random(rights.kind());
        let key = NewKey {
            id: text.id().clone(),
            name: text.id().to_string(),
            rights,
            digest: text.digest(),
            expires_at: None,
        };
        let mut store = self.store();
        let change = store.create_key(&key, SystemTime::now()).unwrap();
        applied(&store, change).await;
        text
    }

    pub(super) async fn caller_key(&self, ids: &[&str]) -> KeyText {
        self.key(caller(ids)).await
    }

    async fn worker_key(&self, ids: &[&str]) -> KeyText {
        self.key(Rights::Worker(WorkerRights::of(patterns(ids))))
            .await
    }

    /// Revokes a key. Returns how much the server says it ended, and how long it took.
    async fn revoke(&self, id: &KeyId) -> (u64, Duration) {
        let mut store = self.store();
        let since = Instant::now();
        let change = store.revoke_key(id, SystemTime::now()).unwrap();
        let ended = applied(&store, change).await;
        (ended, since.elapsed())
    }

    /// Calls an id with a key, or without one. Returns status, error word and body.
    pub(super) async fn call(&self, id: &str, key: Option<&str>) -> (u16, String, String) {
        let request = self.pool.http.post(self.pool.mcp(id));
        let request = request.json(&tools_call(1, "scripted"));
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let word = answer.headers().get("llamapool-error");
        let word = word.map_or("", |word| word.to_str().unwrap()).to_owned();
        (status, word, answer.text().await.unwrap())
    }
}

/// Starts a provider that answers with the headers that it gets, a line each.
async fn showing_headers() -> Provider {
    Provider::answering(|request| async move {
        let lines = request.headers().iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            format!("{name}: {value}\n")
        });
        json_answer(&lines.collect::<String>())
    })
    .await
}

fn open(folder: &Path) -> Store {
    Store::open_in(folder).unwrap()
}

/// Waits until a server has applied a change. Returns how much it ended.
async fn applied(store: &Store, change: i64) -> u64 {
    soon("the server applies the change", async {
        loop {
            if let Some(applied) = store.acknowledgement(change).unwrap() {
                return applied.ended;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn caller(ids: &[&str]) -> Rights {
    Rights::Caller(CallerRights {
        ids: patterns(ids),
        ..CallerRights::default()
    })
}

fn with_key(key: &KeyText) -> impl FnOnce(&mut RelayConfig) + use<> {
    let key = Secret::new(key.expose());
    move |relay| relay.identity.worker_key = Some(key)
}

#[tokio::test]
async fn a_caller_key_opens_its_ids_and_ends_at_the_server() {
    let place = Place::start().await;
    let provider = showing_headers().await;
    let _notes = place.pool.relay("notes", &provider.url).await;
    let _other = place.pool.relay("other", &provider.url).await;
    let key = place.caller_key(&["notes", "team-*"]).await;

    let (status, _, body) = place.call("notes", Some(key.expose())).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("content-type: application/json"), "{body}");
    assert!(
        !body.contains("authorization"),
        "the key stays here: {body}"
    );
    assert!(!body.contains(key.expose()), "the key stays here");

    let (status, word, body) = place.call("other", Some(key.expose())).await;
    assert_eq!((status, word.as_str()), (403, "not_allowed"), "{body}");
    assert!(body.contains(key.id().as_str()), "{body}");
    let unknown = place.call("unknown", Some(key.expose())).await;
    assert_eq!(unknown.0, 403, "{}", unknown.2);
    let away = place.call("team-a", Some(key.expose())).await;
    assert_eq!((away.0, away.1.as_str()), (503, "relay_offline"));
}

#[tokio::test]
async fn a_read_only_key_reads_and_calls_no_tool() {
    let place = Place::start().await;
    let provider = showing_headers().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let Rights::Caller(rights) = caller(&["notes"]) else {
        panic!("rights of a caller");
    };
    let rights = CallerRights {
        read_only: true,
        ..rights
    };
    let key = place.key(Rights::Caller(rights.clone())).await;

    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let read = place.pool.http.post(place.pool.mcp("notes")).json(&list);
    let read = read.bearer_auth(key.expose()).send().await.unwrap();
    assert_eq!(read.status(), 200);
    let (status, word, body) = place.call("notes", Some(key.expose())).await;
    assert_eq!((status, word.as_str()), (403, "message_denied"), "{body}");
    assert_eq!(place.pool.client("notes").await["calls_total"], 1);

    let edit = KeyEdit {
        name: None,
        rights: Some(caller(&["notes"])),
        expires_at: None,
    };
    let mut store = place.store();
    let change = store.edit_key(key.id(), &edit, SystemTime::now()).unwrap();
    applied(&store, change).await;
    let (status, _, body) = place.call("notes", Some(key.expose())).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn without_a_valid_key_all_ids_look_alike() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let caller = place.caller_key(&["*"]).await;
    let worker = place.worker_key(&["*"]).await;
    let revoked = place.caller_key(&["*"]).await;
    place.revoke(revoked.id()).await;
    let never = KeyText::random(KeyKind::Caller);

    let without = [
        place.call("notes", None).await,
        place.call("nothing", None).await,
    ];
    for (status, word, body) in &without {
        assert_eq!((*status, word.as_str()), (401, "key_missing"), "{body}");
    }
    let plain = |body: &str| {
        let mut body: Value = serde_json::from_str(body).unwrap();
        body["error"]["data"]["req_id"] = json!("");
        body
    };
    assert_eq!(plain(&without[0].2), plain(&without[1].2));

    let cut = &caller.expose()[..40];
    let mut bodies = Vec::new();
    for key in [
        never.expose(),
        revoked.expose(),
        worker.expose(),
        API_KEY,
        WORKER_KEY,
        cut,
        "",
    ] {
        for id in ["notes", "nothing"] {
            let (status, word, body) = place.call(id, Some(key)).await;
            assert_eq!((status, word.as_str()), (401, "key_invalid"), "{body}");
            assert!(key.is_empty() || !body.contains(key));
            bodies.push(plain(&body));
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "one answer for all reasons");

    let twice = place.pool.http.post(place.pool.mcp("notes"));
    let twice = twice
        .bearer_auth(caller.expose())
        .bearer_auth(caller.expose());
    let twice = twice.json(&tools_call(1, "scripted")).send().await.unwrap();
    assert_eq!(twice.status(), 401);
    assert_eq!(
        twice.headers()["www-authenticate"],
        "Bearer error=\"invalid_token\""
    );
    let in_query = format!("{}?key={}", place.pool.mcp("notes"), caller.expose());
    let in_query = place
        .pool
        .http
        .post(in_query)
        .json(&tools_call(1, "scripted"));
    assert_eq!(in_query.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn every_path_and_method_of_an_id_asks_for_the_key() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let below = [
        "/api/mcp/id/notes",
        "/api/mcp/id/notes/",
        "/api/mcp/id/notes/deeper?a=1",
        "/api/mcp/id/notes/~announced/messages",
        "/api/mcp/id/notes/~at/abc/x",
    ];

    for path in below {
        for method in ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH"] {
            let url = format!("{}{path}", place.pool.url);
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let answer = place.pool.http.request(method.clone(), url);
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{method} {path}");
        }
    }
    let document = "/.well-known/oauth-protected-resource/api/mcp/id/";
    for id in ["notes", "nothing"] {
        let answer = place
            .pool
            .http
            .get(format!("{}{document}{id}", place.pool.url));
        assert_eq!(answer.send().await.unwrap().status(), 404, "{id}");
    }
    assert_eq!(place.pool.client("notes").await["calls_total"], 0);
}

#[tokio::test]
async fn an_open_server_asks_for_nothing_and_one_id_can_be_closed() {
    let place = Place::with(AccessMode::Open).await;
    let provider = showing_headers().await;
    let _notes = place.pool.relay("notes", &provider.url).await;
    let _clock = place.pool.relay("clock", &provider.url).await;
    assert_eq!(place.call("notes", None).await.0, 200);

    let mut store = place.store();
    let notes = "notes".parse().unwrap();
    let now = SystemTime::now();
    let change = store
        .set_access(&notes, Some(AccessMode::Keys), now)
        .unwrap();
    applied(&store, change).await;

    assert_eq!(place.call("notes", None).await.0, 401);
    assert_eq!(place.call("clock", None).await.0, 200);
    let (_, _, body) = place.call("clock", Some("a token of the provider's")).await;
    assert!(body.contains("Bearer a token of the provider's"), "{body}");
}

/// A stream that runs, a stream that only listens, an upload and a call without an answer yet: all are
/// reset, and those of another key are not, on the same HTTP/2 connection.
#[tokio::test]
async fn a_revocation_ends_all_that_runs_by_the_key() {
    let place = Place::start().await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let [mine, yours] = [
        place.caller_key(&["*"]).await,
        place.caller_key(&["*"]).await,
    ];
    let connection = reqwest::Client::builder().http2_prior_knowledge();
    let connection = connection.build().unwrap();
    let post = |key: &KeyText| {
        let request = connection.post(place.pool.mcp("notes"));
        let request = request.header("accept", "text/event-stream");
        request.bearer_auth(key.expose())
    };
    let listen = connection.get(place.pool.mcp("notes"));
    let listen = listen.header("accept", "text/event-stream");

    let mut running = Vec::new();
    for request in [
        post(&mine).json(&tools_call(1, "scripted")),
        listen.bearer_auth(mine.expose()),
        post(&yours).json(&tools_call(1, "scripted")),
    ] {
        running.push(Running::begin(request, &mut provider).await);
    }
    let mut waiting = PendingCall::start(post(&mine).json(&tools_call(2, "scripted")));
    let _unanswered = provider.next_request().await;
    let half = futures_util::stream::iter([Ok::<_, std::io::Error>("{\"jsonrpc\":")]);
    let half = half.chain(futures_util::stream::pending());
    let upload = post(&mine).body(reqwest::Body::wrap_stream(half));
    let mut upload = PendingCall::start(upload);
    place
        .pool
        .until_client("notes", "the upload runs", |id| id["inflight"] == 5)
        .await;

    let (ended, took) = place.revoke(mine.id()).await;

    assert_eq!(ended, 4);
    assert!(took < Duration::from_secs(3), "{took:?}");
    let mut yours = running.pop().unwrap();
    for call in &mut running {
        let broken = soon("the stream is reset", call.body.next()).await;
        let broken = broken.expect("an end by a revocation is no clean end");
        assert!(broken.is_err());
    }
    assert_eq!(waiting.answer().await.status(), 401);
    assert_eq!(upload.answer().await.status(), 401);

    yours.send("data: 2\n\n").await;
    assert_eq!(yours.next().await, "data: 2\n\n");
    assert_eq!(place.call("notes", Some(mine.expose())).await.0, 401);
    let metrics = place.pool.metrics().await;
    let counted = metrics
        .lines()
        .any(|line| line.contains("outcome=\"revoked\""));
    assert!(counted, "{metrics}");
}

/// A call whose answer is an event stream.
pub(super) struct Running {
    events: tokio::sync::mpsc::Sender<Result<bytes::Bytes, std::io::Error>>,
    pub(super) body: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
}

impl Running {
    /// Makes a call, and waits for the first event of its answer.
    pub(super) async fn begin(
        request: reqwest::RequestBuilder,
        provider: &mut ScriptedProvider,
    ) -> Self {
        let mut call = PendingCall::start(request);
        let (events, response) = event_stream();
        provider.next_request().await.answer(response);
        let body = call.answer().await.bytes_stream().boxed();
        let mut running = Self { events, body };
        running.send("data: 1\n\n").await;
        assert_eq!(running.next().await, "data: 1\n\n");
        running
    }

    pub(super) async fn send(&mut self, event: &'static str) {
        self.events.send(Ok(event.into())).await.unwrap();
    }

    pub(super) async fn next(&mut self) -> bytes::Bytes {
        soon("an event", self.body.next()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn what_a_caller_presents_does_not_reach_the_provider() {
    let place = Place::start().await;
    let provider = showing_headers().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.caller_key(&["notes"]).await;

    let request = place.pool.http.post(place.pool.mcp("notes"));
    let request = request
        .bearer_auth(key.expose())
        .header("dpop", "a proof of possession")
        .header("llamapool-caller", "forged")
        .header("x-of-the-caller", "kept");
    let answer = request
        .json(&tools_call(1, "scripted"))
        .send()
        .await
        .unwrap();
    let shown = answer.text().await.unwrap();

    for hidden in ["authorization", "dpop", "llamapool-caller", "forged"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
    assert!(shown.contains("x-of-the-caller: kept"), "{shown}");
}

#[tokio::test]
async fn a_worker_key_is_no_caller_and_a_caller_key_no_operator() {
    let place = Place::start().await;
    let caller = place.caller_key(&["*"]).await;
    let worker = place.worker_key(&["*"]).await;

    for key in [&caller, &worker] {
        for path in ["/api/state", "/api/state/stream"] {
            let request = place.pool.http.get(format!("{}{path}", place.pool.url));
            let answer = request.bearer_auth(key.expose()).send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
        }
    }
    assert_eq!(place.call("notes", Some(worker.expose())).await.0, 401);
}

#[tokio::test]
async fn a_session_of_one_key_does_not_exist_for_another() {
    let place = Place::start().await;
    let provider = Provider::answering(|request| async move {
        let mut answer = json_answer("{}");
        let has_one = request.headers().get("mcp-session-id");
        assert!(
            has_one.is_none_or(|session| session == "its own"),
            "{has_one:?}"
        );
        let session = http::HeaderValue::from_static("its own");
        answer.headers_mut().insert("mcp-session-id", session);
        answer
    })
    .await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let [mine, yours] = [
        place.caller_key(&["*"]).await,
        place.caller_key(&["*"]).await,
    ];
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});

    let begun = place.pool.http.post(place.pool.mcp("notes"));
    let begun = begun
        .bearer_auth(mine.expose())
        .json(&initialize)
        .send()
        .await
        .unwrap();
    let session = begun.headers()["mcp-session-id"].clone();
    let call = |key: &KeyText| {
        let request = place.pool.http.post(place.pool.mcp("notes"));
        let request = request.header("mcp-session-id", session.clone());
        request
            .bearer_auth(key.expose())
            .json(&tools_call(2, "scripted"))
            .send()
    };

    assert_eq!(call(&mine).await.unwrap().status(), 200);
    let foreign = call(&yours).await.unwrap();
    assert_eq!(foreign.status(), 404);
    assert_eq!(foreign.headers()["llamapool-error"], "session_gone");
    let rotated = KeyText::rotated(mine.id(), KeyKind::Caller);
    let mut store = place.store();
    let now = SystemTime::now();
    let change = store
        .rotate_key(mine.id(), &rotated.digest(), now, now)
        .unwrap();
    applied(&store, change).await;
    assert_eq!(
        call(&rotated).await.unwrap().status(),
        200,
        "the session is the key's"
    );
    assert_eq!(
        call(&mine).await.unwrap().status(),
        401,
        "the old secret has ended"
    );
}

#[tokio::test]
async fn a_worker_key_serves_its_ids_and_reserves_them() {
    let place = Place::with(AccessMode::Open).await;
    let provider = Provider::echoing().await;
    let notes = place.worker_key(&["notes"]).await;

    let refused = |id: &'static str, configure: Box<dyn FnOnce(&mut RelayConfig) + Send>| {
        let url = place.pool.url.clone();
        let provider = provider.url.clone();
        async move {
            let mut relay = Pool::relay_to(&url, id, &provider, |relay| {
                configure(relay);
                relay.reconnect = Reconnect::Never;
            })
            .await;
            relay.ended().await.unwrap_err().to_string()
        }
    };
    let foreign = refused("other", Box::new(with_key(&notes))).await;
    let bootstrap = refused("notes", Box::new(|_| {})).await;
    let caller = place.caller_key(&["*"]).await;
    let other_kind = refused("notes", Box::new(with_key(&caller))).await;

    assert!(
        foreign.contains("does not cover the id \"other\""),
        "{foreign}"
    );
    assert!(
        bootstrap.contains("reserved for another worker key"),
        "{bootstrap}"
    );
    assert!(other_kind.contains("401"), "{other_kind}");
    let _relay = place
        .pool
        .relay_with("notes", &provider.url, with_key(&notes))
        .await;
    assert_eq!(place.call("notes", None).await.0, 200);
    let _other = place.pool.relay("other", &provider.url).await;
    assert_eq!(place.call("other", None).await.0, 200);
}

#[tokio::test]
async fn a_revoked_worker_key_ends_its_tunnel_and_its_calls() {
    let place = Place::with(AccessMode::Open).await;
    let mut provider = ScriptedProvider::start().await;
    let key = place.worker_key(&["notes"]).await;
    let mut relay = Pool::relay_to(&place.pool.url, "notes", &provider.url, |relay| {
        with_key(&key)(relay);
        relay.reconnect = Reconnect::Never;
    })
    .await;
    place.pool.connected("notes").await;
    let mut calls: Vec<_> = (0..100).map(|_| place.pool.start_call("notes")).collect();
    let _unanswered = provider.next_requests(100).await;

    let (ended, took) = place.revoke(key.id()).await;

    assert_eq!(ended, 1);
    for call in &mut calls {
        assert_eq!(call.answer().await.status(), 502);
    }
    assert!(took < Duration::from_secs(3), "{took:?}");
    let reason = relay.ended().await.unwrap_err().to_string();
    assert!(reason.contains("no longer valid"), "{reason}");
    let again = Pool::relay_to(&place.pool.url, "notes", &provider.url, |relay| {
        with_key(&key)(relay);
        relay.reconnect = Reconnect::Never;
    });
    let reason = again.await.ended().await.unwrap_err().to_string();
    assert!(reason.contains("revoked"), "{reason}");
}

#[tokio::test]
async fn other_rights_end_what_runs_and_hold_at_once() {
    let place = Place::start().await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.caller_key(&["notes"]).await;
    let request = place.pool.http.post(place.pool.mcp("notes"));
    let request = request
        .bearer_auth(key.expose())
        .json(&tools_call(1, "scripted"));
    let mut running = PendingCall::start(request);
    let _unanswered = provider.next_request().await;

    let edit = KeyEdit {
        rights: Some(caller(&["other"])),
        ..KeyEdit::default()
    };
    let mut store = place.store();
    let change = store.edit_key(key.id(), &edit, SystemTime::now()).unwrap();
    let ended = applied(&store, change).await;

    assert_eq!(ended, 1);
    assert_eq!(running.answer().await.status(), 401);
    assert_eq!(place.call("notes", Some(key.expose())).await.0, 403);
}

#[tokio::test]
async fn keys_are_there_again_after_a_restart() {
    let mut place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let revoked = place.caller_key(&["notes"]).await;
    place.pool.kill();
    // While no server runs.
    let mut store = place.store();
    let change = store.revoke_key(revoked.id(), SystemTime::now()).unwrap();
    assert_eq!(store.acknowledgement(change).unwrap(), None);

    let data_dir = DataDirConfig::Required(place.folder.path().to_owned());
    let pool = Pool::with(|server| {
        server.data_dir = data_dir;
        server.identity.default_access = AccessMode::Keys;
    })
    .await;
    let place = Place {
        pool,
        folder: place.folder,
    };

    assert_eq!(place.call("notes", Some(key.expose())).await.0, 503);
    assert_eq!(place.call("notes", Some(revoked.expose())).await.0, 401);
}

/// A client sends head and body in two packets, as many do, and reads the answer then. A connection that
/// is closed before the body arrives would take the refusal along.
#[tokio::test]
async fn a_refusal_waits_for_the_body_that_follows_its_head() {
    let place = Place::start().await;
    let address = place.pool.url.strip_prefix("http://").unwrap();
    let body = tools_call(1, "scripted").to_string();
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection.set_nodelay(true).unwrap();

    for path in ["/api/mcp/id/notes", "/api/mcp/id/a%2fb"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        // Long enough for an answer that does not wait.
        let early = tokio::time::timeout(Duration::from_millis(100), connection.readable()).await;
        assert!(early.is_err(), "an answer before the body");

        connection.write_all(body.as_bytes()).await.unwrap();
        let mut answer = vec![0; 8192];
        let length = soon("the answer", connection.read(&mut answer))
            .await
            .unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 503"),
            "{answer}"
        );
    }
}
