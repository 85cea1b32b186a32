//! The administration API: what it takes and answers, who gets in, and what two administrators do to
//! each other.

mod refusals;
mod shapes;

use std::time::SystemTime;

use futures_util::StreamExt;
use llamapool_identity::{AccessMode, AdminRight, AdminRights, KeyText, NewKey, Rights, Store};
use llamapool_server::DataDirConfig;
use llamapool_testkit::{
    API_KEY, Answer, PendingCall, Pool, Provider, ScriptedProvider, ServerConfig, event_stream,
    soon, tools_call,
};
use serde_json::{Value, json};

/// A server with a store, and its administration API.
pub(crate) struct Place {
    pub(crate) pool: Pool,
    pub(crate) folder: tempfile::TempDir,
}

/// A request to the API.
pub(crate) struct Ask {
    method: &'static str,
    path: String,
    key: String,
    body: Option<Value>,
    headers: Vec<(&'static str, String)>,
}

pub(crate) fn ask(method: &'static str, path: &str) -> Ask {
    Ask {
        method,
        path: path.to_owned(),
        key: API_KEY.to_owned(),
        body: None,
        headers: Vec::new(),
    }
}

impl Ask {
    pub(crate) fn body(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    pub(crate) fn by(self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl Place {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(configure: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), configure).await
    }

    pub(crate) async fn in_folder(
        folder: tempfile::TempDir,
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let data_dir = DataDirConfig::Required(folder.path().to_owned());
        let pool = Pool::with(|server| {
            server.data_dir = data_dir;
            server.identity.default_access = AccessMode::Keys;
            configure(server);
        })
        .await;
        Self { pool, folder }
    }

    pub(crate) fn request(&self, ask: &Ask) -> reqwest::RequestBuilder {
        let method = ask.method.parse().unwrap();
        let url = format!("{}/api/admin/{}", self.pool.url, ask.path);
        let mut request = self.pool.http.request(method, url).bearer_auth(&ask.key);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        match &ask.body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        let answer = soon("an answer", self.request(&ask).send()).await.unwrap();
        Answer::read(answer).await
    }

    /// Asks for what must succeed. Returns the body.
    pub(crate) async fn done(&self, ask: Ask) -> Value {
        let answer = self.ask(ask).await;
        assert!(answer.status() < 300, "{}", answer.text());
        answer.json()
    }

    /// Creates a key through the API. Returns its record with its text.
    pub(crate) async fn key(&self, name: &str, rights: Value) -> Value {
        let body = json!({"name": name, "rights": rights});
        self.done(ask("POST", "keys").body(body)).await
    }

    pub(crate) async fn call(&self, id: &str, key: &str) -> u16 {
        let request = self.pool.http.post(self.pool.mcp(id)).bearer_auth(key);
        let request = request.json(&tools_call(1, "echo"));
        let answer = soon("an answer", request.send()).await.unwrap();
        answer.status().as_u16()
    }
}

pub(crate) fn text<'a>(record: &'a Value, member: &str) -> &'a str {
    record[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member}: {record}"))
}

/// Creates an admin key in the store of a folder.
pub(crate) fn admin_key(folder: &std::path::Path, name: &str, may: &[AdminRight]) -> KeyText {
    let rights = Rights::Admin(AdminRights::of(may.iter().copied()));
    let text = KeyText::random(rights.kind());
    let key = NewKey {
        id: text.id().clone(),
        name: name.to_owned(),
        rights,
        digest: text.digest(),
        expires_at: None,
    };
    let mut store = Store::open_in(folder).unwrap();
    store.create_key(&key, SystemTime::now()).unwrap();
    text
}

#[tokio::test]
async fn a_key_works_when_its_creation_is_answered() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;

    for turn in 0..20 {
        let rights = json!({"caller": {"ids": ["notes"]}});
        let key = place.key(&format!("laptop {turn}"), rights).await;
        let id = text(&key, "id");
        let secret = text(&key, "key");
        assert_eq!(place.call("notes", secret).await, 200);

        let revoked = place.done(ask("DELETE", &format!("keys/{id}"))).await;
        assert_eq!(revoked["status"], "revoked");
        assert_eq!(place.call("notes", secret).await, 401);
    }
    let shown = place.done(ask("GET", "keys")).await;
    assert!(!shown.to_string().contains("llp_"), "{shown}");
}

#[tokio::test]
async fn a_revocation_resets_a_stream_and_says_so() {
    let place = Place::start().await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let rights = json!({"caller": {"ids": ["notes"]}});
    let key = place.key("laptop", rights).await;
    let call = place.pool.http.post(place.pool.mcp("notes"));
    let call = call.bearer_auth(text(&key, "key"));
    let call = call.header("accept", "text/event-stream");
    let mut call = PendingCall::start(call.json(&tools_call(1, "scripted")));
    let (events, response) = event_stream();
    provider.next_request().await.answer(response);
    let mut body = call.answer().await.bytes_stream();
    events.send(Ok("data: 1\n\n".into())).await.unwrap();
    let first = soon("an event", body.next()).await.unwrap().unwrap();
    assert_eq!(first, "data: 1\n\n");

    let path = format!("keys/{}", text(&key, "id"));
    let renamed = ask("PATCH", &path).body(json!({"name": "other"}));
    assert_eq!(place.done(renamed).await["ended"], 0);
    let revoked = place.done(ask("DELETE", &path)).await;

    assert_eq!(revoked["ended"], 1, "{revoked}");
    let end = soon("the stream is reset", body.next()).await;
    assert!(end.expect("no clean end").is_err());
    let again = place.done(ask("DELETE", &path)).await;
    assert_eq!(
        (again["ended"].clone(), text(&again, "status")),
        (json!(0), "revoked")
    );
}

#[tokio::test]
async fn of_two_administrators_one_changes_a_key() {
    let place = Place::start().await;
    let key = place.key("laptop", json!({"caller": {"ids": ["a"]}})).await;
    let path = format!("keys/{}", text(&key, "id"));
    let read = place.ask(ask("GET", &path)).await;
    let tag = read.header("etag").unwrap().to_owned();

    let change = |name: String| {
        let ask = ask("PATCH", &path).body(json!({"name": name}));
        place.ask(ask.with("if-match", &tag))
    };
    let names = (0..10).map(|number| change(format!("laptop {number}")));
    let answers = futures_util::future::join_all(names).await;

    let count = |status| answers.iter().filter(|it| it.status() == status).count();
    assert_eq!((count(200), count(412)), (1, 9));
    let won = answers
        .iter()
        .find(|answer| answer.status() == 200)
        .unwrap();
    assert_ne!(won.header("etag"), Some(tag.as_str()));
    let now = place.ask(ask("GET", &path)).await;
    assert_eq!(now.header("etag"), won.header("etag"));
    assert_eq!(now.json()["name"], won.json()["name"]);
    let stale = ask("DELETE", &path).with("if-match", &tag);
    let stale = place.ask(stale).await;
    assert_eq!(
        (stale.status(), text(&stale.json(), "error")),
        (412, "changed")
    );
}

#[tokio::test]
async fn a_creation_that_is_sent_twice_makes_one_key() {
    let place = Place::start().await;
    let creation = || {
        let body = json!({"name": "laptop", "rights": {"caller": {"ids": ["a"]}}});
        place.ask(ask("POST", "keys").body(body))
    };

    let answers = futures_util::future::join_all((0..5).map(|_| creation())).await;

    let created: Vec<_> = answers.iter().filter(|it| it.status() == 201).collect();
    assert_eq!(created.len(), 1);
    let id = created[0].json()["id"].clone();
    for refused in answers.iter().filter(|it| it.status() != 201) {
        let body = refused.json();
        assert_eq!(
            (refused.status(), text(&body, "error")),
            (409, "name_taken")
        );
        assert!(
            text(&body, "message").contains(id.as_str().unwrap()),
            "{body}"
        );
    }
    let shown = place.done(ask("GET", "keys")).await;
    assert_eq!(shown["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_rotation_keeps_the_key_and_ends_the_old_secret() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.key("ci", json!({"caller": {"ids": ["notes"]}})).await;
    let path = format!("keys/{}/rotate", text(&key, "id"));

    let first = place.done(ask("POST", &path)).await;
    let second = ask("POST", &path).body(json!({"overlap_seconds": 0}));
    let second = place.done(second).await;

    assert_eq!(first["secrets"].as_array().unwrap().len(), 2);
    for old in [&key, &first] {
        assert_eq!(place.call("notes", text(old, "key")).await, 401);
    }
    assert_eq!(place.call("notes", text(&second, "key")).await, 200);
}

#[tokio::test]
async fn what_was_answered_holds_after_a_crash() {
    let mut place = Place::start().await;
    let provider = Provider::echoing().await;
    let rights = json!({"caller": {"ids": ["notes"]}});
    let kept = place.key("kept", rights.clone()).await;
    let gone = place.key("gone", rights).await;
    place
        .done(ask("DELETE", &format!("keys/{}", text(&gone, "id"))))
        .await;
    place.pool.kill();

    let Place { pool, folder } = place;
    drop(pool);
    let place = Place::in_folder(folder, |_| {}).await;

    let _relay = place.pool.relay("notes", &provider.url).await;
    assert_eq!(place.call("notes", text(&kept, "key")).await, 200);
    assert_eq!(place.call("notes", text(&gone, "key")).await, 401);
}

#[tokio::test]
async fn the_access_of_ids_changes_at_once() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    assert_eq!(place.call("notes", "no key").await, 401);

    let open = || ask("PUT", "access/notes").body(json!({"access": "open"}));
    place.done(open().with("if-none-match", "*")).await;
    assert_eq!(place.call("notes", "no key").await, 200);
    let again = place.ask(open().with("if-none-match", "*")).await;
    assert_eq!(again.status(), 412, "{}", again.text());

    let read = place.ask(ask("GET", "access/notes")).await;
    let tag = read.header("etag").unwrap();
    let read_only = json!({"access": "open", "messages": {"methods": ["read"]}});
    let changed = ask("PUT", "access/notes")
        .body(read_only)
        .with("if-match", tag);
    place.done(changed).await;
    assert_eq!(place.call("notes", "no key").await, 403);
    let removed = place
        .ask(ask("DELETE", "access/notes").with("if-match", tag))
        .await;
    assert_eq!(removed.status(), 412, "{}", removed.text());
    place.done(ask("DELETE", "access/notes")).await;
    assert_eq!(place.call("notes", "no key").await, 401);
    assert_eq!(place.ask(ask("DELETE", "access/notes")).await.status(), 404);
}

#[tokio::test]
async fn what_a_key_uses_is_shown_at_once() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.key("ci", json!({"caller": {"ids": ["notes"]}})).await;
    let idle = place
        .key("idle", json!({"caller": {"ids": ["notes"]}}))
        .await;

    for _ in 0..3 {
        assert_eq!(place.call("notes", text(&key, "key")).await, 200);
    }

    let shown = place
        .done(ask("GET", &format!("keys/{}", text(&key, "id"))))
        .await;
    assert_eq!(shown["used_today"]["calls"], 3, "{shown}");
    assert!(shown["last_used_at"].is_string(), "{shown}");
    let usage = place.done(ask("GET", "usage")).await;
    let usage = usage["usage"].as_array().unwrap();
    assert_eq!(usage.len(), 1, "{usage:?} without {idle}");
    assert_eq!(usage[0]["key"], key["id"]);
    assert_eq!(usage[0]["used_this_month"]["calls"], 3);
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let place = Place::start().await;
    let mut names = std::collections::BTreeSet::new();
    for number in 0..5 {
        let name = format!("key {number}");
        place
            .key(&name, json!({"worker": {"ids": "assigned"}}))
            .await;
        names.insert(name);
    }

    let mut seen = std::collections::BTreeSet::new();
    let mut path = "keys?kind=worker&limit=2".to_owned();
    for pages in 1.. {
        assert!(pages <= 3, "it ends");
        let page = place.done(ask("GET", &path)).await;
        let keys = page["keys"].as_array().unwrap();
        assert!((1..=2).contains(&keys.len()), "{page}");
        seen.extend(keys.iter().map(|key| text(key, "name").to_owned()));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("keys?kind=worker&limit=2&after={next}");
    }

    assert_eq!(seen, names);
    let callers = place.done(ask("GET", "keys?kind=caller")).await;
    assert_eq!(callers["keys"], json!([]));
}
