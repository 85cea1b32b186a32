//! The token endpoint: codes, refresh tokens, and what they open.

use futures_util::future::join_all;
use llamapool_identity::ReusePolicy;
use llamapool_server::SignInConfig;
use llamapool_testkit::Answer;
use serde_json::{Value, json};

use crate::kit::{
    App, PUBLIC, Place, REDIRECT, VERIFIER, location, parameter, showing_headers, text,
};

/// Returns a code of an app for `notes`.
async fn code_of(place: &Place, app: &App, key: &str) -> String {
    let page = app.page(place, "notes").await;
    let answer = place.allow(&page, key, &[]).await;
    parameter(&location(&answer), "code").expect("a code")
}

fn error(answer: &Answer) -> String {
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_opens_its_id_and_ends_at_the_server() {
    let place = Place::start().await;
    let provider = showing_headers().await;
    let _notes = place.pool.relay("notes", &provider.url).await;
    let _other = place.pool.relay("other", &provider.url).await;
    let key = place.caller_key(&["*"]).await;
    let app = place.app(REDIRECT).await;

    let tokens = place.sign_in(&app, "notes", key.expose()).await;

    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 8 * 60 * 60);
    assert_eq!(tokens["scope"], "mcp");
    let access = text(&tokens, "access_token");
    assert!(
        access.starts_with("llpa_") && access.len() < 255,
        "{}",
        access.len()
    );
    assert!(text(&tokens, "refresh_token").starts_with("llpr_"));

    let request = place.pool.http.post(place.pool.mcp("notes"));
    let request = request.bearer_auth(access).header("dpop", "a proof");
    let request = request.header("cookie", "__Host-llamapool=1; theirs=2");
    let request = request.header("llamapool-caller", "someone");
    let answer = request.json(&json!({})).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.text().await.unwrap();
    assert!(headers.contains("theirs=2"), "{headers}");
    for consumed in [
        "authorization",
        "dpop",
        "__host-llamapool",
        "someone",
        "llpa_",
    ] {
        assert!(
            !headers.to_lowercase().contains(consumed),
            "{consumed}: {headers}"
        );
    }

    for (id, credential) in [
        ("other", access),
        ("notes", text(&tokens, "refresh_token")),
        ("notes", &access[..access.len() - 1]),
    ] {
        assert_eq!(place.call(id, Some(credential)).await.status(), 401, "{id}");
    }
    assert_eq!(place.call("notes", Some(key.expose())).await.status(), 200);
}

#[tokio::test]
async fn a_token_of_another_issuer_with_the_same_key_is_none() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;
    assert_eq!(
        place
            .call("notes", Some(text(&tokens, "access_token")))
            .await
            .status(),
        503
    );

    let Place { pool, folder } = place;
    drop(pool);
    let moved = Place::in_folder(folder, |server| {
        server.listen.public_url = Some("https://other.example".parse().unwrap());
    })
    .await;

    let answer = moved
        .call("notes", Some(text(&tokens, "access_token")))
        .await;
    assert_eq!(answer.status(), 401);
    let refreshed = app.refresh(&moved, text(&tokens, "refresh_token")).await;
    assert_eq!(error(&refreshed), "invalid_grant");
}

/// The key of the server is in its data directory: a restart ends nothing.
#[tokio::test]
async fn a_restart_keeps_tokens() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;

    let Place { pool, folder } = place;
    drop(pool);
    let place = Place::in_folder(folder, |_| {}).await;

    let access = text(&tokens, "access_token");
    assert_eq!(place.call("notes", Some(access)).await.status(), 503);
    let refreshed = app.refresh(&place, text(&tokens, "refresh_token")).await;
    assert_eq!(refreshed.status(), 200, "{}", refreshed.text());
}

#[tokio::test]
async fn a_code_is_redeemed_once_and_a_second_time_ends_the_grant() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let code = code_of(&place, &app, key.expose()).await;

    let tokens = app.redeem(&place, &code).await.json();
    let again = app.redeem(&place, &code).await;

    assert_eq!(again.status(), 400);
    assert_eq!(error(&again), "invalid_grant");
    let access = text(&tokens, "access_token");
    assert_eq!(place.call("notes", Some(access)).await.status(), 401);
    let refreshed = app.refresh(&place, text(&tokens, "refresh_token")).await;
    assert_eq!(error(&refreshed), "invalid_grant");
}

#[tokio::test]
async fn of_ten_that_redeem_a_code_at_once_one_wins() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let code = code_of(&place, &app, key.expose()).await;

    let answers = join_all((0..10).map(|_| app.redeem(&place, &code))).await;

    let won = answers.iter().filter(|answer| answer.status() == 200);
    assert_eq!(won.count(), 1);
}

/// Returns the form that redeems a code, and with which a mistake is made.
fn form_of<'a>(app: &'a App, code: &'a str, notes: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("client_id", &app.id),
        ("code_verifier", VERIFIER),
        ("resource", notes),
    ]
}

#[tokio::test]
async fn a_mistake_spends_no_code() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let other = place.app(REDIRECT).await;
    let code = code_of(&place, &app, key.expose()).await;
    let notes = format!("{PUBLIC}/api/mcp/id/notes");
    let elsewhere = format!("{PUBLIC}/api/mcp/id/other");
    let right = form_of(&app, &code, &notes);

    for (name, wrong, expected) in [
        (
            "redirect_uri",
            "https://app.example/callback/",
            "invalid_grant",
        ),
        ("code_verifier", &"v".repeat(43), "invalid_grant"),
        ("code_verifier", "short", "invalid_grant"),
        ("code", "none", "invalid_grant"),
        ("grant_type", "password", "unsupported_grant_type"),
        (
            "client_id",
            "client_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "invalid_client",
        ),
        ("client_id", other.id.as_str(), "invalid_grant"),
        (
            "resource",
            "https://other.example/api/mcp/id/notes",
            "invalid_target",
        ),
        ("resource", elsewhere.as_str(), "invalid_target"),
    ] {
        let mut form = right.clone();
        form.retain(|(own, _)| *own != name);
        form.push((name, wrong));
        let refused = place.form("/oauth/token", &form).await;
        assert_eq!(error(&refused), expected, "{name}: {wrong}");
    }

    let redeemed = place.form("/token", &right).await;
    assert_eq!(redeemed.status(), 200, "{}", redeemed.text());
}

#[tokio::test]
async fn a_repeated_parameter_or_another_format_spends_no_code() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let code = code_of(&place, &app, key.expose()).await;
    let notes = format!("{PUBLIC}/api/mcp/id/notes");
    let right = form_of(&app, &code, &notes);

    for (name, expected) in [("resource", "invalid_target"), ("code", "invalid_request")] {
        let mut twice = right.clone();
        let value = right.iter().find(|(own, _)| *own == name).unwrap().1;
        twice.push((name, value));
        assert_eq!(
            error(&place.form("/oauth/token", &twice).await),
            expected,
            "{name}"
        );
    }
    let request = place.pool.http.post(place.reached("/oauth/token"));
    let as_json = request
        .json(&json!({"grant_type": "authorization_code"}))
        .send();
    assert_eq!(as_json.await.unwrap().status(), 400);

    let redeemed = place.form("/oauth/token", &right).await;
    assert_eq!(redeemed.status(), 200, "{}", redeemed.text());
}

#[tokio::test]
async fn all_that_refresh_at_once_get_the_same_tokens() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;
    let refresh = text(&tokens, "refresh_token");

    let answers = join_all((0..10).map(|_| app.refresh(&place, refresh))).await;
    let lost = app.refresh(&place, refresh).await;

    let successors: Vec<Value> = answers.iter().map(Answer::json).collect();
    for successor in &successors {
        assert_eq!(successor["refresh_token"], successors[0]["refresh_token"]);
    }
    assert_eq!(lost.json()["refresh_token"], successors[0]["refresh_token"]);
    assert_ne!(successors[0]["refresh_token"], tokens["refresh_token"]);
    let access = text(&tokens, "access_token");
    assert_eq!(
        place.call("notes", Some(access)).await.status(),
        503,
        "it lives on"
    );
}

#[tokio::test]
async fn a_token_that_was_replaced_long_ago_ends_the_grant() {
    for policy in [ReusePolicy::End, ReusePolicy::Refuse] {
        let place = Place::with(|server| {
            server.sign_in = Some(SignInConfig {
                refresh_reuse: policy,
                ..SignInConfig::default()
            });
        })
        .await;
        let key = place.caller_key(&["notes"]).await;
        let app = place.app(REDIRECT).await;
        let oldest = place.sign_in(&app, "notes", key.expose()).await;
        let second = app
            .refresh(&place, text(&oldest, "refresh_token"))
            .await
            .json();
        let third = app
            .refresh(&place, text(&second, "refresh_token"))
            .await
            .json();

        let reused = app.refresh(&place, text(&oldest, "refresh_token")).await;

        assert_eq!(error(&reused), "invalid_grant");
        let last = app.refresh(&place, text(&third, "refresh_token")).await;
        let goes_on = policy == ReusePolicy::Refuse;
        assert_eq!(last.status() == 200, goes_on, "{policy:?}: {}", last.text());
    }
}

#[tokio::test]
async fn a_refresh_gives_no_more_than_was_granted() {
    let place = Place::start().await;
    let key = place.caller_key(&["*"]).await;
    let app = place.app(REDIRECT).await;
    let other = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;
    let refresh = text(&tokens, "refresh_token");

    assert_eq!(
        error(&other.refresh(&place, refresh).await),
        "invalid_grant"
    );
    let access = app.refresh(&place, text(&tokens, "access_token")).await;
    assert_eq!(error(&access), "invalid_grant");
    let elsewhere = format!("{PUBLIC}/api/mcp/id/other");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh),
        ("client_id", app.id.as_str()),
        ("resource", elsewhere.as_str()),
    ];
    assert_eq!(
        error(&place.form("/oauth/token", &form).await),
        "invalid_target"
    );
    assert_eq!(app.refresh(&place, refresh).await.status(), 200);
}

#[tokio::test]
async fn an_access_token_expires_and_its_refresh_token_helps() {
    let place = Place::with(|server| {
        server.sign_in = Some(SignInConfig {
            access_ttl: std::time::Duration::from_secs(1),
            ..SignInConfig::default()
        });
    })
    .await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let tokens = place.sign_in(&app, "notes", key.expose()).await;

    let access = text(&tokens, "access_token");
    llamapool_testkit::soon("the token expires", async {
        while place.call("notes", Some(access)).await.status() != 401 {}
    })
    .await;

    let next = app
        .refresh(&place, text(&tokens, "refresh_token"))
        .await
        .json();
    let access = text(&next, "access_token");
    assert_ne!(place.call("notes", Some(access)).await.status(), 401);
}

#[tokio::test]
async fn a_client_with_a_secret_proves_itself_either_way() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    for method in ["client_secret_basic", "client_secret_post"] {
        let metadata = json!({
            "client_name": "Confidential", "redirect_uris": [REDIRECT],
            "token_endpoint_auth_method": method, "scope": "offline_access",
        });
        let registered = place.register(&metadata).await.json();
        let secret = text(&registered, "client_secret");
        let app = App {
            id: text(&registered, "client_id").to_owned(),
            redirect: REDIRECT.to_owned(),
        };
        let code = code_of(&place, &app, key.expose()).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let body = crate::kit::encoded(&form);
        let send = |secret: &str| {
            let request = place.pool.http.post(place.reached("/oauth/token"));
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let request = request.basic_auth(&app.id, Some(secret));
            request.body(body.clone()).send()
        };

        assert_eq!(error(&app.redeem(&place, &code).await), "invalid_client");
        let wrong = send("wrong").await.unwrap();
        assert_eq!(wrong.status(), 401);
        assert!(
            wrong.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Basic")
        );
        let right = send(secret).await.unwrap();
        assert_eq!(right.status(), 200, "{method}");
        let again = place.register(&metadata).await;
        assert_ne!(text(&again.json(), "client_secret"), secret);
    }
}
