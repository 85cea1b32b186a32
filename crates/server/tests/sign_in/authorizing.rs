//! The authorization endpoint: what is answered with a page, and what with a redirect.

use llamapool_testkit::Answer;

use crate::kit::{App, PUBLIC, Place, REDIRECT, authorize, challenge, location, parameter, with};

/// Checks that a request is answered with a page, and not with a redirect.
fn is_page(answer: &Answer, what: &str) {
    assert!(
        (400..500).contains(&answer.status()),
        "{what}: {}",
        answer.text()
    );
    assert_eq!(answer.header("location"), None, "{what}");
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
}

/// Returns the error that is sent to the client.
fn returned(answer: &Answer) -> String {
    let location = location(answer);
    assert!(location.starts_with(&format!("{REDIRECT}?")), "{location}");
    assert_eq!(parameter(&location, "state").as_deref(), Some("the state"));
    let issuer = parameter(&location, "iss");
    assert_eq!(issuer.as_deref(), Some("https://pool.example/oauth"));
    assert_eq!(parameter(&location, "code"), None);
    parameter(&location, "error").expect("an error")
}

#[tokio::test]
async fn until_client_and_redirect_are_proven_an_error_is_a_page() {
    let place = Place::start().await;
    let app = place.app(REDIRECT).await;
    let right = app.parameters("notes");
    let unknown = format!("client_{}", "a".repeat(26));

    for (name, value) in [
        ("client_id", None),
        ("client_id", Some(unknown.as_str())),
        ("client_id", Some("https://app.example/client.json")),
        ("client_id", Some("<script>")),
        ("redirect_uri", None),
        ("redirect_uri", Some("https://app.example/other")),
        ("redirect_uri", Some("https://app.example/callback?a=1")),
        ("redirect_uri", Some("https://app.example:8443/callback")),
        (
            "redirect_uri",
            Some("https://app.example.evil.example/callback"),
        ),
        (
            "redirect_uri",
            Some("https://app.example@evil.example/callback"),
        ),
        ("redirect_uri", Some("javascript:alert(1)")),
        ("redirect_uri", Some("JavaScript:alert(1)")),
        ("redirect_uri", Some("http://app.example/callback")),
        ("redirect_uri", Some("https://app.example/callback#x")),
    ] {
        let answer = authorize(&place, &with(&right, name, value)).await;
        is_page(&answer, &format!("{name}: {value:?}"));
    }

    let mut twice = right.clone();
    twice.push(("redirect_uri", REDIRECT.to_owned()));
    is_page(&authorize(&place, &twice).await, "two redirects");
    let mut twice = right.clone();
    twice.push(("client_id", app.id.clone()));
    is_page(&authorize(&place, &twice).await, "two clients");
    let long = with(&right, "state", Some(&"s".repeat(17 * 1024)));
    is_page(&authorize(&place, &long).await, "a long request");
}

#[tokio::test]
async fn a_forgotten_client_is_told_what_to_do() {
    let place = Place::start().await;
    let forgotten = format!("client_{}", "b".repeat(26));
    let app = App {
        id: forgotten.clone(),
        redirect: REDIRECT.to_owned(),
    };

    let page = authorize(&place, &app.parameters("notes")).await;

    assert_eq!(page.status(), 400);
    assert!(page.text().contains(&forgotten), "{}", page.text());
    let advice = "Remove the saved login in the app and connect again";
    assert!(page.text().contains(advice), "{}", page.text());
}

#[tokio::test]
async fn later_errors_lead_back_to_the_client() {
    let place = Place::start().await;
    let app = place.app(REDIRECT).await;
    let right = app.parameters("notes");
    let short = &challenge("x")[..42];

    for (name, value, error) in [
        ("response_type", Some("token"), "unsupported_response_type"),
        ("response_type", None, "invalid_request"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some(short), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        (
            "resource",
            Some("https://other.example/api/mcp/id/notes"),
            "invalid_target",
        ),
        ("resource", Some("https://pool.example/"), "invalid_target"),
        (
            "resource",
            Some("https://pool.example/api/mcp/id/a%2fb"),
            "invalid_target",
        ),
        (
            "resource",
            Some("https://pool.example/api/mcp/id/../id/notes"),
            "invalid_target",
        ),
        (
            "resource",
            Some("https://pool.example/api/mcp/id/notes/%2e%2e/x"),
            "invalid_target",
        ),
        ("resource", Some("notes"), "invalid_target"),
    ] {
        let answer = authorize(&place, &with(&right, name, value)).await;
        assert_eq!(returned(&answer), error, "{name}: {value:?}");
    }

    let mut twice = right.clone();
    twice.push(("resource", format!("{PUBLIC}/api/mcp/id/notes")));
    assert_eq!(returned(&authorize(&place, &twice).await), "invalid_target");
    let mut twice = right;
    twice.push(("scope", "mcp".to_owned()));
    twice.push(("scope", "mcp".to_owned()));
    assert_eq!(
        returned(&authorize(&place, &twice).await),
        "invalid_request"
    );
}

#[tokio::test]
async fn unknown_scopes_and_parameters_are_ignored() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let mut parameters = app.parameters("notes");
    parameters.push(("scope", "openid offline_access admin".to_owned()));
    parameters.push(("prompt", "consent".to_owned()));
    parameters.push(("nonce", "n".to_owned()));

    let page = authorize(&place, &parameters).await;
    let answer = place.allow(page.text(), key.expose(), &[]).await;
    let code = parameter(&location(&answer), "code").unwrap();
    let tokens = app.redeem(&place, &code).await.json();

    assert_eq!(tokens["scope"], "mcp");
}

#[tokio::test]
async fn a_page_has_the_headers_that_protect_it() {
    let place = Place::start().await;
    let app = place.app(REDIRECT).await;
    let page = authorize(&place, &app.parameters("notes")).await;

    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        policy.ends_with("base-uri 'none'; frame-ancestors 'none'"),
        "{policy}"
    );
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    assert_eq!(page.header("set-cookie"), None);
    assert!(!page.text().contains("<script"), "{}", page.text());
}

/// The state comes back as it was sent, whatever is in it.
#[tokio::test]
async fn a_state_comes_back_as_it_was_sent() {
    let place = Place::start().await;
    let app = place.app("https://app.example/callback?of=one").await;
    let state = "a b&c=d#%2f\"<ä>";
    let parameters = with(&app.parameters("notes"), "state", Some(state));

    let page = authorize(&place, &parameters).await;
    let denied = place
        .form(
            "/oauth/consent",
            &[
                ("request", &crate::kit::sealed(page.text())),
                ("decision", "deny"),
            ],
        )
        .await;

    let location = location(&denied);
    assert!(
        location.starts_with("https://app.example/callback?of=one&"),
        "{location}"
    );
    assert_eq!(parameter(&location, "state").as_deref(), Some(state));
    assert_eq!(
        parameter(&location, "error").as_deref(),
        Some("access_denied")
    );
}
