//! A provider that wants OAuth tokens says where to get them, and the caller finds that place through llamapool.

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::harness::{Pool, Provider, json_answer, tools_call};

/// A provider that answers to one token alone, and names its metadata where it says so.
async fn guarded(metadata_path: &'static str) -> Provider {
    let call = async move |request: Request| -> Response {
        let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
        if request.headers().get(header::AUTHORIZATION).is_some_and(|token| token == "Bearer good") {
            return json_answer(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        }
        let challenge =
            format!(r#"Bearer error="invalid_token", resource_metadata="http://{host}{metadata_path}", scope="a b""#);
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
    };
    let metadata = async || {
        axum::Json(json!({
            "resource": "http://10.0.0.1/mcp",
            "authorization_servers": ["https://login.example"],
            "scopes_supported": ["a", "b"],
        }))
    };
    Provider::serving(Router::new().route("/mcp", post(call)).route(metadata_path, get(metadata))).await
}

/// Where the challenge of a call without a token leads.
async fn place_in_challenge(pool: &Pool, id: &str) -> String {
    let refused = pool.post(id, &tools_call(1, "echo")).await;
    assert_eq!(refused.status(), 401);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let (before, rest) = challenge.split_once(r#"resource_metadata=""#).unwrap();
    let (place, after) = rest.split_once('"').unwrap();
    assert_eq!((before, after), (r#"Bearer error="invalid_token", "#, r#", scope="a b""#));
    place.to_owned()
}

#[tokio::test]
async fn a_challenge_leads_to_metadata_whose_resource_is_the_url_that_was_called() {
    for metadata_path in
        ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource", "/elsewhere"]
    {
        let (pool, provider) = (Pool::start().await, guarded(metadata_path).await);
        let _relay = pool.relay("guarded", &provider.url).await;
        let place = place_in_challenge(&pool, "guarded").await;
        assert_eq!(place, format!("{}/.well-known/oauth-protected-resource/api/mcp/id/guarded", pool.url));
        let answer = pool.http.get(place).header("origin", "https://anywhere.example").send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["access-control-allow-origin"]),
            (200, &"*".parse().unwrap())
        );
        let expected = json!({
            "resource": pool.mcp("guarded"),
            "authorization_servers": ["https://login.example"],
            "scopes_supported": ["a", "b"],
        });
        assert_eq!(answer.json::<Value>().await.unwrap(), expected, "{metadata_path}");
        let call = pool.http.post(pool.mcp("guarded")).bearer_auth("good").json(&tools_call(1, "echo"));
        assert_eq!(call.send().await.unwrap().status(), 200, "the caller's token reaches the provider");
    }
}

#[tokio::test]
async fn the_public_address_is_the_one_that_was_told_or_that_a_trusted_proxy_names() {
    let provider = guarded("/.well-known/oauth-protected-resource/mcp").await;
    let told = Pool::with(&[("PUBLIC_URL", "https://pool.example/llama")]).await;
    let _relay = told.relay("guarded", &provider.url).await;
    let place = place_in_challenge(&told, "guarded").await;
    assert_eq!(place, "https://pool.example/.well-known/oauth-protected-resource/llama/api/mcp/id/guarded");
    for (trust, expected) in [("true", "https://proxied.example"), ("false", "")] {
        let pool = Pool::with(&[("TRUST_FORWARDED", trust)]).await;
        let _relay = pool.relay("guarded", &provider.url).await;
        let path = "/.well-known/oauth-protected-resource/api/mcp/id/guarded";
        let asked = pool.http.get(format!("{}{path}", pool.url)).header("x-forwarded-host", "proxied.example");
        let document: Value = asked.header("x-forwarded-proto", "https").send().await.unwrap().json().await.unwrap();
        let expected = if expected.is_empty() { pool.url.as_str() } else { expected };
        assert_eq!(document["resource"], format!("{expected}/api/mcp/id/guarded"));
    }
}

#[tokio::test]
async fn where_there_are_no_metadata_the_answer_is_a_plain_404() {
    let (pool, open) = (Pool::start().await, Provider::serving(Router::new()).await);
    let guarded = guarded("/.well-known/oauth-protected-resource/mcp").await;
    let _open = pool.relay("open", &open.url).await;
    let _own_token = pool.relay_with("own-token", &guarded.url, &[("AUTH_TOKEN", "t")]).await;
    let ask = async |path: &str| pool.http.get(format!("{}/.well-known/{path}", pool.url)).send().await.unwrap();
    for path in [
        "oauth-protected-resource/api/mcp/id/open",
        "oauth-protected-resource/api/mcp/id/own-token",
        "oauth-protected-resource",
        "oauth-authorization-server",
    ] {
        let answer = ask(path).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], "not_found", "{path}");
    }
    let offline = ask("oauth-protected-resource/api/mcp/id/nobody").await;
    assert_eq!(
        (offline.status().as_u16(), &offline.headers()["llamapool-error"]),
        (503, &"relay_offline".parse().unwrap())
    );
}
