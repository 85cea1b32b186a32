//! The audit log of a server: what is in it of each step, once, and what never is.

use std::fs;
use std::time::{Duration, SystemTime};

use llamapool_identity::{
    AUDIT_FOLDER, AccessMode, AccessRule, AddressForm, CallerRights, ChainKey, EndReason, KeyKind,
    KeyText, NewKey, Rights, audit_files, verify_folder,
};
use llamapool_server::{AuditCalls, server_key};
use llamapool_testkit::{API_KEY, Provider, WORKER_KEY, json_answer, soon};
use llamapool_wire::Secret;
use serde_json::{Value, json};

use crate::kit::{App, Place, REDIRECT, VERIFIER, applied, location, parameter, sealed, text};

impl Place {
    /// Returns the text of the audit log.
    fn audit_text(&self) -> String {
        let files = audit_files(&self.folder.path().join(AUDIT_FOLDER)).unwrap();
        let texts = files.iter().map(|it| fs::read_to_string(&it.path).unwrap());
        texts.collect()
    }

    /// Returns the lines of the audit log that are whole.
    fn audit(&self) -> Vec<Value> {
        let text = self.audit_text();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    /// Returns the lines of an event.
    fn audited(&self, event: &str) -> Vec<Value> {
        let mut lines = self.audit();
        lines.retain(|line| line["event"] == event);
        lines
    }

    /// Waits for the line of an event, and returns the last one.
    async fn soon_audited(&self, event: &str) -> Value {
        soon(event, async {
            loop {
                if let Some(line) = self.audited(event).pop() {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// Stops the server in order, so that everything is written.
    async fn stopped(&mut self) {
        self.pool.drain();
        self.soon_audited("audit.closed").await;
        let key = server_key(self.folder.path()).unwrap().unwrap();
        let folder = self.folder.path().join(AUDIT_FOLDER);
        let verified = verify_folder(&folder, ChainKey::new(&key), Vec::new()).unwrap();
        assert_eq!(verified.total, 0, "{verified:?}");
    }
}

async fn deny(place: &Place, app: &App) {
    let page = app.page(place, "notes").await;
    let form = [("request", sealed(&page)), ("decision", "deny".to_owned())];
    let form: Vec<_> = form
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    place.form("/oauth/consent", &form).await;
}

/// Signs in with everything that is secret on the way. Returns all of that.
#[tokio::test]
async fn each_step_of_a_sign_in_is_in_the_log_and_no_secret() {
    let mut place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let wrong = KeyText::random(KeyKind::Caller);
    let app = place.app(REDIRECT).await;
    let page = app.page(&place, "notes").await;
    place.allow(&page, wrong.expose(), &[]).await;
    deny(&place, &app).await;
    let answer = place.allow(&page, key.expose(), &[]).await;
    let code = parameter(&location(&answer), "code").unwrap();
    let tokens = app.redeem(&place, &code).await.json();
    let refreshed = app
        .refresh(&place, text(&tokens, "refresh_token"))
        .await
        .json();
    place
        .call("notes", Some(text(&refreshed, "access_token")))
        .await;
    let login_code = place.login_code();
    place.allow(&page, &login_code, &[]).await;
    let reused = app.redeem(&place, &code).await;
    assert_eq!(reused.status(), 400, "{}", reused.text());
    let mut store = place.store();
    let change = store.revoke_key(key.id(), SystemTime::now()).unwrap();
    applied(&store, change).await;
    place
        .call("notes", Some(text(&refreshed, "access_token")))
        .await;
    place.call("notes", Some(wrong.expose())).await;
    place.stopped().await;

    let by_key = format!("key:{}", key.id());
    for (event, member, expected) in [
        ("key.created", "key", key.id().as_str()),
        ("key.created", "actor", "command_line"),
        ("client.registered", "client", &app.id),
        ("client.registered", "actor", "server"),
        ("sign_in.failed", "client", &app.id),
        ("sign_in.failed", "address", "127.0.0.0/24"),
        ("consent.denied", "id", "notes"),
        ("sign_in.ok", "actor", &by_key),
        ("consent.given", "actor", "owner"),
        ("consent.given", "address", "127.0.0.0/24"),
        ("grant.created", "id", "notes"),
        ("grant.redeemed", "client", &app.id),
        ("grant.refreshed", "id", "notes"),
        ("grant.reuse", "outcome", "code_reuse"),
        ("key.revoked", "key", key.id().as_str()),
        ("credential.refused", "outcome", "key_unknown"),
        ("credential.refused", "outcome", "token_of_ended_grant"),
        ("audit.opened", "event", "audit.opened"),
    ] {
        let lines = place.audited(event);
        let has = lines.iter().any(|line| line[member] == expected);
        assert!(has, "{event} with {member} {expected}: {lines:#?}");
    }
    assert!(place.audited("consent.given")[0]["req_id"].is_string());

    let log = place.audit_text();
    let secrets = [
        key.expose(),
        wrong.expose(),
        &code,
        text(&tokens, "access_token"),
        text(&tokens, "refresh_token"),
        text(&refreshed, "access_token"),
        text(&refreshed, "refresh_token"),
        &login_code,
        &sealed(&page),
        VERIFIER,
        API_KEY,
        server_key(place.folder.path()).unwrap().unwrap().expose(),
    ]
    .map(str::to_owned);
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret}");
        // The secret part alone is as bad.
        let part = &secret[secret.len() / 2..];
        assert!(part.len() < 4 || !log.contains(part), "{part}");
    }
    assert!(!log.contains(&format!("\"{WORKER_KEY}\"")));
}

#[tokio::test]
async fn changes_without_a_server_are_written_once() {
    let mut place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    place.soon_audited("key.created").await;
    place.stopped().await;

    let mut store = place.store();
    let now = SystemTime::now();
    let offline = KeyText::random(KeyKind::Caller);
    let new = NewKey {
        id: offline.id().clone(),
        name: "made offline".to_owned(),
        rights: Rights::Caller(CallerRights::default()),
        digest: offline.digest(),
        expires_at: Some(now + Duration::from_secs(1)),
    };
    store.create_key(&new, now).unwrap();
    let digest = KeyText::rotated(key.id(), KeyKind::Caller).digest();
    store.rotate_key(key.id(), &digest, now, now).unwrap();
    let rule = AccessRule::new("notes".parse().unwrap(), AccessMode::Keys);
    store.set_rule(&rule, now).unwrap();
    drop(store);

    let Place { pool, folder } = place;
    drop(pool);
    let mut place = Place::in_folder(folder, |_| {}).await;
    place.soon_audited("access.changed").await;
    // Of this key nothing is changed: its time is over.
    let expired = place.soon_audited("key.expired").await;
    assert_eq!(expired["key"], offline.id().as_str());
    place.stopped().await;
    let Place { pool, folder } = place;
    drop(pool);
    let mut place = Place::in_folder(folder, |_| {}).await;
    place.stopped().await;

    for event in ["key.rotated", "access.changed", "key.expired"] {
        assert_eq!(place.audited(event).len(), 1, "{event}");
    }
    let created = place.audited("key.created");
    let created: Vec<_> = created.iter().map(|line| &line["detail"]["name"]).collect();
    assert_eq!(created, [&json!(key.id().as_str()), &json!("made offline")]);
    assert_eq!(place.audited("audit.opened").len(), 3);
}

#[tokio::test]
async fn a_process_that_is_killed_loses_no_change() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let Place { pool, folder } = place;
    drop(pool);

    let mut place = Place::in_folder(folder, |_| {}).await;
    place.soon_audited("key.created").await;
    place.stopped().await;

    let created = place.audited("key.created");
    assert_eq!(created.len(), 1, "{created:#?}");
    assert_eq!(created[0]["key"], key.id().as_str());
}

#[tokio::test]
async fn relays_are_in_the_log_when_they_come_are_refused_and_revoked() {
    let mut place = Place::start().await;
    let worker = place.worker_key(&["notes"]).await;
    let provider = Provider::answering(|_| async { json_answer("{}") }).await;
    let secret = Secret::new(worker.expose());
    let _relay = place
        .pool
        .relay_with("notes", &provider.url, |relay| {
            relay.identity.worker_key = Some(secret);
        })
        .await;
    let connect = format!("{}/api/mcp/connect", place.pool.url);
    let refused = place.pool.http.get(connect).send().await.unwrap();
    assert_eq!(refused.status(), 401);

    let mut store = place.store();
    let change = store.revoke_key(worker.id(), SystemTime::now()).unwrap();
    applied(&store, change).await;
    let revoked = place.soon_audited("relay.revoked").await;
    place.stopped().await;

    let by_key = format!("key:{}", worker.id());
    let connected = place.audited("relay.connected").remove(0);
    assert_eq!(
        (&connected["actor"], &connected["id"]),
        (&json!(by_key), &json!("notes"))
    );
    assert_eq!(revoked["actor"], by_key);
    let refused = place.audited("relay.refused").remove(0);
    assert_eq!(refused["outcome"], "wrong_key");
    assert!(!place.audit_text().contains(worker.expose()));
}

/// Starts a relay of `notes`, whose policy denies tools that delete.
async fn with_policy(place: &Place) -> (Provider, llamapool_testkit::Relay) {
    let mut store = place.store();
    let rule = AccessRule {
        messages: serde_json::from_value(json!({"tools": {"deny": ["*delete*"]}})).unwrap(),
        ..AccessRule::new("notes".parse().unwrap(), AccessMode::Keys)
    };
    let change = store.set_rule(&rule, SystemTime::now()).unwrap();
    applied(&store, change).await;
    let provider = Provider::answering(|_| async { json_answer("{}") }).await;
    let relay = place.pool.relay("notes", &provider.url).await;
    (provider, relay)
}

async fn call_tool(place: &Place, key: &KeyText, tool: &str) -> u16 {
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": {"what": "an argument of the caller"}},
    });
    let request = place.pool.http.post(place.pool.mcp("notes"));
    let answer = request.bearer_auth(key.expose()).json(&message).send();
    soon("an answer", answer).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_denied_call_is_in_the_log_with_its_tool_alone() {
    for (calls, denied, ended) in [
        (AuditCalls::None, 0, 0),
        (AuditCalls::Denied, 1, 0),
        (AuditCalls::All, 1, 1),
    ] {
        let mut place = Place::with(|server| server.audit.calls = calls).await;
        let key = place.caller_key(&["notes"]).await;
        let _relay = with_policy(&place).await;

        assert_eq!(call_tool(&place, &key, "read_all").await, 200);
        assert_eq!(call_tool(&place, &key, "delete_all").await, 403);
        place.stopped().await;

        let by_key = format!("key:{}", key.id());
        let lines = place.audited("call.denied");
        assert_eq!(lines.len(), denied, "{calls:?}");
        for line in lines {
            assert_eq!(
                (&line["actor"], &line["id"]),
                (&json!(by_key), &json!("notes"))
            );
            let what = line["detail"]["denied"].as_str().unwrap();
            assert_eq!(what, "tool \"delete_all\"");
            assert_eq!(line["outcome"], "message_denied");
        }
        let lines = place.audited("call.ended");
        assert_eq!(lines.len(), ended, "{calls:?}");
        for line in lines {
            assert_eq!(line["outcome"], "ok");
            assert_eq!(line["detail"]["method"], "tools/call");
        }
        assert!(!place.audit_text().contains("an argument"));
    }
}

#[tokio::test]
async fn addresses_are_written_as_the_settings_say() {
    for (form, expected) in [
        (AddressForm::Full, json!("127.0.0.1")),
        (AddressForm::Cut, json!("127.0.0.0/24")),
        (AddressForm::None, Value::Null),
    ] {
        let mut place = Place::with(|server| server.audit.address = form).await;
        let app = place.app(REDIRECT).await;
        deny(&place, &app).await;
        place.stopped().await;

        assert_eq!(place.audited("consent.denied")[0]["address"], expected);
    }
}

#[tokio::test]
async fn sign_ins_wait_for_a_log_that_must_be_written() {
    let place = Place::with(|server| server.audit.is_required = true).await;
    let key = place.caller_key(&["*"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;
    let provider = Provider::answering(|_| async { json_answer("{}") }).await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let page = app.page(&place, "notes").await;

    let log = place.folder.path().join(AUDIT_FOLDER);
    let away = place.folder.path().join("away");
    fs::rename(&log, &away).unwrap();
    let state = soon("the log fails", async {
        loop {
            let mut store = place.store();
            let id = app.id.parse().unwrap();
            store.block_client(&id, SystemTime::now()).unwrap();
            // The later one: until it is applied the client is blocked.
            let change = store.unblock_client(&id, SystemTime::now()).unwrap();
            applied(&store, change).await;
            let state = place.pool.state().await;
            if state["audit"]["status"] == "failing" {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(state["audit"]["write_failures_total"].as_u64() > Some(0));

    let allowed = place.allow(&page, key.expose(), &[]).await;
    assert_eq!(allowed.status(), 503, "{}", allowed.text());
    assert!(allowed.text().contains("audit log"), "{}", allowed.text());
    let registered = place.register(&json!({"redirect_uris": [REDIRECT]})).await;
    assert_eq!(registered.status(), 503, "{}", registered.text());
    let other = app.refresh(&place, text(&tokens, "refresh_token")).await;
    assert!(matches!(other.status(), 400 | 503), "{}", other.text());
    let called = place.call("notes", Some(key.expose())).await;
    assert_eq!(called.status(), 200, "calls go on");

    fs::rename(&away, &log).unwrap();
    soon("sign-ins go on", async {
        while place.allow(&page, key.expose(), &[]).await.status() != 303 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_without_a_log_writes_none() {
    let place = Place::with(|server| server.audit.is_on = false).await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;
    let mut store = place.store();
    let grant = store.grants().unwrap()[0].id;
    let change = store.end_grant(&grant, EndReason::Revoked, SystemTime::now());
    applied(&store, change.unwrap().unwrap()).await;

    assert_eq!(tokens["token_type"], "Bearer");
    assert!(!place.folder.path().join(AUDIT_FOLDER).exists());
    assert_eq!(place.pool.state().await["audit"], Value::Null);
}
