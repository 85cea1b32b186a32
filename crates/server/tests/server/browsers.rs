//! What a browser finds where llamapool itself answers; programs find what they always did.

use llamapool_testkit::{Pool, Provider};
use reqwest::header::ACCEPT;
use serde_json::Value;

/// What a browser accepts when it opens an address.
const BROWSER: &str =
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

async fn open(pool: &Pool, path: &str, accept: Option<&str>) -> reqwest::Response {
    let request = pool.http.get(format!("{}{path}", pool.url));
    let request = match accept {
        Some(accept) => request.header(ACCEPT, accept),
        None => request,
    };
    request.send().await.unwrap()
}

/// Asserts that an answer is a page that runs nothing and loads nothing. Returns it.
async fn page(answer: reqwest::Response) -> String {
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], "no-store");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !policy.contains("script-src") && !policy.contains("unsafe"),
        "{policy}"
    );
    let html = answer.text().await.unwrap();
    assert!(
        !html.contains("<script") && !html.contains("style="),
        "{html}"
    );
    html
}

#[tokio::test]
async fn the_root_is_a_page_for_browsers_alone() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("secret-id", &provider.url).await;

    let opened = open(&pool, "/", Some(BROWSER)).await;

    assert_eq!(opened.status(), 200);
    let html = page(opened).await;
    assert!(html.contains("/api/mcp/id/"), "{html}");
    assert!(
        !html.contains("secret-id") && !html.contains(env!("CARGO_PKG_VERSION")),
        "{html}"
    );
    for accept in [
        None,
        Some("*/*"),
        Some("application/json"),
        Some("text/html, text/event-stream"),
    ] {
        let asked = open(&pool, "/", accept).await;
        assert_eq!(
            asked.headers()["content-type"],
            "text/plain; charset=utf-8",
            "{accept:?}"
        );
        assert_eq!(asked.text().await.unwrap(), "llamapool is running\n");
    }
}

#[tokio::test]
async fn an_error_is_a_page_for_browsers_and_json_for_programs() {
    let pool = Pool::start().await;

    let opened = open(&pool, "/api/mcp/id/nothere", Some(BROWSER)).await;

    assert_eq!(opened.status(), 503);
    assert_eq!(opened.headers()["llamapool-error"], "relay_offline");
    assert_eq!(opened.headers()["retry-after"], "2");
    let id = opened.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let html = page(opened).await;
    for part in [
        "No relay of this id is connected.",
        "Check the id",
        "relay_offline",
        &id,
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    let asked = open(&pool, "/api/mcp/id/nothere", Some("application/json")).await;
    let json: Value = asked.json().await.unwrap();
    assert_eq!(json["error"]["data"]["hop"], "relay");
    let posted = pool.http.post(pool.mcp("nothere")).header(ACCEPT, BROWSER);
    let posted = posted.body("{}").send().await.unwrap();
    assert_eq!(posted.headers()["content-type"], "application/json");
}

/// Also one that the relay makes.
#[tokio::test]
async fn an_error_of_the_relay_is_a_page_too() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let url = provider.url.clone();
    let _relay = pool.relay("notes", &url).await;
    provider.stop().await;

    let opened = open(&pool, "/api/mcp/id/notes", Some(BROWSER)).await;

    assert_eq!(opened.headers()["llamapool-error"], "provider_unreachable");
    let html = page(opened).await;
    assert!(html.contains("<code>PROVIDER_URL</code>"), "{html}");
    pool.until("it is no running call", |state| {
        state["mcp"]["sessions"].is_null()
    })
    .await;
}

#[tokio::test]
async fn an_answer_of_a_provider_is_never_replaced() {
    let pool = Pool::start().await;
    let provider = Provider::answering(|_| async {
        let answer = axum::http::Response::builder();
        let answer = answer
            .status(502)
            .header("llamapool-error", "relay_offline");
        answer.body("its own words".into()).unwrap()
    })
    .await;
    let _relay = pool.relay("notes", &provider.url).await;

    let opened = open(&pool, "/api/mcp/id/notes", Some(BROWSER)).await;

    assert_eq!(opened.status(), 502);
    assert!(!opened.headers().contains_key("llamapool-error"));
    assert_eq!(opened.text().await.unwrap(), "its own words");
}
