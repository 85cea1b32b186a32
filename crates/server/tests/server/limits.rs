//! Limits of keys and ids as callers meet them: rates, calls at once, event streams, quotas,
//! networks, wrong keys, and the address that all of that goes by.

use std::time::SystemTime;

use llamapool_identity::{
    AccessLimits, AccessMode, AccessRule, CallerRights, Day, Key, KeyOrigin, KeySecret, Limits,
    Quotas, Rights, Store, digest_of,
};
use llamapool_server::DataDirConfig;
use llamapool_testkit::{
    API_KEY, Answer, PendingCall, Pool, Provider, ScriptedProvider, ServerConfig, Upgrade,
    event_stream, soon, tools_call,
};
use serde_json::Value;

/// Returns a declared caller key for all ids. Its secret is its name.
fn key(name: &str, rights: CallerRights) -> Key {
    Key {
        id: name.parse().unwrap(),
        name: name.to_owned(),
        rights: Rights::Caller(CallerRights {
            ids: vec!["*".parse().unwrap()],
            ..rights
        }),
        origin: KeyOrigin::Declared,
        created_at: SystemTime::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        secrets: vec![KeySecret {
            digest: digest_of(name.as_bytes()),
            expires_at: None,
        }],
    }
}

fn limited(name: &str, limits: Limits) -> Key {
    let rights = CallerRights {
        limits: Box::new(limits),
        ..CallerRights::default()
    };
    key(name, rights)
}

/// Returns a function that lets a server ask for these keys.
fn with_keys(keys: Vec<Key>) -> impl FnOnce(&mut ServerConfig) {
    move |server| {
        server.identity.default_access = AccessMode::Keys;
        server.identity.declared.keys = keys;
    }
}

fn rule(pattern: &str, mode: AccessMode, limits: AccessLimits) -> AccessRule {
    AccessRule {
        limits,
        ..AccessRule::new(pattern.parse().unwrap(), mode)
    }
}

fn request(pool: &Pool, id: &str, key: &str) -> reqwest::RequestBuilder {
    let request = pool.http.post(pool.mcp(id)).json(&tools_call(1, "echo"));
    let request = request.header("accept", "application/json, text/event-stream");
    if key.is_empty() {
        return request;
    }
    request.bearer_auth(key)
}

async fn call(pool: &Pool, id: &str, key: &str) -> Answer {
    Answer::read(request(pool, id, key).send().await.unwrap()).await
}

/// Calls through a reverse proxy that names these addresses.
async fn call_from(pool: &Pool, key: &str, forwarded: &str) -> (u16, String) {
    let request = request(pool, "notes", key).header("x-forwarded-for", forwarded);
    let answer = Answer::read(request.send().await.unwrap()).await;
    (answer.status(), word(&answer).to_owned())
}

fn word(answer: &Answer) -> &str {
    answer.header("llamapool-error").unwrap_or_default()
}

fn seconds(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_call_beyond_a_rate_is_refused_with_its_limit() {
    let limits = Limits {
        rate: Some("2/h".parse().unwrap()),
        ..Limits::default()
    };
    let keys = vec![
        limited("slow", limits),
        key("free", CallerRights::default()),
    ];
    let pool = Pool::with(with_keys(keys)).await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("notes", &provider.url).await;

    let first = call(&pool, "notes", "slow").await;
    assert_eq!(first.status(), 200);
    assert_eq!(first.header("ratelimit"), None, "on refusals alone");
    assert_eq!(call(&pool, "notes", "slow").await.status(), 200);
    let refused = call(&pool, "notes", "slow").await;

    assert_eq!((refused.status(), word(&refused)), (429, "rate_limited"));
    let wait = seconds(&refused);
    assert!((1790..=1800).contains(&wait), "{wait}");
    let policy = refused.header("ratelimit-policy");
    assert_eq!(policy, Some(r#""key-rate";q=2;w=3600"#));
    let state = format!(r#""key-rate";r=0;t={wait}"#);
    assert_eq!(refused.header("ratelimit"), Some(&*state));
    assert_eq!(refused.json()["error"]["code"], 4293);
    assert_eq!(call(&pool, "notes", "free").await.status(), 200);
}

#[tokio::test]
async fn limits_are_asked_before_the_id_is_looked_up() {
    let limits = Limits {
        rate: Some("2/h".parse().unwrap()),
        ..Limits::default()
    };
    let pool = Pool::with(with_keys(vec![limited("slow", limits)])).await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("notes", &provider.url).await;
    let plain = |answer: &Answer| {
        let mut body = answer.json();
        body["error"]["data"]["req_id"] = Value::Null;
        body
    };

    for _ in 0..2 {
        let unknown = call(&pool, "nothing", "slow").await;
        assert_eq!(word(&unknown), "relay_offline");
    }
    let known = call(&pool, "notes", "slow").await;
    let unknown = call(&pool, "nothing", "slow").await;

    assert_eq!(word(&known), "rate_limited");
    assert_eq!(plain(&known), plain(&unknown));
}

#[tokio::test]
async fn a_call_counts_until_the_end_of_its_answer() {
    let limits = Limits {
        concurrency: Some(1),
        ..Limits::default()
    };
    let pool = Pool::with(with_keys(vec![limited("one", limits)])).await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = pool.relay("notes", &provider.url).await;
    let mut running = PendingCall::start(request(&pool, "notes", "one"));
    let (events, response) = event_stream();
    provider.next_request().await.answer(response);
    let running = running.answer().await;

    let refused = call(&pool, "notes", "one").await;
    assert_eq!((refused.status(), word(&refused)), (429, "too_many_calls"));
    let policy = refused.header("ratelimit-policy");
    let expected = r#""key-concurrency";q=1;qu="concurrent-requests""#;
    assert_eq!(policy, Some(expected));

    drop(events);
    running.bytes().await.unwrap();
    let mut next = PendingCall::start(request(&pool, "notes", "one"));
    let (events, response) = event_stream();
    provider.next_request().await.answer(response);
    drop(events);
    assert_eq!(next.answer().await.status(), 200);
}

#[tokio::test]
async fn event_streams_have_a_number_of_their_own() {
    let limits = Limits {
        concurrency: Some(1),
        streams: Some(2),
        ..Limits::default()
    };
    let pool = Pool::with(with_keys(vec![limited("one", limits)])).await;
    let mut provider = ScriptedProvider::start().await;
    let _relay = pool.relay("notes", &provider.url).await;
    let listen = || {
        let request = pool.http.get(pool.mcp("notes")).bearer_auth("one");
        request.header("accept", "text/event-stream")
    };

    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = PendingCall::start(listen());
        let (events, response) = event_stream();
        provider.next_request().await.answer(response);
        open.push((events, stream.answer().await));
    }
    let refused = Answer::read(listen().send().await.unwrap()).await;
    assert_eq!((refused.status(), word(&refused)), (429, "too_many_calls"));
    let policy = refused.header("ratelimit-policy").unwrap();
    assert!(policy.starts_with(r#""key-streams";q=2"#), "{policy}");

    let mut beside = PendingCall::start(request(&pool, "notes", "one"));
    let (events, response) = event_stream();
    provider.next_request().await.answer(response);
    drop(events);
    assert_eq!(beside.answer().await.status(), 200, "streams take no place");
}

#[tokio::test]
async fn an_id_has_limits_for_all_its_callers() {
    let limits = AccessLimits {
        rate: Some("1/h".parse().unwrap()),
        ..AccessLimits::default()
    };
    let pool = Pool::with(|server| {
        server.identity.declared.access = vec![rule("team-*", AccessMode::Open, limits)];
    })
    .await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("team-a", &provider.url).await;
    let _other = pool.relay("notes", &provider.url).await;

    assert_eq!(call(&pool, "team-a", "").await.status(), 200);
    let refused = call(&pool, "team-a", "").await;

    assert_eq!((refused.status(), word(&refused)), (429, "rate_limited"));
    let policy = refused.header("ratelimit-policy");
    assert_eq!(policy, Some(r#""id-rate";q=1;w=3600"#));
    assert_eq!(word(&call(&pool, "team-b", "").await), "relay_offline");
    for _ in 0..3 {
        assert_eq!(call(&pool, "notes", "").await.status(), 200);
    }
}

/// The key of an office, and an id that only the office may call.
fn of_the_office(server: &mut ServerConfig) {
    let office = || "10.0.0.0/8".parse().unwrap();
    let rights = CallerRights {
        networks: office(),
        ..CallerRights::default()
    };
    let limits = AccessLimits {
        networks: office(),
        ..AccessLimits::default()
    };
    let rules = vec![
        rule("notes", AccessMode::Keys, AccessLimits::default()),
        rule("inside", AccessMode::Open, limits),
    ];
    server.identity.declared.access = rules;
    server.identity.declared.keys = vec![key("office", rights)];
}

#[tokio::test]
async fn a_forged_address_opens_nothing() {
    let provider = Provider::echoing().await;
    let inside = "10.1.2.3";
    let refused = (403, "not_allowed".to_owned());
    let answered = (200, String::new());

    // Whoever connects is the caller.
    let plain = Pool::with(of_the_office).await;
    let _relay = plain.relay("notes", &provider.url).await;
    assert_eq!(call_from(&plain, "office", inside).await, refused);

    // One proxy: what it has appended counts.
    let behind = Pool::with(|server| {
        of_the_office(server);
        server.listen.trust_forwarded = true;
    })
    .await;
    let _relay = behind.relay("notes", &provider.url).await;
    assert_eq!(call_from(&behind, "office", inside).await, answered);
    let forged = format!("{inside}, 203.0.113.7");
    assert_eq!(call_from(&behind, "office", &forged).await, refused);
    assert_eq!(call_from(&behind, "office", "unknown").await, refused);

    // Two proxies: the entry of the outer one counts, and none before it.
    let behind_two = Pool::with(|server| {
        of_the_office(server);
        server.listen.trust_forwarded = true;
        server.listen.trusted_proxies = vec!["198.51.100.1/32".parse().unwrap()];
    })
    .await;
    let _relay = behind_two.relay("notes", &provider.url).await;
    let passed = format!("{inside}, 198.51.100.1");
    assert_eq!(call_from(&behind_two, "office", &passed).await, answered);
    let forged = format!("{inside}, 203.0.113.7, 198.51.100.1");
    assert_eq!(call_from(&behind_two, "office", &forged).await, refused);
    let imitated = format!("{inside}, 198.51.100.1, 203.0.113.7");
    assert_eq!(call_from(&behind_two, "office", &imitated).await, refused);
}

#[tokio::test]
async fn an_id_that_is_not_for_an_address_does_not_show_itself() {
    let pool = Pool::with(|server| {
        of_the_office(server);
        server.listen.trust_forwarded = true;
    })
    .await;
    let provider = Provider::echoing().await;
    let outside = || request(&pool, "inside", "").header("x-forwarded-for", "203.0.113.7");

    let before = Answer::read(outside().send().await.unwrap()).await;
    let _relay = pool.relay("inside", &provider.url).await;
    let after = Answer::read(outside().send().await.unwrap()).await;
    let inside = request(&pool, "inside", "").header("x-forwarded-for", "10.1.2.3");

    for refused in [&before, &after] {
        assert_eq!((refused.status(), word(refused)), (403, "not_allowed"));
        assert!(refused.text().contains("203.0.113.7"), "{}", refused.text());
    }
    assert_eq!(inside.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn wrong_keys_of_an_address_never_lock_a_right_one_out() {
    let pool = Pool::with(|server| {
        with_keys(vec![key("right", CallerRights::default())])(server);
        server.listen.trust_forwarded = true;
    })
    .await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("notes", &provider.url).await;

    for number in 0..20 {
        // What a caller puts in front is not the address that it is counted by.
        let forged = format!("203.0.113.{number}, 192.0.2.1");
        let (status, word) = call_from(&pool, "wrong", &forged).await;
        assert_eq!((status, &*word), (401, "key_invalid"), "{number}");
    }
    let slowed = request(&pool, "notes", "wrong").header("x-forwarded-for", "192.0.2.1");
    let slowed = Answer::read(slowed.send().await.unwrap()).await;

    assert_eq!((slowed.status(), word(&slowed)), (429, "rate_limited"));
    assert!((1..=6).contains(&seconds(&slowed)));
    assert_eq!(slowed.header("www-authenticate"), None);
    assert_eq!(call_from(&pool, "right", "192.0.2.1").await.0, 200);
    assert_eq!(call_from(&pool, "", "192.0.2.1").await.0, 401);
    assert_eq!(call_from(&pool, "wrong", "192.0.2.2").await.0, 401);
}

#[tokio::test]
async fn every_door_slows_wrong_keys_of_an_address() {
    let pool = Pool::start().await;
    let get = |path: &str, key: &str| {
        let request = pool.http.get(format!("{}{path}", pool.url));
        request.bearer_auth(key).send()
    };

    for _ in 0..20 {
        assert_eq!(get("/api/state", "wrong").await.unwrap().status(), 401);
    }
    let state = Answer::read(get("/api/state", "wrong").await.unwrap()).await;
    let models = Answer::read(get("/api/v1/models", "wrong").await.unwrap()).await;

    assert_eq!(state.status(), 429);
    assert_eq!(state.json()["error"], "rate_limited");
    assert!((1..=6).contains(&seconds(&state)));
    assert_eq!((models.status(), word(&models)), (429, "rate_limited"));
    assert_eq!(models.json()["error"]["type"], "rate_limit_error");
    for path in ["/api/state", "/api/v1/models"] {
        assert_eq!(get(path, API_KEY).await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn what_a_key_has_used_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = |server: &mut ServerConfig| {
        let limits = Limits {
            quotas: Quotas {
                calls_per_month: Some(2),
                ..Quotas::default()
            },
            ..Limits::default()
        };
        with_keys(vec![limited("few", limits)])(server);
        server.data_dir = DataDirConfig::Required(folder.path().to_owned());
    };
    let provider = Provider::echoing().await;

    let mut pool = Pool::with(server).await;
    let relay = pool.relay("notes", &provider.url).await;
    for _ in 0..2 {
        assert_eq!(call(&pool, "notes", "few").await.status(), 200);
    }
    drop(relay);
    pool.drain();
    let store = Store::open_in(folder.path()).unwrap();
    let stored = soon("the usage is stored", async {
        loop {
            let stored = store.usage_since(Day(0)).unwrap();
            if !stored.is_empty() {
                return stored;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(pool);

    let (id, _, usage) = &stored[0];
    assert_eq!((id.as_str(), usage.calls), ("few", 2));
    assert!(usage.bytes_in > 0 && usage.bytes_out > 0, "{usage:?}");
    let pool = Pool::with(server).await;
    let refused = call(&pool, "notes", "few").await;
    assert_eq!((refused.status(), word(&refused)), (429, "quota_used_up"));
    let policy = refused.header("ratelimit-policy").unwrap();
    assert!(
        policy.starts_with(r#""calls_per_month";q=2;w="#),
        "{policy}"
    );
    assert!(seconds(&refused) > 0);
}

#[tokio::test]
async fn the_state_shows_limits_and_use_and_no_secret() {
    let limits = Limits {
        rate: Some("100/min".parse().unwrap()),
        ..Limits::default()
    };
    let mut used = key("one", CallerRights::default());
    used.name = "laptop".to_owned();
    used.secrets[0].digest = digest_of(b"the secret of one");
    let unused = key("unused", CallerRights::default());
    let keys = vec![limited("limited", limits), used, unused];
    let pool = Pool::with(with_keys(keys)).await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("notes", &provider.url).await;

    let answer = call(&pool, "notes", "the secret of one").await;
    assert_eq!(answer.status(), 200);
    let state = pool
        .until("the call is counted", |state| {
            state["usage"][0]["today"]["bytes_out"] != 0 && state["usage"][0]["running"] == 0
        })
        .await;

    let usage = state["usage"].as_array().unwrap();
    assert_eq!(usage.len(), 2, "{usage:?}");
    assert_eq!(usage[0]["key"], "one");
    assert_eq!(usage[0]["name"], "laptop");
    assert_eq!(usage[0]["month"]["calls"], 1);
    assert_eq!(usage[1]["key"], "limited");
    assert_eq!(usage[1]["limits"]["rate"], "100/min");
    assert!(!state.to_string().contains("the secret"));
}

#[tokio::test]
async fn wrong_worker_keys_of_an_address_are_slowed() {
    let pool = Pool::start().await;
    let refused = async |key: &str| {
        let upgrade = Upgrade::for_id("mcp-1").with("authorization", &format!("Bearer {key}"));
        let answer = upgrade.answer(&pool).await;
        let status = answer.status;
        let body: serde_json::Value = answer.json().await;
        (
            status,
            body["error"].as_str().unwrap_or_default().to_owned(),
        )
    };

    for _ in 0..20 {
        assert_eq!(refused("wrong").await, (401, "wrong_key".to_owned()));
    }
    assert_eq!(
        refused("wrong").await,
        (429, "too_many_wrong_keys".to_owned())
    );

    let provider = Provider::echoing().await;
    let _relay = pool.relay("mcp-1", &provider.url).await;
}
