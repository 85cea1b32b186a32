//! The page on which a person allows a client: who may send it, and with what.

use llamapool_identity::AccessMode;
use llamapool_testkit::{Answer, soon};
use serde_json::json;

use crate::kit::{
    App, Place, REDIRECT, authorize, encoded, location, parameter, sealed, text, with,
};

/// Sends the form of a page with some headers, as a browser would.
async fn sent_by_browser(place: &Place, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
    let request = place.pool.http.post(place.reached("/oauth/consent"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let answer = request.body(encoded(form)).send();
    Answer::read(soon("an answer", answer).await.unwrap()).await
}

#[tokio::test]
async fn a_key_on_the_page_allows_the_client() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;

    let page = app.page(&place, "notes").await;
    assert!(
        page.contains("An app") && page.contains("not verified"),
        "{page}"
    );
    assert!(page.contains("<strong>app.example</strong>"), "{page}");
    assert!(page.contains("/api/mcp/id/notes"), "{page}");
    let answer = place.allow(&page, key.expose(), &[("life", "8h")]).await;

    let location = location(&answer);
    assert!(
        location.starts_with(&format!("{REDIRECT}?code=")),
        "{location}"
    );
    assert_eq!(parameter(&location, "state").as_deref(), Some("the state"));
    let issuer = parameter(&location, "iss");
    assert_eq!(issuer.as_deref(), Some("https://pool.example/oauth"));
    let grants = place.store().grants().unwrap();
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].approver.key(), Some(key.id()));
    assert!(grants[0].ends_at.is_some());
}

#[tokio::test]
async fn a_wrong_key_shows_the_page_again() {
    let place = Place::start().await;
    let other = place.caller_key(&["other"]).await;
    let worker = place.worker_key(&["*"]).await;
    let app = place.app(REDIRECT).await;
    let page = app.page(&place, "notes").await;
    let mistyped = format!("{}x", &other.expose()[..other.expose().len() - 1]);

    for (credential, said) in [
        ("", "no valid caller key"),
        ("wrong", "no valid caller key"),
        (llamapool_testkit::API_KEY, "no valid caller key"),
        (worker.expose(), "no valid caller key"),
        (other.expose(), "not for the service notes"),
        (mistyped.as_str(), "typing error"),
        ("AAAA-AAAA", "not valid"),
    ] {
        let again = place.allow(&page, credential, &[("life", "8h")]).await;
        assert_eq!(again.status(), 403, "{said}");
        assert!(again.text().contains(said), "{said}: {}", again.text());
        assert!(
            again.text().contains("value=\"8h\" checked"),
            "{}",
            again.text()
        );
        assert!(credential.len() < 5 || !again.text().contains(credential));
    }
    assert!(place.store().grants().unwrap().is_empty());
}

#[tokio::test]
async fn a_one_time_code_of_the_owner_works_once() {
    let place = Place::start().await;
    let app = place.app(REDIRECT).await;
    let page = app.page(&place, "notes").await;
    let code = place.login_code();

    let lower = code.to_lowercase();
    let first = place.allow(&page, &lower, &[]).await;
    let second = place.allow(&page, &code, &[]).await;

    assert!(parameter(&location(&first), "code").is_some());
    assert_eq!(second.status(), 403, "{}", second.text());
}

#[tokio::test]
async fn a_one_time_code_ends_after_five_wrong_tries() {
    let place = Place::start().await;
    let app = place.app(REDIRECT).await;
    let page = app.page(&place, "notes").await;
    let code = place.login_code();
    let last = if code.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &code[..code.len() - 1]);

    for _ in 0..5 {
        assert_eq!(place.allow(&page, &wrong, &[]).await.status(), 403);
    }

    assert_eq!(place.allow(&page, &code, &[]).await.status(), 403);
}

#[tokio::test]
async fn a_form_of_another_site_is_refused() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    let page = app.page(&place, "notes").await;
    let request = sealed(&page);
    let form = [
        ("request", request.as_str()),
        ("decision", "allow"),
        ("credential", key.expose()),
    ];

    for hostile in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "https://pool.example:8443")],
        &[("origin", "http://pool.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[
            ("origin", "https://pool.example"),
            ("sec-fetch-site", "cross-site"),
        ],
    ] {
        let answer = sent_by_browser(&place, &form, hostile).await;
        assert_eq!(answer.status(), 403, "{hostile:?}: {}", answer.text());
    }
    assert!(place.store().grants().unwrap().is_empty());
    let own = [
        ("origin", "https://pool.example"),
        ("sec-fetch-site", "same-origin"),
    ];
    let answer = sent_by_browser(&place, &form, &own).await;
    assert!(parameter(&location(&answer), "code").is_some());
}

#[tokio::test]
async fn a_form_that_was_not_made_here_is_refused() {
    let place = Place::start().await;
    let other = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let [app, foreign] = [place.app(REDIRECT).await, other.app(REDIRECT).await];
    let page = app.page(&place, "notes").await;
    let of_other = foreign.page(&other, "notes").await;
    let mut forged = sealed(&page);
    forged.replace_range(20..21, if &forged[20..21] == "A" { "B" } else { "A" });

    for request in [sealed(&of_other), forged, String::new(), "x".repeat(40_000)] {
        let form = [
            ("request", request.as_str()),
            ("decision", "allow"),
            ("credential", key.expose()),
        ];
        let answer = place.form("/oauth/consent", &form).await;
        assert_eq!(answer.status(), 400, "{}", answer.text());
    }
    let request = sealed(&page);
    let twice = [
        ("request", request.as_str()),
        ("decision", "deny"),
        ("decision", "allow"),
        ("credential", key.expose()),
    ];
    assert_eq!(place.form("/oauth/consent", &twice).await.status(), 400);
    let undecided = [("request", request.as_str()), ("credential", key.expose())];
    assert_eq!(place.form("/oauth/consent", &undecided).await.status(), 400);
    assert!(place.store().grants().unwrap().is_empty());
}

/// The page asks again, also of the client that was allowed a moment ago.
#[tokio::test]
async fn nothing_is_remembered_of_a_consent() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes"]).await;
    let app = place.app(REDIRECT).await;
    place.sign_in(&app, "notes", key.expose()).await;

    let mut silent = app.parameters("notes");
    silent.push(("prompt", "none".to_owned()));
    let page = authorize(&place, &silent).await;

    assert_eq!(page.status(), 200);
    assert!(
        page.text().contains("name=\"credential\""),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn a_person_chooses_where_the_client_names_no_resource() {
    let place = Place::start().await;
    let key = place.caller_key(&["notes", "open"]).await;
    let mut store = place.store();
    let open = "open".parse().unwrap();
    let now = std::time::SystemTime::now();
    let change = store
        .set_access(&open, Some(AccessMode::Open), now)
        .unwrap();
    crate::kit::applied(&store, change).await;
    let app = place.app(REDIRECT).await;
    let page = authorize(&place, &with(&app.parameters("notes"), "resource", None)).await;
    assert!(
        page.text().contains("name=\"id\" value=\"\""),
        "{}",
        page.text()
    );

    for wrong in ["", "a/b", "other", "open"] {
        let again = place
            .allow(page.text(), key.expose(), &[("id", wrong)])
            .await;
        assert_eq!(again.status(), 403, "{wrong}: {}", again.text());
        assert!(
            again
                .text()
                .contains(&format!("name=\"id\" value=\"{wrong}\"")),
            "{wrong}"
        );
    }
    let answer = place
        .allow(page.text(), key.expose(), &[("id", "notes")])
        .await;
    let code = parameter(&location(&answer), "code").unwrap();
    let tokens = app.redeem(&place, &code).await.json();

    assert_eq!(
        place
            .call("notes", Some(text(&tokens, "access_token")))
            .await
            .status(),
        503
    );
    assert_eq!(
        place
            .call("other", Some(text(&tokens, "access_token")))
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn what_a_client_calls_itself_cannot_change_the_page() {
    let place = Place::start().await;
    let hostile = format!(
        "<img src=x onerror=alert(1)>\u{202e}\u{2066}\n\r\0{}",
        "long ".repeat(2000)
    );
    let named = place
        .register(&json!({"client_name": &hostile[..4000], "redirect_uris": [REDIRECT]}))
        .await;
    let app = App {
        id: text(&named.json(), "client_id").to_owned(),
        redirect: REDIRECT.to_owned(),
    };

    let page = app.page(&place, "notes").await;

    assert!(!page.contains("<img"), "{page}");
    assert!(
        !page.contains('\u{202e}') && !page.contains('\u{2066}'),
        "{page}"
    );
    assert!(page.len() < 20_000, "the name is cut");
    let problem = authorize(
        &place,
        &with(&app.parameters("x"), "client_id", Some("<b>x</b>")),
    )
    .await;
    assert!(!problem.text().contains("<b>x"), "{}", problem.text());
}
