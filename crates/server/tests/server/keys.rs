//! Keys, origins and hosts: each opens its own doors and no other.

use llamapool_testkit::{
    API_KEY, Pool, Provider, RawHttp, error_word, http_request, serve_metrics,
};
use serde_json::{Value, json};

const STATE_PATHS: [&str; 2] = ["/api/state", "/api/state/stream"];

#[tokio::test]
async fn the_state_requires_the_api_key() {
    let pool = Pool::start().await;

    let wrong = [
        None,
        Some("Bearer "),
        Some("Bearer"),
        Some(API_KEY),
        Some("Basic test123"),
        Some("Bearer test124"),
        Some("Bearer test1234"),
        Some("Bearer secret"),
    ];

    for path in STATE_PATHS {
        for authorization in wrong {
            let mut request = pool.http.get(format!(
                "{}{path}?key={API_KEY}&api_key={API_KEY}",
                pool.url
            ));
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let answer = request.send().await.unwrap();

            assert_eq!(answer.status(), 401, "{path} {authorization:?}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");

            let body: Value = answer.json().await.unwrap();
            let message = "expected Authorization: Bearer <API_KEY>, or an admin key";

            assert_eq!(
                body,
                json!({ "error": "unauthorized", "message": message }),
                "{path} {authorization:?}"
            );
        }

        let right = pool
            .http
            .get(format!("{}{path}", pool.url))
            .header("authorization", "bearer test123");

        assert_eq!(right.send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_browsers_page_gets_no_data_from_a_server_on_loopback() {
    let pool = Pool::with(serve_metrics).await;

    let shared = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;

    let metrics = format!("{}/metrics", pool.metrics_url());
    let call = pool.mcp("mcp-1234");
    let shared_metrics = format!("{}/metrics", shared.url);
    let own = |path: &str| format!("{}{path}", pool.url);
    let urls = [
        own("/api/state"),
        own("/api/state/stream"),
        metrics,
        shared_metrics,
        call,
    ];
    let evil: [(&str, &str, &str); 6] = [
        ("host", "evil.example", "host_refused"),
        ("host", "127.0.0.1.evil.example:80", "host_refused"),
        ("host", "192.0.2.1", "host_refused"),
        ("origin", "http://evil.example", "origin_refused"),
        ("origin", "null", "origin_refused"),
        ("origin", "http://localhost.evil.example", "origin_refused"),
    ];

    for url in &urls {
        let get = || pool.http.get(url).bearer_auth(API_KEY);

        for (name, value, word) in evil {
            let answer = get().header(name, value).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{url} {name}: {value}");
            assert_eq!(error_word(answer).await, word, "{url} {name}: {value}");
        }

        assert_eq!(
            get()
                .header("host", "localhost")
                .send()
                .await
                .unwrap()
                .status(),
            200,
            "{url}"
        );
    }

    assert_eq!(pool.client("mcp-1234").await["calls_total"], 1);
}

/// Health probes may use any `Host`, also where other routes allow only some, and refuse pages in
/// browsers. Checked on every port.
#[tokio::test]
async fn every_route_refuses_an_ambiguous_host_or_origin() {
    let pool = Pool::with(|server| {
        serve_metrics(server);
        server.auth.allowed_origins = vec!["*".to_owned()];
        server.auth.allowed_hosts = vec!["127.0.0.1".to_owned()];
    })
    .await;

    let metrics = pool.metrics_url();
    let everywhere = ["/healthz", "/readyz", "/nowhere"];
    let here = [
        "/api/state",
        "/api/mcp/connect",
        "/api/mcp/id/x",
        "/.well-known/oauth-protected-resource",
    ];
    let routes = [
        (&pool.url, &everywhere[..]),
        (&metrics, &everywhere),
        (&metrics, &["/metrics"]),
        (&pool.url, &here),
    ];

    for (url, paths) in routes {
        for path in paths {
            for (twice, word) in [
                ("host: 127.0.0.1\r\n", "host_refused"),
                (
                    "origin: http://localhost\r\norigin: http://localhost\r\n",
                    "origin_refused",
                ),
            ] {
                let mut caller = RawHttp::connect(url).await;
                caller.send(http_request("GET", path, twice, b"")).await;
                let head = caller.head().await;

                assert_eq!(head.status(), 403, "{url}{path}");
                assert_eq!(
                    head.values("llamapool-error"),
                    vec![word.to_owned()],
                    "{url}{path}"
                );
            }
        }
    }

    let local = Pool::with(serve_metrics).await;

    for url in [&local.url, &local.metrics_url()] {
        for path in ["/healthz", "/readyz"] {
            let ask = |name: &str, value: &str| {
                local
                    .http
                    .get(format!("{url}{path}"))
                    .header(name, value)
                    .send()
            };

            assert_eq!(
                ask("host", "10.1.2.3:8080").await.unwrap().status(),
                200,
                "{path}"
            );

            for page in ["http://evil.example", "null"] {
                assert_eq!(
                    error_word(ask("origin", page).await.unwrap()).await,
                    "origin_refused",
                    "{path} {page}"
                );
            }
        }
    }
}
