//! One origin, many providers: with sign-in no answer of a provider is a page beside the page on which
//! keys are typed.

use axum::http::HeaderValue;
use llamapool_testkit::{Provider, json_answer};

use crate::kit::Place;

#[tokio::test]
async fn a_browser_that_would_show_or_run_an_answer_gets_none() {
    let place = Place::start().await;
    let provider = Provider::answering(|_| async { json_answer("{}") }).await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.caller_key(&["*"]).await;
    let get = async |path: &str, destination: Option<&str>| {
        let request = place.pool.http.get(format!("{}{path}", place.pool.url));
        let request = request.bearer_auth(key.expose());
        let request = match destination {
            Some(destination) => request.header("sec-fetch-dest", destination),
            None => request,
        };
        request.send().await.unwrap()
    };

    for path in [
        "/api/mcp/id/notes",
        "/api/mcp/id/notes/~announced/page",
        "/api/mcp/id/nothing",
    ] {
        for destination in [
            "document",
            "iframe",
            "script",
            "worker",
            "serviceworker",
            "object",
        ] {
            let refused = get(path, Some(destination)).await;
            assert_eq!(refused.status(), 403, "{destination} {path}");
            assert_eq!(refused.headers()["llamapool-error"], "no_pages");
        }
    }
    assert_eq!(place.pool.client("notes").await["calls_total"], 0);
    assert_eq!(get("/api/mcp/id/notes", Some("empty")).await.status(), 200);
    assert_eq!(get("/api/mcp/id/notes", None).await.status(), 200);
}

#[tokio::test]
async fn a_page_of_a_provider_is_in_a_sandbox() {
    let place = Place::start().await;
    let provider = Provider::answering(|request| async move {
        let mut answer = json_answer("<script>alert(1)</script>");
        let media_type = request.headers().get("x-type").cloned();
        let headers = answer.headers_mut();
        headers.insert("content-type", media_type.unwrap());
        headers.append(
            "set-cookie",
            HeaderValue::from_static("__Host-llamapool=1; Path=/; Secure"),
        );
        headers.append("set-cookie", HeaderValue::from_static("theirs=1"));
        answer
    })
    .await;
    let _relay = place.pool.relay("notes", &provider.url).await;
    let key = place.caller_key(&["*"]).await;

    for media_type in [
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "text/javascript",
    ] {
        let request = place.pool.http.get(place.pool.mcp("notes"));
        let request = request
            .bearer_auth(key.expose())
            .header("x-type", media_type);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let policies = answer.headers().get_all("content-security-policy");
        assert!(
            policies.iter().any(|policy| policy == "sandbox"),
            "{media_type}"
        );
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        assert!(cookies[0].to_str().unwrap().contains("theirs=1"));
    }
}

#[tokio::test]
async fn without_sign_in_a_browser_may_open_an_id() {
    let place = Place::with(|server| {
        server.sign_in = None;
        server.identity.default_access = llamapool_identity::AccessMode::Open;
    })
    .await;
    let provider = Provider::answering(|_| async { json_answer("{}") }).await;
    let _relay = place.pool.relay("notes", &provider.url).await;

    let request = place.pool.http.get(place.pool.mcp("notes"));
    let answer = request
        .header("sec-fetch-dest", "document")
        .send()
        .await
        .unwrap();

    assert_eq!(answer.status(), 200);
}
