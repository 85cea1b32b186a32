//! Clients that are documents: what they may say of themselves, and what happens when a document
//! changes, goes away, or is blocked.

use llamapool_identity::ClientOrigin;
use llamapool_testkit::Answer;
use serde_json::{Value, json};

use crate::document_fetch::{Web, app, document};
use crate::kit::{
    PUBLIC, Place, REDIRECT, applied, location, parameter, sealed, showing_headers, text,
};

const URL: &str = "https://app.example/client.json";

/// Publishes what a test makes of a good document, and returns the page.
async fn page_of(web: &Web, change: impl FnOnce(&mut Value)) -> Answer {
    let mut document = document(URL);
    change(&mut document);
    web.host
        .answer(URL, "application/json", &document.to_string());
    web.page(URL).await
}

#[tokio::test]
async fn a_document_of_another_client_is_none() {
    for other in [
        "https://app.example/other.json",
        "https://App.example/client.json",
        "https://app.example:443/client.json",
        "https://app.example/client.json?x=1",
        "https://app.example/client.json/",
    ] {
        let web = Web::start().await;
        let page = page_of(&web, |document| document["client_id"] = other.into()).await;
        assert_eq!(page.status(), 400, "{other}");
        let why = "its client_id is not its URL";
        assert!(page.text().contains(why), "{other}: {}", page.text());
    }
}

#[tokio::test]
async fn what_is_no_document_is_refused_by_name() {
    let good = document(URL).to_string();
    let json = "application/json";
    let with = |name: &str, value: Value| {
        let mut document = document(URL);
        document[name] = value;
        document.to_string()
    };
    let large = with("client_name", "x".repeat(10 * 1024).into());
    let secret = with("client_secret", "s".into());
    let by_secret = with("token_endpoint_auth_method", "client_secret_basic".into());
    let script = with("redirect_uris", json!(["javascript:alert(1)"]));
    let many: Vec<_> = (0..11).map(|n| format!("https://a.example/{n}")).collect();
    let many = with("redirect_uris", json!(many));
    let twice = good.replacen('{', "{\"client_id\":\"https://evil.example/x\",", 1);

    for (media_type, body, why) in [
        ("text/html", &*good, "the media type &#34;text/html&#34;"),
        (
            "text/plain; charset=utf-8",
            &good,
            "expected application/json",
        ),
        (json, "", "not as expected"),
        (json, "<html>", "not as expected"),
        (json, "[]", "not as expected"),
        (json, "{}", "not as expected"),
        (json, "{\"client_id\":1}", "not as expected"),
        (json, &twice, "not as expected"),
        (json, &large, "more than 5120 bytes"),
        (json, &secret, "client_secret"),
        (json, &by_secret, "client_secret_basic"),
        (json, &script, "no redirect URI is acceptable"),
        (json, &many, "11 redirect URIs"),
    ] {
        let web = Web::start().await;
        web.host.answer(URL, media_type, body);
        let page = web.page(URL).await;
        assert_eq!(page.status(), 400, "{body}");
        assert!(page.text().contains(why), "{why}: {}", page.text());
    }
}

/// Row for row of what a name could do to the page: markup, characters that turn it, and length.
#[tokio::test]
async fn a_name_in_a_document_cannot_change_the_page() {
    let long = "x".repeat(4000);
    for (name, shown) in [
        ("</title><script>alert(1)</script>", "&#60;script&#62;"),
        ("Clau\u{202e}de\u{200b}\u{2066}", "<bdi>Claude</bdi>"),
        ("one\ntwo\u{0}", "<bdi>onetwo</bdi>"),
        (&long, &format!("<bdi>{}</bdi>", "x".repeat(80))),
    ] {
        let web = Web::start().await;
        let page = page_of(&web, |document| document["client_name"] = name.into()).await;
        assert_eq!(page.status(), 200, "{}", page.text());
        assert!(page.text().contains(shown), "{}", page.text());
        assert!(!page.text().contains("<script"), "{}", page.text());
        assert!(!page.text().contains('\u{202e}'), "{}", page.text());
    }
}

/// A wrong redirect of a good client is a page, also where the client is a document.
#[tokio::test]
async fn only_redirects_of_the_document_are_led_to() {
    let web = Web::start().await;
    let page = page_of(&web, |document| {
        document["redirect_uris"] = json!(["https://app.example/other", "data:x"]);
    })
    .await;

    assert_eq!(page.status(), 400);
    assert!(
        page.text().contains("has not registered"),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn a_document_that_changed_since_the_page_allows_nothing() {
    let web = Web::forgetful().await;
    let key = web.place.caller_key(&["notes"]).await;
    let page = page_of(&web, |_| {}).await;
    assert_eq!(page.status(), 200, "{}", page.text());

    let changed = page_of(&web, |document| {
        document["redirect_uris"] = json!(["https://app.example/new"]);
    })
    .await;
    let allowed = web.place.allow(page.text(), key.expose(), &[]).await;

    assert_eq!(changed.status(), 400, "{}", changed.text());
    assert_eq!(allowed.status(), 403, "{}", allowed.text());
    assert!(allowed.text().contains("has changed"), "{}", allowed.text());
}

/// An outage of the client's web site ends nothing, and is shown on the page.
#[tokio::test]
async fn an_outage_ends_no_grant_and_is_shown() {
    let web = Web::forgetful().await;
    let provider = showing_headers().await;
    let _relay = web.place.pool.relay("notes", &provider.url).await;
    let key = web.place.caller_key(&["notes"]).await;
    web.host.publish(&document(URL));
    let tokens = web.place.sign_in(&app(URL), "notes", key.expose()).await;

    web.host.set_down(true);
    let refreshed = app(URL)
        .refresh(&web.place, text(&tokens, "refresh_token"))
        .await;
    let page = web.page(URL).await;
    let allowed = web.place.allow(page.text(), key.expose(), &[]).await;
    let code = parameter(&location(&allowed), "code").unwrap();
    let again = app(URL).redeem(&web.place, &code).await;

    assert_eq!(refreshed.status(), 200, "{}", refreshed.text());
    assert!(
        page.text().contains("cannot be reached now"),
        "{}",
        page.text()
    );
    assert_eq!(again.status(), 200, "{}", again.text());
    let token = again.json();
    let token = Some(text(&token, "access_token"));
    assert_eq!(web.place.call("notes", token).await.status(), 200);
}

/// What was allowed goes on, and nothing more can be.
#[tokio::test]
async fn a_document_that_is_gone_asks_no_more() {
    let web = Web::forgetful().await;
    let key = web.place.caller_key(&["notes"]).await;
    web.host.publish(&document(URL));
    let tokens = web.place.sign_in(&app(URL), "notes", key.expose()).await;

    web.host.answer(URL, "text/html", "gone");
    let gone = crate::document_host::response("410 Gone", "", b"");
    web.host
        .reply(URL, crate::document_host::Reply::Bytes(gone));
    let page = web.page(URL).await;
    let refreshed = app(URL)
        .refresh(&web.place, text(&tokens, "refresh_token"))
        .await;

    assert_eq!(page.status(), 400, "{}", page.text());
    assert!(page.text().contains("410"), "{}", page.text());
    assert_eq!(refreshed.status(), 200, "{}", refreshed.text());
}

#[tokio::test]
async fn a_blocked_url_is_not_fetched() {
    let web = Web::start().await;
    web.host.publish(&document(URL));
    let mut store = web.place.store();
    let now = std::time::SystemTime::now();
    let change = store.block_client(&URL.parse().unwrap(), now).unwrap();
    applied(&store, change).await;

    let page = web.page(URL).await;

    assert_eq!(page.status(), 400);
    assert!(page.text().contains("is blocked"), "{}", page.text());
    assert_eq!(web.host.lookups(), Vec::<String>::new());
    let refreshed = app(URL).refresh(&web.place, "llpr_x").await;
    assert_eq!(refreshed.status(), 401, "{}", refreshed.text());
}

/// A server without the internet leaves documents out, and says so where clients look.
#[tokio::test]
async fn without_documents_a_url_is_an_unknown_client() {
    let web = Web::with(|config| config.clients = vec![ClientOrigin::Registered]).await;
    web.host.publish(&document(URL));

    let page = web.page(URL).await;
    let metadata = web
        .place
        .get("/.well-known/oauth-authorization-server/oauth")
        .await
        .json();

    assert_eq!(page.status(), 400);
    assert!(page.text().contains("is not known"), "{}", page.text());
    assert_eq!(web.host.lookups(), Vec::<String>::new());
    let member = "client_id_metadata_document_supported";
    assert_eq!(metadata.get(member), None, "{metadata}");
}

/// Nobody has asked the endpoints of tokens for a document that was never allowed.
#[tokio::test]
async fn the_endpoints_of_tokens_fetch_nothing() {
    let web = Web::start().await;
    web.host.publish(&document(URL));

    let form = [("token", "x"), ("client_id", URL)];
    let revoked = web.place.form("/oauth/revoke", &form).await;
    let refreshed = app(URL).refresh(&web.place, "llpr_x").await;
    let redeemed = app(URL).redeem(&web.place, "x").await;

    for answer in [revoked, refreshed, redeemed] {
        assert_eq!(answer.status(), 401, "{}", answer.text());
        assert_eq!(answer.json()["error"], "invalid_client");
    }
    assert_eq!(web.host.lookups(), Vec::<String>::new());
}

/// A form of a page survives that the server starts again, and its document is fetched anew.
#[tokio::test]
async fn a_page_is_good_for_a_server_that_has_started_again() {
    let web = Web::start().await;
    web.host.publish(&document(URL));
    let key = web.place.caller_key(&["notes"]).await;
    let page = web.page(URL).await;
    let form = sealed(page.text());

    let Web { place, host, .. } = web;
    let Place { pool, folder } = place;
    drop(pool);
    let network = host.network();
    let place = Place::in_folder(folder, |server| {
        server.sign_in.as_mut().unwrap().network = network;
    })
    .await;
    let form = [
        ("request", form.as_str()),
        ("decision", "allow"),
        ("credential", key.expose()),
    ];
    let allowed = place.form("/oauth/consent", &form).await;

    let location = location(&allowed);
    assert!(location.starts_with(&format!("{REDIRECT}?")), "{location}");
    assert_eq!(host.requests().len(), 2);
    let issuer = format!("{PUBLIC}/oauth");
    assert_eq!(parameter(&location, "iss"), Some(issuer));
}
