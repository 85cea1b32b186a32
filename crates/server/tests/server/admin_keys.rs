//! Admin keys: what each kind of key opens, and what an admin key may do to others.

use futures_util::StreamExt;
use llamapool_identity::AdminRight;
use llamapool_testkit::{API_KEY, Answer, Provider, Upgrade, soon};
use serde_json::{Value, json};

use crate::admin_api::{Place, admin_key, ask, text};

const OPERATED: [&str; 3] = ["/api/state", "/api/state/stream", "/api/admin/keys"];

async fn get(place: &Place, path: &str, key: &str) -> reqwest::Response {
    let request = place.pool.http.get(format!("{}{path}", place.pool.url));
    soon("an answer", request.bearer_auth(key).send())
        .await
        .unwrap()
}

/// Every kind of key opens its own doors; at others it is answered as a wrong one.
#[tokio::test]
async fn each_kind_of_key_opens_its_own_doors() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let caller = place.key("c", json!({"caller": {"ids": ["*"]}})).await;
    let worker = place
        .key("w", json!({"worker": {"ids": {"of": ["*"]}}}))
        .await;
    let rights = json!({"admin": {"may": ["state", "metrics", "keys", "policy"]}});
    let admin = place.key("a", rights).await;
    let [caller, worker, admin] = [&caller, &worker, &admin].map(|key| text(key, "key"));

    for path in OPERATED {
        let mut bodies = std::collections::BTreeSet::new();
        for key in [caller, worker, "wrong", "llp_a_wrong"] {
            let answer = get(&place, path, key).await;
            assert_eq!(answer.status(), 401, "{path} {key}");
            bodies.insert(answer.text().await.unwrap());
        }
        assert_eq!(bodies.len(), 1, "{path}: {bodies:?}");
        for key in [admin, API_KEY] {
            assert_eq!(get(&place, path, key).await.status(), 200, "{path} {key}");
        }
    }
    for (key, has_ids) in [(caller, false), (worker, false), (admin, true)] {
        let metrics = get(&place, "/metrics", key).await.text().await.unwrap();
        assert_eq!(metrics.contains("id=\"notes\""), has_ids, "{key}");
    }

    let refused: Vec<u16> = vec![
        place.call("notes", worker).await,
        place.call("notes", admin).await,
        place.call("notes", "wrong").await,
    ];
    assert_eq!(refused, [401, 401, 401]);
    assert_eq!(place.call("notes", caller).await, 200);
    for key in [caller, admin] {
        let upgrade = Upgrade::for_id("other").with("authorization", &format!("Bearer {key}"));
        let answer = upgrade.answer(&place.pool).await;
        assert_eq!(answer.status, 401);
        let body: Value = soon("the body", answer.json()).await;
        assert_eq!(body["error"], "wrong_key");
    }
}

#[tokio::test]
async fn an_admin_key_does_what_its_rights_say() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("state", AdminRight::State),
        ("metrics", AdminRight::Metrics),
        ("keys", AdminRight::Keys),
        ("policy", AdminRight::Policy),
        ("relays", AdminRight::Relays),
    ];
    let keys = keys.map(|(name, right)| (name, admin_key(folder.path(), name, &[right])));
    let place = Place::in_folder(folder, |_| {}).await;

    for (path, opened_by) in [
        ("/api/state", "state"),
        ("/api/admin/keys", "keys"),
        ("/api/admin/grants", "keys"),
        ("/api/admin/clients", "keys"),
        ("/api/admin/usage", "keys"),
        ("/api/admin/access", "policy"),
    ] {
        for (name, key) in &keys {
            let answer = get(&place, path, key.expose()).await;
            let expected = if *name == opened_by { 200 } else { 403 };
            assert_eq!(answer.status(), expected, "{path} {name}");
            if expected == 403 {
                let body: Value = answer.json().await.unwrap();
                assert_eq!(body["error"], "not_allowed", "{path} {name}");
            }
        }
    }
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("held", &provider.url).await;
    for (name, key) in &keys {
        let drained = place
            .ask(ask("POST", "ids/held/drain").by(key.expose()))
            .await;
        let expected = if *name == "relays" { 200 } else { 403 };
        assert_eq!(drained.status(), expected, "{name}: {}", drained.text());
    }
    let rule = ask("PUT", "access/notes").body(json!({"access": "open"}));
    let refused = place.ask(rule.by(keys[2].1.expose())).await;
    assert_eq!(refused.status(), 403, "{}", refused.text());
}

#[tokio::test]
async fn an_admin_key_gives_no_more_than_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let narrow = admin_key(folder.path(), "narrow", &[AdminRight::Keys]);
    let wide = admin_key(folder.path(), "wide", &AdminRight::ALL);
    let place = Place::in_folder(folder, |_| {}).await;
    let new = |may: Value| {
        let body = json!({"name": "new", "rights": {"admin": {"may": may}}});
        ask("POST", "keys").body(body).by(narrow.expose())
    };
    let wide = format!("keys/{}", wide.id());
    let own = format!("keys/{}", narrow.id());
    let all = json!({"rights": {"admin": {"may": ["keys", "policy"]}}});

    for refused in [
        new(json!(["keys", "state"])),
        ask("POST", &format!("{wide}/rotate")).by(narrow.expose()),
        ask("PATCH", &wide)
            .body(json!({"name": "x"}))
            .by(narrow.expose()),
        ask("DELETE", &wide).by(narrow.expose()),
        ask("PATCH", &own).body(all).by(narrow.expose()),
    ] {
        let answer = place.ask(refused).await;
        assert_eq!(
            (answer.status(), text(&answer.json(), "error")),
            (403, "more_rights")
        );
    }
    place.done(new(json!(["keys"]))).await;
    let worker = json!({"name": "w", "rights": {"worker": {"ids": {"of": ["*"]}}}});
    place
        .done(ask("POST", "keys").body(worker).by(narrow.expose()))
        .await;
}

#[tokio::test]
async fn the_last_admin_key_revokes_others_and_not_itself() {
    let folder = tempfile::tempdir().unwrap();
    let one = admin_key(folder.path(), "one", &AdminRight::ALL);
    let other = admin_key(folder.path(), "other", &AdminRight::ALL);
    let place = Place::in_folder(folder, |_| {}).await;

    // Both at once: one of them goes, whichever is first.
    let revoke = |victim: &llamapool_identity::KeyText, by: &llamapool_identity::KeyText| {
        ask("DELETE", &format!("keys/{}", victim.id())).by(by.expose())
    };
    let answers = tokio::join!(
        place.ask(revoke(&one, &other)),
        place.ask(revoke(&other, &one))
    );
    let mut statuses = [answers.0.status(), answers.1.status()];
    statuses.sort_unstable();
    assert!(statuses[0] == 200 && statuses[1] > 400, "{statuses:?}");

    let last = if answers.0.status() == 200 {
        &other
    } else {
        &one
    };
    let refused = place.ask(revoke(last, last)).await;
    assert_eq!(
        (refused.status(), text(&refused.json(), "error")),
        (409, "last_admin_key")
    );
    let by_owner = ask("DELETE", &format!("keys/{}", last.id()));
    assert_eq!(place.ask(by_owner).await.status(), 200);
    assert_eq!(get(&place, "/api/state", last.expose()).await.status(), 401);
}

#[tokio::test]
async fn metrics_name_caller_keys_to_operators_alone() {
    let place = Place::start().await;
    let provider = Provider::echoing().await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.key("ci", json!({"caller": {"ids": ["notes"]}})).await;
    let watcher = place.key("w", json!({"admin": {"may": ["metrics"]}})).await;
    for _ in 0..3 {
        assert_eq!(place.call("notes", text(&key, "key")).await, 200);
    }

    place
        .pool
        .until_metric("llamapool_key_calls_total{key=\"ci\"}", 3)
        .await;
    let shown = get(&place, "/metrics", text(&watcher, "key")).await;
    let shown = shown.text().await.unwrap();
    assert!(
        shown.contains("llamapool_key_bytes_total{direction=\"in\",key=\"ci\"}"),
        "{shown}"
    );
    let public = place.pool.http.get(format!("{}/metrics", place.pool.url));
    let public = public.send().await.unwrap().text().await.unwrap();
    assert!(!public.contains("\"ci\""), "{public}");
}

#[tokio::test]
async fn a_state_stream_ends_with_its_key() {
    let place = Place::start().await;
    let key = place.key("tv", json!({"admin": {"may": ["state"]}})).await;
    let stream = get(&place, "/api/state/stream", text(&key, "key")).await;
    assert_eq!(stream.status(), 200);
    let mut events = stream.bytes_stream();
    soon("a snapshot", events.next()).await.unwrap().unwrap();

    let path = format!("keys/{}", text(&key, "id"));
    let revoked = place.done(ask("DELETE", &path)).await;

    assert_eq!(revoked["ended"], 1, "{revoked}");
    let end = soon("the end", async {
        loop {
            match events.next().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        }
    });
    assert!(end.await.expect("no clean end").is_err());
}

#[tokio::test]
async fn an_admin_key_is_for_its_networks() {
    let place = Place::start().await;
    let near = json!({"admin": {"may": ["state"], "networks": ["127.0.0.0/8"]}});
    let far = json!({"admin": {"may": ["state"], "networks": ["10.0.0.0/8"]}});
    let [near, far] = [place.key("near", near).await, place.key("far", far).await];

    assert_eq!(
        get(&place, "/api/state", text(&near, "key")).await.status(),
        200
    );
    let refused = get(&place, "/api/state", text(&far, "key")).await;
    assert_eq!(Answer::read(refused).await.status(), 403);
}

#[tokio::test]
async fn an_admin_key_reaches_no_provider() {
    let place = Place::with(|server| {
        server.identity.default_access = llamapool_identity::AccessMode::Open;
    })
    .await;
    let provider = Provider::answering(async |request| {
        let seen = request.headers().contains_key("authorization");
        llamapool_testkit::json_answer(&json!({ "seen": seen }).to_string())
    })
    .await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.key("a", json!({"admin": {"may": ["state"]}})).await;

    for (sent, seen) in [
        (text(&key, "key"), false),
        ("a token of the provider", true),
    ] {
        let call = place
            .pool
            .http
            .post(place.pool.mcp("notes"))
            .bearer_auth(sent);
        let answer = call.json(&json!({})).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["seen"], seen);
    }
}
