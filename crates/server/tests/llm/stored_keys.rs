//! Keys of the store at the LLM API: what they open, and the end of what runs by a key that has ended.

use std::time::{Duration, Instant, SystemTime};

use llamapool_identity::{
    AUDIT_FOLDER, AccessMode, CallerRights, KeyEdit, KeyId, KeyText, NewKey, Rights, Store,
    WorkerKind, WorkerRights, audit_files,
};
use llamapool_server::{AuditCalls, DataDirConfig};
use llamapool_testkit::{
    Answer, PendingCall, Pool, Provider, ScriptedWorker, Upgrade, WorkerSetup, soon, tools_call,
};
use llamapool_wire::llm::{CallReport, CountSource};
use serde_json::{Value, json};

use crate::kit::{CHAT, CHUNK, COMPLETION, chat, read, read_broken, until_waiting, worker};

/// A server with a store, as the command line changes it.
struct Place {
    pool: Pool,
    folder: tempfile::TempDir,
}

impl Place {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDirConfig::Required(folder.path().to_owned());
        let pool = Pool::with(|server| {
            server.data_dir = data_dir;
            server.identity.default_access = AccessMode::Keys;
        })
        .await;
        Self { pool, folder }
    }

    fn store(&self) -> Store {
        Store::open_in(self.folder.path()).unwrap()
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
        self.applied(change).await;
        text
    }

    /// Creates a caller key for the model `m`.
    async fn key_for_m(&self) -> KeyText {
        self.key(Rights::Caller(for_models(&["m"]))).await
    }

    /// Changes a key. Returns how much that ended.
    async fn edit(&self, id: &KeyId, edit: KeyEdit) -> u64 {
        let change = self.store().edit_key(id, &edit, SystemTime::now());
        self.applied(change.unwrap()).await
    }

    /// Waits until the server has applied a change. Returns how much it ended.
    async fn applied(&self, change: i64) -> u64 {
        let store = self.store();
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

    fn chat(&self, key: &str, body: &Value) -> reqwest::RequestBuilder {
        let request = self.pool.http.post(format!("{}{CHAT}", self.pool.url));
        request.bearer_auth(key).json(body)
    }

    /// Makes a call that runs until it is answered.
    fn begin(&self, key: &KeyText, streams: bool) -> PendingCall {
        PendingCall::start(self.chat(key.expose(), &chat(streams)))
    }

    /// Makes a call that is answered without a worker. Returns status and word.
    async fn refused(&self, key: &str, body: &Value) -> (u16, String) {
        let answer = Answer::read(
            soon("an answer", self.chat(key, body).send())
                .await
                .unwrap(),
        );
        let answer = answer.await;
        let word = answer.header("llamapool-error").unwrap_or_default();
        (answer.status(), word.to_owned())
    }
}

fn for_models(models: &[&str]) -> CallerRights {
    CallerRights {
        models: models.iter().map(|&model| model.to_owned()).collect(),
        ..CallerRights::default()
    }
}

fn other_rights(rights: CallerRights) -> KeyEdit {
    KeyEdit {
        rights: Some(Rights::Caller(rights)),
        ..KeyEdit::default()
    }
}

fn ask(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] })
}

/// Two servers know neither model `secret` nor model `nothing` for a key: the answers differ in the name
/// alone.
#[tokio::test]
async fn a_model_that_a_key_may_not_use_is_unknown_to_it() {
    let place = Place::start().await;
    let setup = WorkerSetup::new(&["m", "secret"], 2);
    let mut worker = ScriptedWorker::connect(&place.pool, "alpha", setup).await;
    let key = place.key_for_m().await;
    let plain = |answer: &Answer, name: &str| {
        let text = answer.text().replace(name, "NAME");
        let headers = [
            "content-type",
            "llamapool-error",
            "x-should-retry",
            "retry-after",
        ];
        let headers = headers.map(|name| answer.header(name).map(str::to_owned));
        (answer.status(), headers, text)
    };

    for path in [CHAT, "/v1/messages", "/api/chat", "/api/show"] {
        let mut alike = Vec::new();
        for model in ["secret", "nothing"] {
            let request = place.pool.http.post(format!("{}{path}", place.pool.url));
            let request = request.bearer_auth(key.expose());
            let mut body = ask(model);
            body["max_tokens"] = json!(10);
            let answer = Answer::read(request.json(&body).send().await.unwrap()).await;
            alike.push(plain(&answer, model));
        }
        assert_eq!(alike[0].0, 404, "{path}");
        let [mut forbidden, mut unknown] = <[_; 2]>::try_from(alike).unwrap();
        for (_, _, text) in [&mut forbidden, &mut unknown] {
            *text = without_request_id(text);
        }
        assert_eq!(forbidden, unknown, "{path}");
    }
    let mut call = place.begin(&key, false);
    worker.next_call().await.answer_json(200, COMPLETION);
    assert_eq!(read(&mut call).await.status(), 200);
}

/// Returns a JSON text without the members that name the request.
fn without_request_id(text: &str) -> String {
    let Ok(mut body) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    body.to_string()
}

#[tokio::test]
async fn every_list_has_the_models_of_the_key_alone() {
    let place = Place::start().await;
    let mut setup = WorkerSetup::new(&["m", "secret"], 2);
    for model in &mut setup.models {
        model.apis.push("ollama".to_owned());
    }
    let _worker = ScriptedWorker::connect(&place.pool, "alpha", setup).await;
    let key = place.key_for_m().await;

    for path in ["/v1/models", "/api/v1/models", "/api/tags", "/api/ps"] {
        let request = place.pool.http.get(format!("{}{path}", place.pool.url));
        let answer = Answer::read(request.bearer_auth(key.expose()).send().await.unwrap()).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.text().contains("\"m\""), "{path}: {}", answer.text());
        assert!(
            !answer.text().contains("secret"),
            "{path}: {}",
            answer.text()
        );
    }
    let request = place
        .pool
        .http
        .get(format!("{}/v1/models/secret", place.pool.url));
    let answer = request.bearer_auth(key.expose()).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_key_without_models_and_a_key_of_relays_open_no_llm() {
    let place = Place::start().await;
    let for_notes = CallerRights {
        ids: vec!["notes".parse().unwrap()],
        ..CallerRights::default()
    };
    let for_notes = place.key(Rights::Caller(for_notes)).await;
    let for_relays = WorkerRights::of(vec!["*".parse().unwrap()]);
    let for_relays = place.key(Rights::Worker(for_relays)).await;
    let for_m = place.key_for_m().await;

    let body = ask("m");
    let not_offered = (403, "not_offered".to_owned());
    assert_eq!(place.refused(for_notes.expose(), &body).await, not_offered);
    let unauthorized = (401, "unauthorized".to_owned());
    assert_eq!(
        place.refused(for_relays.expose(), &body).await,
        unauthorized
    );

    let mcp = place.pool.http.post(place.pool.mcp("notes"));
    let mcp = mcp.bearer_auth(for_m.expose()).json(&tools_call(1, "a"));
    assert_eq!(mcp.send().await.unwrap().status(), 403);
    let state = place.pool.http.get(format!("{}/api/state", place.pool.url));
    let state = state.bearer_auth(for_m.expose()).send().await.unwrap();
    assert_eq!(state.status(), 401);
}

/// No text of a refusal tells a key that has ended from one that never was.
#[tokio::test]
async fn keys_that_have_ended_look_like_keys_that_never_were() {
    let place = Place::start().await;
    let revoked = place.key_for_m().await;
    let expired = place.key_for_m().await;
    let relays = WorkerRights::of(vec!["*".parse().unwrap()]);
    let relays = place.key(Rights::Worker(relays)).await;
    let change = place.store().revoke_key(revoked.id(), SystemTime::now());
    place.applied(change.unwrap()).await;
    let over = KeyEdit {
        expires_at: Some(Some(SystemTime::now() - Duration::from_secs(1))),
        ..KeyEdit::default()
    };
    place.edit(expired.id(), over).await;
    let never = KeyText::random(llamapool_identity::KeyKind::Caller);

    let mut texts = Vec::new();
    for key in [&revoked, &expired, &relays, &never] {
        let answer = place.chat(key.expose(), &ask("m")).send().await.unwrap();
        let answer = Answer::read(answer).await;
        assert_eq!(answer.status(), 401);
        texts.push(without_request_id(answer.text()));
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

#[tokio::test]
async fn a_revocation_ends_the_calls_of_the_key_alone() {
    let place = Place::start().await;
    let mut worker = worker(&place.pool, "alpha", 3).await;
    let [mine, yours] = [place.key_for_m().await, place.key_for_m().await];
    let connection = reqwest::Client::builder().http2_prior_knowledge();
    let connection = connection.build().unwrap();
    let begin = |key: &KeyText, streams| {
        let request = connection.post(format!("{}{CHAT}", place.pool.url));
        PendingCall::start(request.bearer_auth(key.expose()).json(&chat(streams)))
    };
    let mut my_stream = begin(&mine, true);
    let my_pieces = worker.next_call().await.stream("text/event-stream");
    my_pieces.send(Ok(CHUNK.into())).await.unwrap();
    let mut my_answer = my_stream.answer().await;
    assert_eq!(my_answer.chunk().await.unwrap().unwrap(), CHUNK);
    let mut your_stream = begin(&yours, true);
    let your_pieces = worker.next_call().await.stream("text/event-stream");
    your_pieces.send(Ok(CHUNK.into())).await.unwrap();
    let mut your_answer = your_stream.answer().await;
    assert_eq!(your_answer.chunk().await.unwrap().unwrap(), CHUNK);
    let mut running = begin(&mine, false);
    let unanswered = worker.next_call().await;
    let mut queued = begin(&mine, false);
    until_waiting(&place.pool, 1).await;

    let since = Instant::now();
    let change = place.store().revoke_key(mine.id(), SystemTime::now());
    let ended = place.applied(change.unwrap()).await;
    // A reset of HTTP/2 may overtake the last event.
    let (_, ended_well) = read_broken(my_answer).await;
    let took = since.elapsed();

    assert_eq!(ended, 3);
    assert!(!ended_well, "an end by a revocation is no clean end");
    assert!(took < Duration::from_secs(3), "{took:?}");
    for call in [&mut running, &mut queued] {
        let answer = read(call).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.header("llamapool-error"), Some("unauthorized"));
    }
    unanswered.cancelled().await;
    soon("the worker's stream is cancelled", my_pieces.closed()).await;

    your_pieces.send(Ok(CHUNK.into())).await.unwrap();
    assert_eq!(your_answer.chunk().await.unwrap().unwrap(), CHUNK);
    let unauthorized = (401, "unauthorized".to_owned());
    assert_eq!(place.refused(mine.expose(), &ask("m")).await, unauthorized);
    until_waiting(&place.pool, 0).await;
}

/// A stream whose head is sent while it waits ends with its key, too.
#[tokio::test]
async fn a_stream_that_waits_ends_with_its_key() {
    let place = Place::start().await;
    let mut worker = worker(&place.pool, "alpha", 1).await;
    let [mine, yours] = [place.key_for_m().await, place.key_for_m().await];
    let _running = place.begin(&yours, false);
    let running = worker.next_call().await;
    let show = place.chat(mine.expose(), &chat(true));
    let mut waiting = PendingCall::start(show.header("llamapool-queue", "show"));
    let mut answer = waiting.answer().await;
    assert_eq!(answer.status(), 200);
    let line = answer.chunk().await.unwrap().unwrap();
    assert!(line.starts_with(b": queue"), "{line:?}");

    let change = place.store().revoke_key(mine.id(), SystemTime::now());
    place.applied(change.unwrap()).await;
    let (rest, ended_well) = soon("the end of the stream", read_broken(answer)).await;

    assert!(
        !ended_well && rest.contains("the API key has ended"),
        "{rest}"
    );
    until_waiting(&place.pool, 0).await;
    running.answer_json(200, COMPLETION);
    assert!(!worker.has_call());
}

#[tokio::test]
async fn other_models_end_what_runs_and_other_limits_do_not() {
    let place = Place::start().await;
    let mut worker = worker(&place.pool, "alpha", 4).await;
    let key = place.key_for_m().await;
    let mut stream = place.begin(&key, true);
    let pieces = worker.next_call().await.stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    let mut answer = stream.answer().await;
    assert_eq!(answer.chunk().await.unwrap().unwrap(), CHUNK);

    let mut slower = for_models(&["m"]);
    slower.llm.requests_per_minute = Some(1);
    assert_eq!(place.edit(key.id(), other_rights(slower)).await, 0);
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), CHUNK);
    let mut last = place.begin(&key, false);
    worker.next_call().await.answer_json(200, COMPLETION);
    assert_eq!(read(&mut last).await.status(), 200);
    let limited = (429, "rate_limited".to_owned());
    assert_eq!(place.refused(key.expose(), &ask("m")).await, limited);

    let ended = place
        .edit(key.id(), other_rights(for_models(&["other"])))
        .await;
    let (_, ended_well) = read_broken(answer).await;

    assert!(ended == 1 && !ended_well);
    let unknown = (404, "model_not_found".to_owned());
    assert_eq!(place.refused(key.expose(), &ask("m")).await, unknown);
    // The limit is gone, and so is what it had counted.
    assert_eq!(place.refused(key.expose(), &ask("m")).await, unknown);
}

#[tokio::test]
async fn an_expired_key_ends_what_runs_by_it() {
    let place = Place::start().await;
    let mut worker = worker(&place.pool, "alpha", 1).await;
    let key = place.key_for_m().await;
    let mut stream = place.begin(&key, true);
    let pieces = worker.next_call().await.stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    let answer = stream.answer().await;

    // The store has whole seconds.
    let soon_over = KeyEdit {
        expires_at: Some(Some(SystemTime::now() + Duration::from_secs(2))),
        ..KeyEdit::default()
    };
    place.edit(key.id(), soon_over).await;
    let (rest, ended_well) = soon("the end of the stream", read_broken(answer)).await;

    assert!(!ended_well && rest.starts_with(CHUNK), "{rest}");
    assert_eq!(place.refused(key.expose(), &ask("m")).await.0, 401);
}

/// A rotated key is the same key: what runs goes on, and both secrets use up one limit.
#[tokio::test]
async fn a_rotation_ends_nothing_and_gives_no_limit_twice() {
    let place = Place::start().await;
    let mut worker = worker(&place.pool, "alpha", 2).await;
    let mut rights = for_models(&["m"]);
    rights.llm.requests_per_minute = Some(2);
    let old = place.key(Rights::Caller(rights)).await;
    let mut stream = place.begin(&old, true);
    let pieces = worker.next_call().await.stream("text/event-stream");
    pieces.send(Ok(CHUNK.into())).await.unwrap();
    let mut answer = stream.answer().await;
    assert_eq!(answer.chunk().await.unwrap().unwrap(), CHUNK);

    let new = KeyText::rotated(old.id(), llamapool_identity::KeyKind::Caller);
    let now = SystemTime::now();
    let until = now + Duration::from_secs(60);
    let change = place
        .store()
        .rotate_key(old.id(), &new.digest(), until, now);
    assert_eq!(place.applied(change.unwrap()).await, 0);

    pieces.send(Ok(CHUNK.into())).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), CHUNK);
    let mut second = place.begin(&new, false);
    worker.next_call().await.answer_json(200, COMPLETION);
    assert_eq!(read(&mut second).await.status(), 200);
    let limited = (429, "rate_limited".to_owned());
    for secret in [&old, &new] {
        assert_eq!(place.refused(secret.expose(), &ask("m")).await, limited);
    }
}

/// The calls of a key at the MCP servers and at the LLM API use up one quota.
#[tokio::test]
async fn two_doors_use_up_one_quota() {
    let place = Place::start().await;
    let mut worker = worker(&place.pool, "alpha", 1).await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let mut rights = for_models(&["m"]);
    rights.ids = vec!["notes".parse().unwrap()];
    rights.limits.quotas.calls_per_day = Some(2);
    let key = place.key(Rights::Caller(rights)).await;
    let mcp = || {
        let request = place.pool.http.post(place.pool.mcp("notes"));
        let request = request.bearer_auth(key.expose());
        request.json(&tools_call(1, "echo")).send()
    };

    assert_eq!(mcp().await.unwrap().status(), 200);
    let mut call = place.begin(&key, false);
    worker.next_call().await.answer_json(200, COMPLETION);
    assert_eq!(read(&mut call).await.status(), 200);

    let exhausted = (429, "budget_exhausted".to_owned());
    assert_eq!(place.refused(key.expose(), &ask("m")).await, exhausted);
    assert_eq!(mcp().await.unwrap().status(), 429);
    let usage = place.pool.state().await["usage"][0]["today"].clone();
    assert_eq!(usage["calls"], 2, "{usage}");
}

/// The tokens that workers report use up the quota of the month, each once.
#[tokio::test]
async fn reported_tokens_use_up_the_quota_of_the_key() {
    let place = Place::start().await;
    let mut worker = worker(&place.pool, "alpha", 1).await;
    let mut rights = for_models(&["m"]);
    rights.limits.quotas.tokens_per_month = Some(20);
    rights.llm.tokens_per_day = Some(1_000_000);
    let key = place.key(Rights::Caller(rights)).await;

    for tokens in [15, 30] {
        let mut call = place.begin(&key, false);
        let running = worker.next_call().await;
        let report = CallReport {
            attempt: running.attempt(),
            prompt: 12,
            completion: 3,
            source: CountSource::Usage,
            total_ms: 40,
            ..CallReport::default()
        };
        worker.report(report).await;
        running.answer_json(200, COMPLETION);
        assert_eq!(read(&mut call).await.status(), 200);
        let what = "the tokens are counted";
        let is_counted = |state: &Value| state["usage"][0]["month"]["tokens"] == tokens;
        place.pool.until(what, is_counted).await;
    }

    let exhausted = (429, "budget_exhausted".to_owned());
    assert_eq!(place.refused(key.expose(), &ask("m")).await, exhausted);
}

#[tokio::test]
async fn rates_networks_and_calls_at_once_hold_for_llms() {
    let place = Place::start().await;
    let mut worker = worker(&place.pool, "alpha", 4).await;
    let mut slow = for_models(&["m"]);
    slow.limits.rate = Some("1/h".parse().unwrap());
    let mut single = for_models(&["m"]);
    single.limits.concurrency = Some(1);
    let mut elsewhere = for_models(&["m"]);
    elsewhere.networks = "10.0.0.0/8".parse().unwrap();
    let [slow, single, elsewhere] = [
        place.key(Rights::Caller(slow)).await,
        place.key(Rights::Caller(single)).await,
        place.key(Rights::Caller(elsewhere)).await,
    ];
    let mut running = Vec::new();
    let mut calls = Vec::new();
    for key in [&slow, &single] {
        calls.push(place.begin(key, false));
        running.push(worker.next_call().await);
    }

    let body = ask("m");
    let refused = place.chat(slow.expose(), &body).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let wait = refused.headers()["retry-after"].to_str().unwrap();
    assert!((3500..=3600).contains(&wait.parse().unwrap()), "{wait}");
    let busy = (429, "too_many_waiting".to_owned());
    assert_eq!(place.refused(single.expose(), &body).await, busy);
    let foreign = (403, "not_offered".to_owned());
    assert_eq!(place.refused(elsewhere.expose(), &body).await, foreign);
    for (call, running) in calls.iter_mut().zip(running) {
        running.answer_json(200, COMPLETION);
        assert_eq!(read(call).await.status(), 200);
    }
    assert_eq!(place.refused(single.expose(), &ask("none")).await.0, 404);
}

/// The other tests are about callers. A worker comes with the ids and the kind that its key names.
#[tokio::test]
async fn a_worker_key_lets_workers_in_by_kind_and_id() {
    let place = Place::start().await;
    let key = |kinds: &[WorkerKind], ids: &[&str]| WorkerRights {
        kinds: kinds.to_vec(),
        ..WorkerRights::of(ids.iter().map(|id| id.parse().unwrap()).collect())
    };
    let llm = place
        .key(Rights::Worker(key(&[WorkerKind::Llm], &["gpu"])))
        .await;
    let mcp = place
        .key(Rights::Worker(key(&[WorkerKind::Mcp], &["*"])))
        .await;
    let connect = |upgrade: Upgrade, key: &KeyText| {
        let authorization = format!("Bearer {}", key.expose());
        let upgrade = upgrade.with("authorization", &authorization);
        let url = &place.pool;
        async move { upgrade.answer(url).await }
    };

    let status = |answer: &llamapool_testkit::RawAnswer| answer.status;
    let admitted = connect(Upgrade::for_worker("gpu"), &llm).await;
    assert_eq!(status(&admitted), 101, "{}", admitted.head);
    for (refused, why) in [
        (connect(Upgrade::for_id("gpu"), &llm).await, "the kind mcp"),
        (connect(Upgrade::for_worker("other"), &llm).await, "the id"),
        (
            connect(Upgrade::for_worker("x"), &mcp).await,
            "the kind llm",
        ),
        (
            Upgrade::for_worker("gpu").answer(&place.pool).await,
            "reserved",
        ),
    ] {
        assert_eq!(status(&refused), 403, "{why}: {}", refused.head);
    }
    // What no key names is for the bootstrap key.
    let free = Upgrade::for_worker("free").answer(&place.pool).await;
    assert_eq!(status(&free), 101, "{}", free.head);
}

/// The lines say who called which model, how it ended, and nothing of what was said.
#[tokio::test]
async fn every_call_is_in_the_audit_log_if_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDirConfig::Required(folder.path().to_owned());
    let pool = Pool::with(|server| {
        server.data_dir = data_dir;
        server.audit.calls = AuditCalls::All;
    })
    .await;
    let place = Place { pool, folder };
    let key = place.key_for_m().await;
    let mut worker = worker(&place.pool, "alpha", 1).await;

    place.refused(key.expose(), &ask("nothing")).await;
    let mut call = place.begin(&key, false);
    worker.next_call().await.answer_json(200, COMPLETION);
    assert_eq!(read(&mut call).await.status(), 200);

    let files = audit_files(&place.folder.path().join(AUDIT_FOLDER)).unwrap();
    let lines = soon("two lines", async {
        loop {
            let texts = files
                .iter()
                .map(|it| std::fs::read_to_string(&it.path).unwrap());
            let text: String = texts.collect();
            let ended = text.lines().filter(|line| line.contains("call.ended"));
            let ended: Vec<Value> = ended
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            if ended.len() == 2 {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    let seen = |line: &Value| {
        let detail = &line["detail"];
        json!([
            line["actor"],
            line["outcome"],
            detail["endpoint"],
            detail["model"]
        ])
    };
    let actor = format!("key:{}", key.id());
    assert_eq!(seen(&lines[0]), json!([actor, "failed", "chat", null]));
    assert_eq!(seen(&lines[1]), json!([actor, "ok", "chat", "m"]));
}
