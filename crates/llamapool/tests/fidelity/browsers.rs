//! Pages in browsers (CORS protocol of the Fetch standard): the calls that they may make, and the
//! answers that they may read.
//!
//! Without llamapool each provider decides about that; here the server does, so that there is no
//! direct call to compare with. The tests see the same as a browser: the heads of a running server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse;

use crate::harness::{Pool, Process, Provider, RawHead, http_request};

const PAGE: &str = "https://inspector.example";
const LISTED: (&str, &str) = ("ALLOWED_ORIGINS", PAGE);
/// The headers that MCP clients in pages read.
const READ: [&str; 7] = [
    "mcp-session-id",
    "mcp-protocol-version",
    "www-authenticate",
    "last-event-id",
    "retry-after",
    "x-request-id",
    "llamapool-error",
];

/// A server that allows one page, and a relay with a token, in front of a provider that sends CORS
/// headers itself.
struct Door {
    pool: Pool,
    /// The number of requests that reached the provider.
    requests: Arc<AtomicUsize>,
    _provider: Provider,
    _relay: Process,
}

impl Door {
    async fn open() -> Self {
        let pool = Pool::with(&[LISTED]).await;
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();

        let provider = Provider::answering(move |request| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move {
                let status = request
                    .headers()
                    .get("x-status")
                    .and_then(|status| status.to_str().ok()?.parse().ok());
                let headers = [
                    ("access-control-allow-origin", "*"),
                    ("access-control-allow-credentials", "true"),
                    ("access-control-expose-headers", "x-own"),
                    ("vary", "accept, x-own"),
                    ("mcp-session-id", "s"),
                ];
                (
                    StatusCode::from_u16(status.unwrap_or(200)).unwrap(),
                    headers,
                    "{}",
                )
                    .into_response()
            }
        })
        .await;

        let relay = pool
            .relay_with("door", &provider.url, &[("AUTH_TOKEN", "sesame")])
            .await;

        Self {
            pool,
            requests,
            _provider: provider,
            _relay: relay,
        }
    }

    /// Sends a request with these fields and returns the head of the answer.
    async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> RawHead {
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let body: &[u8] = if method == "POST" { b"{}" } else { b"" };
        self.pool
            .raw_call(http_request(method, path, fields, body))
            .await
            .0
    }
}

/// Returns the values of a header that is a list, in lower case.
fn list(head: &RawHead, name: &str) -> Vec<String> {
    let values = head.values(name).join(",").to_ascii_lowercase();
    values
        .split(',')
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

/// Asserts that the page may read the answer, and all headers that a client reads.
fn assert_readable(head: &RawHead, what: &str) {
    assert_eq!(
        head.values("access-control-allow-origin"),
        [PAGE],
        "{what}: {head:?}"
    );
    assert!(
        head.values("access-control-allow-credentials").is_empty(),
        "{what}: {head:?}"
    );

    let exposed = list(head, "access-control-expose-headers");
    let missing: Vec<_> = READ
        .iter()
        .filter(|name| !exposed.iter().any(|other| other == *name))
        .collect();
    assert!(
        missing.is_empty() && !exposed.contains(&"x-own".to_owned()),
        "{what}: {missing:?} of {exposed:?}"
    );
    assert!(
        list(head, "vary").contains(&"origin".to_owned()),
        "{what}: {head:?}"
    );
}

/// A browser sends no token with a preflight. It is answered without a connected relay, too.
#[tokio::test]
async fn a_preflight_needs_no_token_and_never_reaches_the_provider() {
    let door = Door::open().await;

    let wanted =
        "authorization,content-type,mcp-method,mcp-name,mcp-param-region,mcp-param-of-the-future";
    for path in [
        "/api/mcp/id/door",
        "/api/mcp/id/door/below",
        "/api/mcp/id/nobody",
    ] {
        for method in ["POST", "GET", "DELETE"] {
            let fields = [
                ("origin", PAGE),
                ("access-control-request-method", method),
                ("access-control-request-headers", wanted),
            ];
            let head = door.ask("OPTIONS", path, &fields).await;
            assert_eq!(
                (head.status(), head.values("access-control-allow-origin")),
                (204, vec![PAGE.to_owned()])
            );
            assert!(
                list(&head, "access-control-allow-methods").contains(&method.to_ascii_lowercase()),
                "{head:?}"
            );
            assert_eq!(head.values("access-control-allow-headers"), [wanted]);
            assert_eq!(head.values("access-control-max-age").len(), 1);

            let varies = list(&head, "vary");
            for upon in [
                "origin",
                "access-control-request-method",
                "access-control-request-headers",
            ] {
                assert!(varies.contains(&upon.to_owned()), "{upon}: {varies:?}");
            }
        }
    }

    assert_eq!(
        door.requests.load(Ordering::SeqCst),
        0,
        "the provider was asked"
    );
}

#[tokio::test]
async fn a_listed_page_can_read_answers_and_errors_of_every_hop() {
    let door = Door::open().await;
    let page = ("origin", PAGE);
    let token = ("authorization", "Bearer sesame");

    for (what, status, path, fields) in [
        ("an answer", 200, "/api/mcp/id/door", &[page, token][..]),
        (
            "the provider's error",
            404,
            "/api/mcp/id/door",
            &[page, token, ("x-status", "404")],
        ),
        (
            "the provider's failure",
            500,
            "/api/mcp/id/door",
            &[page, token, ("x-status", "500")],
        ),
        ("the relay's refusal", 401, "/api/mcp/id/door", &[page]),
        (
            "the server's refusal",
            403,
            "/api/mcp/id/door/../x",
            &[page, token],
        ),
        ("an id without a relay", 503, "/api/mcp/id/nobody", &[page]),
    ] {
        let head = door.ask("POST", path, fields).await;
        assert_eq!(head.status(), status, "{what}: {head:?}");
        assert_readable(&head, what);
    }
}

/// A cache must not serve one page the answer of another one.
#[tokio::test]
async fn vary_names_the_origin_besides_the_providers_own_headers() {
    let door = Door::open().await;
    let head = door
        .ask(
            "POST",
            "/api/mcp/id/door",
            &[("origin", PAGE), ("authorization", "Bearer sesame")],
        )
        .await;
    let mut varies = list(&head, "vary");
    varies.sort();

    assert_eq!(varies, ["accept", "origin", "x-own"]);
}

#[tokio::test]
async fn an_unlisted_page_can_neither_call_nor_read() {
    let door = Door::open().await;
    for origin in [
        "https://evil.example",
        "null",
        "https://inspector.example.evil.example",
        "http://inspector.example",
    ] {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        for (method, fields) in [
            ("OPTIONS", &preflight[..]),
            ("POST", &[("origin", origin)]),
            ("GET", &[("origin", origin)]),
        ] {
            let head = door.ask(method, "/api/mcp/id/door", fields).await;
            assert_eq!(head.status(), 403, "{method} {origin}");
            let headers: Vec<_> = head
                .fields
                .iter()
                .filter(|(name, _)| name.starts_with("access-control-"))
                .collect();
            assert!(headers.is_empty(), "{method} {origin}: {headers:?}");
        }
    }

    assert_eq!(
        door.requests.load(Ordering::SeqCst),
        0,
        "the provider was asked"
    );
}

/// A call without `Origin` is not from a page, so that the provider's own headers count.
#[tokio::test]
async fn without_an_origin_the_providers_cors_headers_pass() {
    let door = Door::open().await;
    let head = door
        .ask(
            "POST",
            "/api/mcp/id/door",
            &[("authorization", "Bearer sesame")],
        )
        .await;
    assert_eq!(head.values("access-control-allow-origin"), ["*"]);
    assert_eq!(head.values("access-control-expose-headers"), ["x-own"]);
    assert_eq!(head.values("vary"), ["accept, x-own"]);
}

/// Pages of any origin need it to find the authorization server.
#[tokio::test]
async fn any_page_may_read_oauth_metadata() {
    let door = Door::open().await;
    let path = "/.well-known/oauth-protected-resource/api/mcp/id/door";
    let page = ("origin", "https://anywhere.example");
    let preflight = [
        page,
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "mcp-protocol-version"),
    ];
    let head = door.ask("OPTIONS", path, &preflight).await;

    assert_eq!(
        (head.status(), head.values("access-control-allow-origin")),
        (204, vec!["*".to_owned()])
    );
    assert!(
        list(&head, "access-control-allow-methods").contains(&"get".to_owned()),
        "{head:?}"
    );
    assert!(
        list(&head, "access-control-allow-headers").contains(&"mcp-protocol-version".to_owned()),
        "{head:?}"
    );
    assert_eq!(
        door.requests.load(Ordering::SeqCst),
        0,
        "the provider was asked"
    );
    assert_eq!(
        door.ask("GET", path, &[page])
            .await
            .values("access-control-allow-origin"),
        ["*"]
    );
}
