//! A provider that requires OAuth tokens names its authorization server, and the caller finds it
//! through llamapool.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use llamapool_testkit::{Pool, Provider, http_provider, json_answer, tools_call};
use llamapool_wire::Secret;
use serde_json::{Value, json};

/// Starts a provider that accepts one token, and names its metadata in the challenge.
async fn guarded(metadata_path: &'static str) -> Provider {
    let call = async move |request: Request| -> Response {
        let host = request.headers()[header::HOST].to_str().unwrap().to_owned();

        if request
            .headers()
            .get(header::AUTHORIZATION)
            .is_some_and(|token| token == "Bearer good")
        {
            return json_answer(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        }

        let challenge = format!(
            r#"Bearer error="invalid_token", resource_metadata="http://{host}{metadata_path}", scope="a b""#
        );
        (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, challenge)],
        )
            .into_response()
    };
    let metadata = async || {
        axum::Json(json!({
            "resource": "http://10.0.0.1/mcp",
            "authorization_servers": ["https://login.example"],
            "scopes_supported": ["a", "b"],
        }))
    };
    Provider::serving(
        Router::new()
            .route("/mcp", post(call))
            .route(metadata_path, get(metadata)),
    )
    .await
}

/// Sends a call without a token. Returns the URL of the metadata in the challenge.
async fn place_in_challenge(pool: &Pool, id: &str) -> String {
    let refused = pool.post(id, &tools_call(1, "echo")).await;

    assert_eq!(refused.status(), 401);

    let challenge = refused.headers()["www-authenticate"]
        .to_str()
        .unwrap()
        .to_owned();
    let (before, rest) = challenge.split_once(r#"resource_metadata=""#).unwrap();
    let (place, after) = rest.split_once('"').unwrap();

    assert_eq!(before, r#"Bearer error="invalid_token", "#);
    assert_eq!(after, r#", scope="a b""#);

    place.to_owned()
}

/// The metadata's `resource` is the URL that was called.
#[tokio::test]
async fn a_challenge_leads_to_metadata_of_the_called_url() {
    for metadata_path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
        "/elsewhere",
    ] {
        let pool = Pool::start().await;
        let provider = guarded(metadata_path).await;
        let _relay = pool.relay("guarded", &provider.url).await;

        let place = place_in_challenge(&pool, "guarded").await;

        assert_eq!(
            place,
            format!(
                "{}/.well-known/oauth-protected-resource/api/mcp/id/guarded",
                pool.url
            )
        );

        let answer = pool
            .http
            .get(place)
            .header("origin", "https://anywhere.example")
            .send()
            .await
            .unwrap();

        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");

        let expected = json!({
            "resource": pool.mcp("guarded"),
            "authorization_servers": ["https://login.example"],
            "scopes_supported": ["a", "b"],
        });

        assert_eq!(
            answer.json::<Value>().await.unwrap(),
            expected,
            "{metadata_path}"
        );

        let call = pool
            .http
            .post(pool.mcp("guarded"))
            .bearer_auth("good")
            .json(&tools_call(1, "echo"));

        assert_eq!(
            call.send().await.unwrap().status(),
            200,
            "the caller's token reaches the provider"
        );
    }
}

#[tokio::test]
async fn the_public_address_is_configured_or_of_a_trusted_proxy() {
    let provider = guarded("/.well-known/oauth-protected-resource/mcp").await;

    let told = Pool::with(|server| {
        server.listen.public_url = Some(Uri::from_static("https://pool.example/llama"));
    })
    .await;
    let _relay = told.relay("guarded", &provider.url).await;

    let place = place_in_challenge(&told, "guarded").await;

    assert_eq!(
        place,
        "https://pool.example/.well-known/oauth-protected-resource/llama/api/mcp/id/guarded"
    );

    for (trust, expected) in [(true, "https://proxied.example"), (false, "")] {
        let pool = Pool::with(|server| server.listen.trust_forwarded = trust).await;
        let _relay = pool.relay("guarded", &provider.url).await;

        let path = "/.well-known/oauth-protected-resource/api/mcp/id/guarded";
        let asked = pool
            .http
            .get(format!("{}{path}", pool.url))
            .header("x-forwarded-host", "proxied.example");
        let document: Value = asked
            .header("x-forwarded-proto", "https")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let expected = if expected.is_empty() {
            pool.url.as_str()
        } else {
            expected
        };

        assert_eq!(
            document["resource"],
            format!("{expected}/api/mcp/id/guarded")
        );
    }
}

#[tokio::test]
async fn where_there_are_no_metadata_the_answer_is_a_plain_404() {
    let pool = Pool::start().await;

    let open = Provider::serving(Router::new()).await;
    let guarded = guarded("/.well-known/oauth-protected-resource/mcp").await;
    let _open = pool.relay("open", &open.url).await;
    let _own_token = pool
        .relay_with("own-token", &guarded.url, |relay| {
            relay.providers[0].auth_token = Some(Secret::new("t"));
        })
        .await;

    let ask = async |path: &str| {
        pool.http
            .get(format!("{}/.well-known/{path}", pool.url))
            .send()
            .await
            .unwrap()
    };

    for path in [
        "oauth-protected-resource/api/mcp/id/open",
        "oauth-protected-resource/api/mcp/id/own-token",
        "oauth-protected-resource",
        "oauth-authorization-server",
    ] {
        let answer = ask(path).await;

        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(
            answer.json::<Value>().await.unwrap()["error"],
            "not_found",
            "{path}"
        );
    }

    let offline = ask("oauth-protected-resource/api/mcp/id/nobody").await;

    assert_eq!(offline.status().as_u16(), 503);
    assert_eq!(offline.headers()["llamapool-error"], "relay_offline");
}

/// Requests the metadata of an id.
async fn metadata_of(pool: &Pool, id: &str) -> reqwest::Response {
    let url = format!(
        "{}/.well-known/oauth-protected-resource/api/mcp/id/{id}",
        pool.url
    );
    pool.http.get(url).send().await.unwrap()
}

#[tokio::test]
async fn failed_metadata_are_not_taken_for_missing_ones() {
    for (status, expected) in [
        (500, 500),
        (503, 503),
        (429, 429),
        (404, 404),
        (401, 404),
        (204, 404),
    ] {
        let pool = Pool::start().await;
        let provider = Provider::answering(move |_| {
            let answer = Response::builder()
                .status(status)
                .header(header::RETRY_AFTER, "7");
            std::future::ready(answer.body(axum::body::Body::empty()).unwrap())
        })
        .await;
        let _relay = pool.relay("failing", &provider.url).await;

        let answer = metadata_of(&pool, "failing").await;

        assert_eq!(answer.status().as_u16(), expected, "{status}");
        assert_eq!(
            answer.headers().contains_key("retry-after"),
            expected != 404,
            "its own words go with it"
        );
        assert_eq!(
            answer.headers()["access-control-allow-origin"],
            "*",
            "{status}"
        );
    }

    let pool = Pool::start().await;
    let provider = guarded("/.well-known/oauth-protected-resource/mcp").await;
    let _relay = pool.relay("gone", &provider.url).await;

    provider.stop().await;
    let answer = metadata_of(&pool, "gone").await;

    assert_eq!(answer.headers()["access-control-allow-origin"], "*");

    let word = answer.headers()["llamapool-error"]
        .to_str()
        .unwrap()
        .to_owned();

    assert_eq!(answer.status().as_u16(), 502);
    assert_eq!(&*word, "provider_unreachable");
}

#[tokio::test]
async fn metadata_are_requested_with_the_providers_headers() {
    let router =
        Router::new().fallback(
            async |request: Request| match request.headers().get("x-api-key") {
                Some(key) if key == "k" => {
                    json_answer(r#"{"authorization_servers":["https://login.example"]}"#)
                }
                _ => StatusCode::UNAUTHORIZED.into_response(),
            },
        );
    let pool = Pool::start().await;
    let provider = Provider::serving(router).await;
    let _relay = pool
        .relay_with("keyed", &provider.url, |relay| {
            let key = HeaderValue::from_static("k");
            http_provider(relay).headers.insert("x-api-key", key);
        })
        .await;

    let answer = metadata_of(&pool, "keyed").await;

    assert_eq!(
        answer.json::<Value>().await.unwrap()["authorization_servers"],
        json!(["https://login.example"])
    );
}

/// `HEAD` is answered too.
#[tokio::test]
async fn every_origin_may_read_well_known_documents() {
    let pool = Pool::start().await;
    let provider = guarded("/.well-known/oauth-protected-resource/mcp").await;
    let _relay = pool.relay("guarded", &provider.url).await;

    let there = format!(
        "{}/.well-known/oauth-protected-resource/api/mcp/id/guarded",
        pool.url
    );
    let nowhere = format!("{}/.well-known/oauth-authorization-server", pool.url);
    let length = pool.http.get(&there).send().await.unwrap().headers()["content-length"].clone();

    for (url, status) in [(&there, 200), (&nowhere, 404)] {
        let ask = async |method| {
            let request = pool
                .http
                .request(method, url)
                .header("origin", "https://anywhere.example");
            request
                .header("access-control-request-method", "GET")
                .send()
                .await
                .unwrap()
        };
        let get = ask(reqwest::Method::GET).await;
        let head = ask(reqwest::Method::HEAD).await;
        let preflight = ask(reqwest::Method::OPTIONS).await;

        assert_eq!(get.status().as_u16(), status);
        assert_eq!(head.status().as_u16(), status);
        assert_eq!(preflight.status().as_u16(), 204);
        assert_eq!(ask(reqwest::Method::POST).await.status(), 405);

        for answer in [get, head, preflight] {
            assert_eq!(
                answer.headers()["access-control-allow-origin"],
                "*",
                "{url}"
            );
        }
    }

    let head = pool.http.head(&there).send().await.unwrap();

    assert_eq!(
        head.headers()["content-length"],
        length,
        "the head of the whole answer"
    );
}
