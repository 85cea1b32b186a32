//! Pages in browsers at the server's door (the Fetch standard, CORS protocol): what they may ask, and what they may read.
//!
//! Straight at a provider each provider decides that; here the server does, so there is nothing to compare with. The one
//! rule: everything is seen as a browser sees it, in heads, at a running server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse;

use crate::harness::{Pool, Process, Provider, RawHead, http_request};

const PAGE: &str = "https://inspector.example";
const LISTED: (&str, &str) = ("ALLOWED_ORIGINS", PAGE);
/// What MCP clients in pages read.
const READ: [&str; 7] = [
    "mcp-session-id",
    "mcp-protocol-version",
    "www-authenticate",
    "last-event-id",
    "retry-after",
    "x-request-id",
    "llamapool-error",
];

/// A server that lets one page in, and a relay with a token before a provider that speaks of origins itself.
struct Door {
    pool: Pool,
    /// How often the provider was asked.
    asked: Arc<AtomicUsize>,
    _provider: Provider,
    _relay: Process,
}

impl Door {
    async fn open() -> Self {
        let pool = Pool::with(&[LISTED]).await;
        let asked = Arc::new(AtomicUsize::new(0));
        let times = asked.clone();
        let provider = Provider::answering(move |request| {
            times.fetch_add(1, Ordering::SeqCst);
            async move {
                let status = request
                    .headers()
                    .get("x-status")
                    .and_then(|status| status.to_str().ok()?.parse().ok());
                let said = [
                    ("access-control-allow-origin", "*"),
                    ("access-control-allow-credentials", "true"),
                    ("access-control-expose-headers", "x-own"),
                    ("vary", "accept, x-own"),
                    ("mcp-session-id", "s"),
                ];
                (
                    StatusCode::from_u16(status.unwrap_or(200)).unwrap(),
                    said,
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
            asked,
            _provider: provider,
            _relay: relay,
        }
    }

    /// The head of the answer to a request with these fields.
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

/// The values of a header that is a list, in small letters.
fn list(head: &RawHead, name: &str) -> Vec<String> {
    let values = head.values(name).join(",").to_ascii_lowercase();
    values
        .split(',')
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

/// Whether the page may read the answer, and all that a client reads of it.
fn is_readable(head: &RawHead, what: &str) {
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

/// A browser sends no token with it, so none is asked for; nor is a relay needed.
#[tokio::test]
async fn a_preflight_is_answered_before_any_token_is_asked_for_and_reaches_nobody() {
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
        door.asked.load(Ordering::SeqCst),
        0,
        "the provider was asked"
    );
}

#[tokio::test]
async fn a_page_reads_answers_and_errors_whoever_made_them() {
    let door = Door::open().await;
    let (page, token) = (("origin", PAGE), ("authorization", "Bearer sesame"));
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
        ("an id that nobody has", 503, "/api/mcp/id/nobody", &[page]),
    ] {
        let head = door.ask("POST", path, fields).await;
        assert_eq!(head.status(), status, "{what}: {head:?}");
        is_readable(&head, what);
    }
}

/// A cache between must not give one page what another one got.
#[tokio::test]
async fn an_answer_depends_on_what_the_provider_says_and_on_the_origin() {
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
async fn a_page_that_is_not_listed_may_neither_ask_nor_read() {
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
            let said: Vec<_> = head
                .fields
                .iter()
                .filter(|(name, _)| name.starts_with("access-control-"))
                .collect();
            assert!(said.is_empty(), "{method} {origin}: {said:?}");
        }
    }
    assert_eq!(
        door.asked.load(Ordering::SeqCst),
        0,
        "the provider was asked"
    );
}

/// Where there is no page, what the provider says of origins is its own business.
#[tokio::test]
async fn a_program_gets_what_the_provider_says_of_origins() {
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

/// Anybody's page may look for the place where tokens are.
#[tokio::test]
async fn a_page_from_anywhere_may_ask_for_oauth_metadata() {
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
        door.asked.load(Ordering::SeqCst),
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
