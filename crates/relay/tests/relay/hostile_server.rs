//! A server that sends what no server of llamapool sends: it chooses nothing that the relay reaches
//! beyond the provider's path, and no head of the provider's that its caller did not make.

use axum::extract::Request;
use http_body_util::BodyExt;
use llamapool_testkit::{Pool, Provider, RelayTunnel, TunnelServer, json_answer};

/// Sends a request with an empty body. Returns the status, and the name of the error if it is one.
async fn asked(tunnel: &RelayTunnel, method: &str, path: &str) -> (u16, String) {
    let request = axum::http::Request::builder()
        .method(method)
        .uri(path)
        .body(String::new());
    let answer = tunnel.send(request.unwrap()).await.unwrap();
    let error = answer.headers().get("llamapool-error");
    let error = error.map_or_else(String::new, |error| error.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    (status, error)
}

#[tokio::test]
async fn a_hostile_server_does_not_leave_the_providers_path() {
    let server = TunnelServer::bind().await;
    let provider = Provider::answering(async |request: Request| {
        assert!(
            request.uri().path().starts_with("/mcp"),
            "{}",
            request.uri()
        );
        json_answer("{}")
    })
    .await;
    let _relay = Pool::relay_to(&server.url, "x", &provider.url, |_| {}).await;
    let tunnel = server.relay("x").await;

    for path in [
        "/../admin",
        "/..;/admin",
        "/%2e%2e/admin",
        "/%252e%252e/admin",
        "/..%00/admin",
        "/%c0%ae%c0%ae/admin",
        "/%ef%bc%8e%ef%bc%8e/admin",
        "/..%5cadmin",
        "/~announced/../admin",
    ] {
        let refused = asked(&tunnel, "POST", &format!("/mcp/x{path}")).await;
        assert_eq!(refused, (403, "path_refused".to_owned()), "{path}");
    }
    for method in ["CONNECT", "TRACE"] {
        let refused = asked(&tunnel, method, "/mcp/x").await;
        assert_eq!(refused, (403, "method_refused".to_owned()), "{method}");
    }
    assert_eq!(asked(&tunnel, "POST", "/mcp/x/below").await.0, 200);
}

#[tokio::test]
async fn an_odd_length_of_a_server_is_an_error_with_a_name() {
    let server = TunnelServer::bind().await;
    let provider = Provider::echoing().await;
    let _relay = Pool::relay_to(&server.url, "x", &provider.url, |_| {}).await;
    let tunnel = server.relay("x").await;

    for lengths in [&["1", "2"][..], &["x"], &["+2"]] {
        let mut request = axum::http::Request::post("/mcp/x");
        for length in lengths {
            request = request.header("content-length", *length);
        }
        let answer = tunnel.send(request.body("{}".to_owned()).unwrap()).await;
        let answer = answer.unwrap();

        assert_eq!(answer.headers()["llamapool-error"], "relay_garbage");
        assert_eq!(answer.status().as_u16(), 502, "{lengths:?}");
    }
}
