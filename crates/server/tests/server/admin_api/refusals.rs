//! What the API refuses.

use std::time::Duration;

use llamapool_identity::{
    AccessRule, AdminRight, CallerRights, Key, KeyOrigin, KeySecret, Rights, digest_of,
};
use llamapool_server::AdminListen;
use llamapool_testkit::FREE_PORT;

use super::*;

#[tokio::test]
async fn a_wrong_body_is_named() {
    let place = Place::start().await;
    let long = "x".repeat(81);
    let rights = json!({"caller": {"ids": ["a"]}});

    for (body, named) in [
        (json!({}), "name"),
        (json!({"name": "a"}), "rights"),
        (
            json!({"name": "a", "rights": rights, "colour": 1}),
            "colour",
        ),
        (json!({"name": long, "rights": rights}), "1 to 80"),
        (
            json!({"name": "a\nb", "rights": rights}),
            "control characters",
        ),
        (
            json!({"name": "a", "rights": {"caller": {"ids": ["a*b"]}}}),
            "a*b",
        ),
        (
            json!({"name": "a", "rights": {"caller": {}}}),
            "open nothing",
        ),
        (
            json!({"name": "a", "rights": {"worker": {"ids": {"of": []}}}}),
            "serve no id",
        ),
        (
            json!({"name": "a", "rights": {"admin": {"may": []}}}),
            "may do nothing",
        ),
        (
            json!({"name": "a", "rights": {"admin": {"may": ["drain"]}}}),
            "drain",
        ),
        (json!({"name": "a", "rights": {"owner": {}}}), "owner"),
        (
            json!({"name": "a", "rights": {"caller": {"ids": ["a"], "limits": {"rate": "fast"}}}}),
            "fast",
        ),
        (
            json!({"name": "a", "rights": {"caller": {"ids": ["a"], "limits": {"burst": 3}}}}),
            "burst",
        ),
        (
            json!({"name": "a", "rights": rights, "expires_at": "tomorrow"}),
            "tomorrow",
        ),
        (
            json!({"name": "a", "rights": rights, "expires_at": "2001-01-31T00:00:00Z"}),
            "a time to come",
        ),
    ] {
        let answer = place.ask(ask("POST", "keys").body(body.clone())).await;
        let shown = answer.json();
        assert_eq!(
            (answer.status(), text(&shown, "error")),
            (400, "invalid_request"),
            "{body}"
        );
        assert!(text(&shown, "message").contains(named), "{shown}");
    }
    let keys = place.done(ask("GET", "keys")).await;
    assert_eq!(keys["keys"], json!([]));
}

#[tokio::test]
async fn a_wrong_rule_or_client_is_refused() {
    let place = Place::start().await;

    for (path, body) in [
        ("access/notes", json!({"access": "closed"})),
        (
            "access/notes",
            json!({"access": "keys", "limits": {"burst": 3}}),
        ),
        ("access/notes", json!({"access": "keys", "networks": []})),
        ("clients", json!({})),
    ] {
        let method = if path == "clients" { "POST" } else { "PUT" };
        let answer = place.ask(ask(method, path).body(body.clone())).await;
        assert_eq!(answer.status(), 400, "{body}");
    }
    let clients = [
        json!({"name": "Wiki", "redirect_uris": []}),
        json!({"name": "Wiki", "redirect_uris": ["javascript:alert(1)"]}),
        json!({"name": "Wi\u{202e}ki", "redirect_uris": ["https://wiki.example/cb"]}),
    ];
    for body in clients {
        let answer = place.ask(ask("POST", "clients").body(body.clone())).await;
        assert_eq!(answer.status(), 400, "{body}");
    }
    let clients = place.done(ask("GET", "clients")).await;
    assert_eq!(clients["clients"], json!([]));
}

#[tokio::test]
async fn a_wrong_query_header_or_path_is_named() {
    let place = Place::start().await;
    let key = place.key("a", json!({"caller": {"ids": ["a"]}})).await;
    let path = format!("keys/{}", text(&key, "id"));

    for (ask, status) in [
        (ask("GET", "keys?limit=0"), 400),
        (ask("GET", "keys?limit=5&limit=5"), 400),
        (ask("GET", "keys?colour=1"), 400),
        (ask("GET", "keys?kind=robot"), 400),
        (ask("GET", "grants?all=maybe"), 400),
        (ask("GET", "usage?key=a"), 400),
        (ask("DELETE", &path).with("if-match", "*"), 400),
        (ask("DELETE", &path).with("if-match", "\"abc\""), 400),
        (ask("DELETE", &path).with("if-none-match", "*"), 400),
        (ask("PATCH", &path).body(json!({})), 400),
        (
            ask("PATCH", &path).body(json!({"rights": {"worker": {"ids": "assigned"}}})),
            409,
        ),
        (ask("GET", "keys/unknown"), 404),
        (ask("DELETE", "keys/unknown"), 404),
        (ask("DELETE", "clients/unknown"), 404),
        (ask("PUT", "clients/unknown/block"), 404),
        (ask("DELETE", "grants/abc"), 400),
        (ask("GET", ""), 404),
        (ask("GET", "nothing"), 404),
        (ask("GET", "keys/a/b"), 404),
        (ask("PUT", "keys"), 405),
        (ask("OPTIONS", "keys"), 405),
        (ask("DELETE", "access"), 405),
        (ask("POST", "usage").body(json!({})), 405),
    ] {
        let named = format!("{} {} {:?}", ask.method, ask.path, ask.headers);
        let answer = place.ask(ask).await;
        assert_eq!(answer.status(), status, "{named}: {}", answer.text());
        assert!(answer.header("llamapool-error").is_some(), "{named}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let method = place.ask(ask("PUT", "keys")).await;
    assert_eq!(method.header("allow"), Some("GET, HEAD, POST"));
}

#[tokio::test]
async fn a_body_is_small_json() {
    let place = Place::start().await;
    let post = || {
        let request = place
            .pool
            .http
            .post(format!("{}/api/admin/keys", place.pool.url));
        request.bearer_auth(API_KEY)
    };
    let body = r#"{"name":"a","rights":{"caller":{"ids":["a"]}}}"#;
    let json = "application/json";
    let padded = format!("{}{body}", " ".repeat(64 * 1024));
    let huge = " ".repeat(8 << 20);

    for (media_type, body, status, word) in [
        (
            "application/x-www-form-urlencoded",
            body,
            415,
            "media_type_refused",
        ),
        (
            "multipart/form-data; boundary=x",
            body,
            415,
            "media_type_refused",
        ),
        ("text/plain", body, 415, "media_type_refused"),
        (json, "{", 400, "invalid_request"),
        (json, "", 400, "invalid_request"),
        (json, "[]", 400, "invalid_request"),
        (json, padded.as_str(), 413, "request_too_large"),
        (json, huge.as_str(), 413, "request_too_large"),
        (
            json,
            r#"{"name":"a","name":"b","rights":{"admin":{"may":[]}}}"#,
            400,
            "invalid_request",
        ),
    ] {
        let sent = post()
            .header("content-type", media_type)
            .body(body.to_owned());
        let answer = Answer::read(soon("an answer", sent.send()).await.unwrap()).await;
        let start: String = body.chars().take(40).collect();
        assert_eq!(
            answer.status(),
            status,
            "{media_type} {start}: {}",
            answer.text()
        );
        assert_eq!(text(&answer.json(), "error"), word, "{media_type} {start}");
    }
    let packed = post()
        .header("content-type", json)
        .header("content-encoding", "gzip");
    let packed = packed.body("x").send().await.unwrap();
    assert_eq!(packed.status(), 415);
}

#[tokio::test]
async fn no_page_gets_in_and_no_key_in_the_query() {
    let place = Place::with(|server| server.auth.allowed_origins = vec!["*".to_owned()]).await;
    let get = || {
        let url = format!("{}/api/admin/keys?key={API_KEY}", place.pool.url);
        place.pool.http.get(url)
    };

    for origin in ["https://evil.example", "null", "http://localhost:3000"] {
        let answer = get().bearer_auth(API_KEY).header("origin", origin);
        let answer = Answer::read(answer.send().await.unwrap()).await;
        assert_eq!(
            (answer.status(), text(&answer.json(), "error")),
            (403, "origin_refused")
        );
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
    assert_eq!(get().send().await.unwrap().status(), 401);
    let foreign = get().bearer_auth(API_KEY).header("host", "evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    let preflight = ask("OPTIONS", "keys").with("origin", "https://evil.example");
    assert_eq!(place.ask(preflight).await.status(), 403);
}

#[tokio::test]
async fn wrong_keys_are_slowed_down_and_a_right_one_is_not() {
    let place = Place::start().await;

    let mut statuses = Vec::new();
    for _ in 0..21 {
        statuses.push(place.ask(ask("GET", "keys").by("wrong")).await.status());
    }

    assert_eq!(statuses.pop(), Some(429));
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    assert_eq!(place.ask(ask("GET", "keys")).await.status(), 200);
}

#[tokio::test]
async fn without_a_store_or_keys_the_api_is_closed() {
    let pool = Pool::start().await;
    let get = |pool: &Pool, key: &str| {
        let request = pool.http.get(format!("{}/api/admin/grants", pool.url));
        request.bearer_auth(key).send()
    };

    let answer = Answer::read(get(&pool, API_KEY).await.unwrap()).await;
    assert_eq!(
        (answer.status(), text(&answer.json(), "error")),
        (501, "no_data_directory")
    );
    assert_eq!(get(&pool, "wrong").await.unwrap().status(), 401);

    let folder = tempfile::tempdir().unwrap();
    let key = admin_key(folder.path(), "ops", &AdminRight::ALL);
    let open = Place::in_folder(folder, |server| {
        server.auth.keys.api = None;
        server.auth.keys.worker = None;
    })
    .await;
    let state = open.pool.http.get(format!("{}/api/state", open.pool.url));
    assert_eq!(
        state.send().await.unwrap().status(),
        200,
        "it runs without keys"
    );
    assert_eq!(get(&open.pool, "anything").await.unwrap().status(), 401);
    assert_eq!(get(&open.pool, key.expose()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn with_an_address_of_its_own_the_api_is_there_alone() {
    let place = Place::with(|server| server.listen.admin = AdminListen::At(FREE_PORT)).await;
    let get = |url: &str, path: &str| {
        let request = place.pool.http.get(format!("{url}{path}"));
        request.bearer_auth(API_KEY).send()
    };
    let admin = place.pool.admin_url();

    assert_eq!(get(&admin, "/api/admin/keys").await.unwrap().status(), 200);
    assert_eq!(get(&admin, "/healthz").await.unwrap().status(), 200);
    for path in ["/api/state", "/metrics", "/api/mcp/id/notes", "/v1/models"] {
        assert_eq!(get(&admin, path).await.unwrap().status(), 404, "{path}");
    }
    let public = get(&place.pool.url, "/api/admin/keys").await.unwrap();
    assert_eq!(public.status(), 404);
    let rebound = place.pool.http.get(format!("{admin}/api/admin/keys"));
    let rebound = rebound.bearer_auth(API_KEY).header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), 403);

    let off = Place::with(|server| server.listen.admin = AdminListen::Off).await;
    let gone = off.ask(ask("GET", "keys")).await;
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn what_the_settings_declare_is_changed_there() {
    let place = Place::with(|server| {
        let declared = &mut server.identity.declared;
        declared.keys.push(Key {
            id: "declared".parse().unwrap(),
            name: "team".to_owned(),
            rights: Rights::Caller(CallerRights {
                ids: vec!["a".parse().unwrap()],
                ..CallerRights::default()
            }),
            origin: KeyOrigin::Declared,
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            secrets: vec![KeySecret {
                digest: digest_of(b"team"),
                expires_at: None,
            }],
        });
        let rule = AccessRule::new("notes".parse().unwrap(), AccessMode::Open);
        declared.access.push(rule);
    })
    .await;

    for refused in [
        ask("DELETE", "keys/declared"),
        ask("PATCH", "keys/declared").body(json!({"name": "x"})),
        ask("POST", "keys/declared/rotate"),
        ask("PUT", "access/notes").body(json!({"access": "keys"})),
        ask("DELETE", "access/notes"),
    ] {
        let named = format!("{} {}", refused.method, refused.path);
        let answer = place.ask(refused).await;
        assert_eq!(
            (answer.status(), text(&answer.json(), "error")),
            (409, "declared"),
            "{named}"
        );
    }
    let keys = place.done(ask("GET", "keys")).await;
    assert_eq!(keys["keys"][0]["origin"], "declared");
    let rules = place.done(ask("GET", "access")).await;
    assert_eq!(rules["rules"][0]["origin"], "declared");
}

/// A secret of a request, or of a key that was made, is in no answer but the one that shows it.
#[tokio::test]
async fn no_answer_repeats_a_secret() {
    let place = Place::start().await;
    let key = place.key("a", json!({"caller": {"ids": ["a"]}})).await;
    let secret = text(&key, "key").to_owned();

    for ask in [
        ask("GET", "keys"),
        ask("GET", &format!("keys/{secret}")),
        ask("GET", "usage"),
        ask("GET", "keys").by(&secret),
    ] {
        let answer = soon("an answer", place.ask(ask)).await;
        let tail = &secret[30..];
        assert!(!answer.text().contains(tail), "{}", answer.text());
    }
    tokio::time::timeout(Duration::from_secs(20), place.pool.state())
        .await
        .map(|state| assert!(!state.to_string().contains(&secret)))
        .unwrap();
}
