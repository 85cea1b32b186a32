//! The registration endpoint: what a client may say of itself, and how much of it.

use llamapool_identity::ClientOrigin;
use llamapool_server::SignInConfig;
use llamapool_testkit::{Answer, soon};
use serde_json::{Value, json};

use crate::kit::{Place, REDIRECT, text};

fn error(answer: &Answer) -> String {
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_registration_is_answered_with_what_was_taken() {
    let place = Place::start().await;
    let metadata = json!({
        "client_name": "Claude", "redirect_uris": [REDIRECT, REDIRECT, "zed://callback"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "application_type": "web", "software_id": "x", "jwks": {"keys": []},
    });

    let registered = place.register(&metadata).await;

    assert_eq!(registered.status(), 201);
    assert_eq!(registered.header("cache-control"), Some("no-store"));
    let registered = registered.json();
    assert_eq!(registered["redirect_uris"], json!([REDIRECT]));
    assert_eq!(registered["token_endpoint_auth_method"], "none");
    assert_eq!(registered["client_name"], "Claude");
    assert!(registered.get("client_secret").is_none());
    assert!(text(&registered, "client_id").len() <= 40);
}

#[tokio::test]
async fn a_registration_that_cannot_be_used_is_refused() {
    let place = Place::start().await;
    let redirects =
        |count: usize| -> Vec<String> { (0..count).map(|at| format!("{REDIRECT}/{at}")).collect() };

    for (metadata, expected) in [
        (json!({}), "invalid_redirect_uri"),
        (json!({"redirect_uris": []}), "invalid_redirect_uri"),
        (
            json!({"redirect_uris": redirects(11)}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": ["javascript:alert(1)"]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": ["http://app.example/"]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": ["zed://callback"]}),
            "invalid_redirect_uri",
        ),
        (
            json!({"redirect_uris": REDIRECT}),
            "invalid_client_metadata",
        ),
        (json!([]), "invalid_client_metadata"),
        (
            json!({"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt"}),
            "invalid_client_metadata",
        ),
        (
            json!({"redirect_uris": [REDIRECT], "grant_types": ["client_credentials"]}),
            "invalid_client_metadata",
        ),
    ] {
        let refused = place.register(&metadata).await;
        assert_eq!(refused.status(), 400, "{metadata}");
        assert_eq!(error(&refused), expected, "{metadata}");
    }
    let long = json!({"redirect_uris": [REDIRECT], "client_name": "n".repeat(9 * 1024)});
    assert_eq!(place.register(&long).await.status(), 400);
    assert_eq!(
        place
            .register(&json!({"redirect_uris": redirects(10)}))
            .await
            .status(),
        201
    );
    let request = place.pool.http.post(place.reached("/register"));
    let request = request.body("not json").send();
    let garbage = Answer::read(soon("an answer", request).await.unwrap()).await;
    assert_eq!(error(&garbage), "invalid_client_metadata");
}

#[tokio::test]
async fn registrations_of_an_address_have_a_bound() {
    let place = Place::start().await;
    let metadata = json!({"redirect_uris": [REDIRECT]});

    for _ in 0..60 {
        assert_eq!(place.register(&metadata).await.status(), 201);
    }
    let refused = place.register(&metadata).await;

    assert_eq!(refused.status(), 503);
    assert_eq!(error(&refused), "temporarily_unavailable");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(place.store().load().unwrap().clients.len(), 60);
}

#[tokio::test]
async fn an_operator_can_switch_registration_off() {
    let place = Place::with(|server| {
        server.sign_in = Some(SignInConfig {
            clients: vec![ClientOrigin::Known],
            ..SignInConfig::default()
        });
    })
    .await;

    let refused = place.register(&json!({"redirect_uris": [REDIRECT]})).await;
    let document = place
        .get("/.well-known/oauth-authorization-server/oauth")
        .await;

    assert_eq!(refused.status(), 403);
    assert_eq!(document.json()["registration_endpoint"], Value::Null);
}

#[tokio::test]
async fn a_page_of_any_origin_may_use_the_endpoints_of_programs() {
    let place = Place::start().await;
    for path in [
        "/oauth/token",
        "/oauth/register",
        "/oauth/revoke",
        "/token",
        "/register",
    ] {
        let request = place
            .pool
            .http
            .request(reqwest::Method::OPTIONS, place.reached(path));
        let request = request.header("origin", "https://inspector.example");
        let request = request.header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "content-type,x-own");
        let allowed = request.send().await.unwrap();

        assert_eq!(allowed.status(), 204, "{path}");
        assert_eq!(allowed.headers()["access-control-allow-origin"], "*");
        assert_eq!(
            allowed.headers()["access-control-allow-headers"],
            "content-type,x-own"
        );
        assert!(
            allowed
                .headers()
                .get("access-control-allow-credentials")
                .is_none()
        );
        let got = place.get(path).await;
        assert_eq!(got.status(), 405, "{path}");
        assert_eq!(got.header("allow"), Some("POST, OPTIONS"));
    }
}
