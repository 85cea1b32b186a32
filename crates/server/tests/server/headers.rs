//! The headers of a call and of its answer: every header goes through with all its values in their
//! order, except those of one hop, those that only llamapool may set, and llamapool's own keys.

use std::collections::BTreeMap;

use axum::http::HeaderValue;
use llamapool_testkit::{
    API_KEY, Pool, Provider, RawHead, RawProvider, WORKER_KEY, http_provider, http_request,
    json_answer, soon, tools_call,
};
use llamapool_wire::Secret;

const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// The headers that a provider sees differently than the caller sent them.
const CHANGED_FOR_THE_PROVIDER: [&str; 6] = [
    "host",
    "connection",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];
/// The headers that a caller sees differently than the provider sent them.
const CHANGED_FOR_THE_CALLER: [&str; 5] = [
    "connection",
    "date",
    "set-cookie",
    "transfer-encoding",
    "x-request-id",
];

/// Further headers that a caller of today or of tomorrow may send.
const CALLERS_FIELDS: &[u8] = b"mcp-session-id: 1868a90c\r\n\
    MCP-Protocol-Version: 2031-01-01\r\n\
    Mcp-Method: tools/call\r\n\
    mcp-name: =?base64?w6k=?=\r\n\
    Mcp-Param-X: 1\r\n\
    mcp-param-y: a, b\r\n\
    Mcp-Param-X: 2\r\n\
    mcp-of-the-future: yes\r\n\
    last-event-id: stream/7:42\r\n\
    authorization: DPoP eyJhbGciOi\r\n\
    dpop: eyJ0eXAi.eyJqdGki.c2ln\r\n\
    cookie: a=1; b=2\r\n\
    cookie: c=3\r\n\
    cache-control: no-store\r\n\
    content-type: application/json; charset=utf-8\r\n\
    accept-encoding: gzip, br\r\n\
    accept-language: de\r\n\
    user-agent: \xff\xfe\x80 caf\xe9\r\n\
    x-unknown: \xf0\x9f\xa6\x99\r\n\
    x-empty: \r\n\
    x-twice: second to none\r\n\
    x-unknown: again\r\n\
    x-twice: first\r\n\
    x-twice: first\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
    via: 1.1 somebody\r\n\
    range: bytes=0-1\r\n\
    if-none-match: \"a\"\r\n\
    priority: u=1\r\n";

/// Further headers that a provider of today or of tomorrow may send.
const PROVIDERS_FIELDS: &[u8] = b"mcp-session-id: 1868a90c\r\n\
    MCP-Of-The-Future: yes\r\n\
    set-cookie: a=1; Path=/\r\n\
    content-type: application/json; charset=utf-8\r\n\
    set-cookie: b=2; Path=/\r\n\
    dpop-nonce: n\r\n\
    www-authenticate: Bearer realm=\"a\"\r\n\
    www-authenticate: DPoP\r\n\
    cache-control: no-cache, no-transform\r\n\
    x-accel-buffering: no\r\n\
    server: \xff\xfe\x80 caf\xe9\r\n\
    x-empty: \r\n\
    x-unknown: \xf0\x9f\xa6\x99\r\n\
    x-unknown: again\r\n\
    vary: accept\r\n\
    via: 1.1 somebody\r\n\
    etag: W/\"1\"\r\n\
    access-control-allow-origin: *\r\n\
    access-control-expose-headers: mcp-session-id\r\n\
    content-encoding: identity\r\n\
    last-modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
    retry-after: 1\r\n";

/// Compared on both sides with a call straight to the provider.
#[tokio::test]
async fn headers_through_the_tunnel_are_those_without_it() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("same", &provider.url).await;

    let answer = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n",
        PROVIDERS_FIELDS,
        b"\r\n{}",
    ]
    .concat();
    let sent = http_request("POST", "/api/mcp/id/same", CALLERS_FIELDS, b"{}");
    let ((seen, _), (answered, _)) = tokio::join!(provider.answer(&answer), pool.raw_call(&sent));
    let sent = parsed(&sent);
    let answer = parsed(&answer);

    assert_eq!(
        text(&seen, &CHANGED_FOR_THE_PROVIDER),
        text(&sent, &CHANGED_FOR_THE_PROVIDER)
    );
    assert_eq!(
        text(&answered, &CHANGED_FOR_THE_CALLER),
        text(&answer, &CHANGED_FOR_THE_CALLER)
    );

    let own = provider
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/mcp");

    assert_eq!(
        seen.values("host"),
        [own],
        "the provider is addressed by its own name"
    );
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(answered.values("date").len(), 1);
    assert_eq!(
        answered.values("set-cookie"),
        [
            "llamapool-same!a=1; Path=/api/mcp/id/same",
            "llamapool-same!b=2; Path=/api/mcp/id/same"
        ]
    );
    assert_eq!(
        answered.values("x-request-id"),
        seen.values("x-request-id"),
        "one id in everybody's log"
    );
}

#[tokio::test]
async fn the_providers_own_date_and_request_id_are_kept() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("own", &provider.url).await;

    let fields = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\nx-request-id: the provider's\r\n";
    let answer = DONE.replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
    let request = http_request(
        "POST",
        "/api/mcp/id/own",
        "x-request-id: the-callers\r\n",
        b"{}",
    );
    let (_, (answered, _)) = tokio::join!(provider.answer(answer), pool.raw_call(request));

    assert_eq!(answered.values("date"), ["Thu, 01 Jan 1970 00:00:00 GMT"]);
    assert_eq!(answered.values("x-request-id"), ["the provider's"]);
}

/// Caller and provider see the same id.
#[tokio::test]
async fn a_valid_request_id_is_kept_and_an_invalid_one_replaced() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("ids", &provider.url).await;

    let longest = "x".repeat(128);

    for fit in ["abc-123", "~/%\"", &longest] {
        let (seen, answered) = ids(&pool, &provider, &format!("x-request-id: {fit}\r\n")).await;
        assert_eq!(seen, vec![fit.to_owned()]);
        assert_eq!(answered, vec![fit.to_owned()]);
    }

    let too_long = "x".repeat(129);

    for unfit in ["two words", "", "café", &too_long] {
        let (seen, answered) = ids(&pool, &provider, &format!("x-request-id: {unfit}\r\n")).await;

        assert_eq!(seen, answered, "{unfit}");
        assert!(
            seen.len() == 1 && seen[0].len() == 32 && seen[0] != *unfit,
            "{unfit} became {seen:?}"
        );
    }

    let (seen, answered) = ids(&pool, &provider, "").await;

    assert_eq!(seen.len(), 1);
    assert_eq!(seen, answered);
}

/// Sends a call and returns the request ids that provider and caller see.
async fn ids(pool: &Pool, provider: &RawProvider, field: &str) -> (Vec<String>, Vec<String>) {
    let request = http_request("POST", "/api/mcp/id/ids", field, b"{}");
    let ((seen, _), (answered, _)) = tokio::join!(provider.answer(DONE), pool.raw_call(request));
    (seen.values("x-request-id"), answered.values("x-request-id"))
}

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_hop() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("hops", &provider.url).await;

    let fields = "connection: keep-alive, x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=9\r\nproxy-connection: keep-alive\r\n\
        te: trailers\r\ntrailer: x-sum\r\nupgrade: h2c\r\nproxy-authorization: Basic eA==\r\nx-stays: 1\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=9\r\n\
        proxy-authenticate: Basic\r\ntrailer: x-sum\r\nupgrade: h2c\r\nx-stays: 1\r\n\r\n{}";
    let request = http_request("POST", "/api/mcp/id/hops", fields, b"{}");
    let ((seen, _), (answered, _)) = tokio::join!(provider.answer(answer), pool.raw_call(request));

    for head in [&seen, &answered] {
        let hops = [
            "x-mine",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "upgrade",
        ];
        let left: Vec<_> = hops
            .into_iter()
            .filter(|name| !head.values(name).is_empty())
            .collect();

        assert_eq!(left, Vec::<String>::new(), "{head:?}");
        assert_eq!(head.values("x-stays"), ["1"], "{head:?}");
    }

    assert_eq!(seen.values("proxy-authorization"), Vec::<String>::new());
    assert_eq!(answered.values("proxy-authenticate"), Vec::<String>::new());
}

#[tokio::test]
async fn connection_cannot_take_away_what_the_other_end_needs() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("session", &provider.url).await;

    let fields = "connection: mcp-session-id, Authorization, content-type\r\nconnection: Mcp-Protocol-Version, host\r\n\
        mcp-session-id: s\r\nmcp-protocol-version: 2025-11-25\r\nauthorization: Bearer t\r\ncontent-type: application/json\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, mcp-session-id\r\nmcp-session-id: s\r\n\r\n{}";
    let request = http_request("POST", "/api/mcp/id/session", fields, b"{}");
    let ((seen, _), (answered, _)) = tokio::join!(provider.answer(answer), pool.raw_call(request));

    assert_eq!(seen.values("mcp-session-id"), ["s"]);
    assert_eq!(seen.values("mcp-protocol-version"), ["2025-11-25"]);
    assert_eq!(seen.values("authorization"), ["Bearer t"]);
    assert_eq!(seen.values("content-type"), ["application/json"]);
    assert_eq!(answered.values("mcp-session-id"), ["s"]);
}

#[tokio::test]
async fn the_origin_that_the_edge_has_checked_is_not_passed_on() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("origin", &provider.url).await;

    let request = http_request(
        "POST",
        "/api/mcp/id/origin",
        "origin: http://localhost:6274\r\n",
        b"{}",
    );
    let ((seen, _), (answered, _)) = tokio::join!(provider.answer(DONE), pool.raw_call(request));

    assert_eq!(answered.status(), 200);
    assert_eq!(seen.values("origin"), Vec::<String>::new());
}

#[tokio::test]
async fn headers_of_llamapool_cannot_be_forged() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("forged", &provider.url).await;

    let fields = "llamapool-id: other\r\nLlamapool-Error: relay_offline\r\nllamapool-anything: 1\r\n\
        llamapool-secret: s\r\nx-forwarded-for: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nx-forwarded-host: evil.example\r\n\
        x-forwarded-proto: https\r\nx-forwarded-prefix: /evil\r\nx-forwarded-port: 666\r\nx-forwarded-server: evil\r\n\
        x-forwarded-ssl: on\r\nx-forwarded-user: root\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n";
    let answer = "HTTP/1.1 503 Busy\r\ncontent-length: 2\r\nconnection: close\r\nLlamapool-Error: relay_offline\r\n\
        llamapool-id: x\r\nllamapool-aborted: 1\r\n\r\n{}";
    let request = http_request("POST", "/api/mcp/id/forged", fields, b"{}");
    let ((seen, _), (answered, body)) =
        tokio::join!(provider.answer(answer), pool.raw_call(request));
    let suspects = |head: &RawHead| -> BTreeMap<String, String> {
        let is_one = |name: &str| {
            ["llamapool-", "x-forwarded-", "forwarded", "x-real-"]
                .iter()
                .any(|of| name.starts_with(of))
        };
        text(head, &[])
            .into_iter()
            .filter(|(name, _)| is_one(name))
            .map(|(name, values)| (name, values.join("|")))
            .collect()
    };
    let ours = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ];

    assert_eq!(
        suspects(&seen),
        ours.into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    );
    assert_eq!(suspects(&answered), BTreeMap::new());
    assert_eq!(answered.status(), 503);
    assert_eq!(body, b"{}".to_vec());
    assert_eq!(
        pool.client("forged").await["last_error"],
        serde_json::Value::Null,
        "the provider's 503 is its own"
    );
}

#[tokio::test]
async fn server_keys_reach_no_provider_and_callers_tokens_do() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("keys", &provider.url).await;

    for (sent, seen) in [
        (vec![format!("Bearer {API_KEY}")], vec![]),
        (vec![format!("bearer  {API_KEY}")], vec![]),
        (vec![format!("Bearer {WORKER_KEY}")], vec![]),
        (
            vec!["Bearer mine".into(), format!("Bearer {API_KEY}")],
            vec![],
        ),
        (vec!["Bearer mine".into()], vec!["Bearer mine"]),
        (vec![format!("Bearer {API_KEY}4")], vec!["Bearer test1234"]),
        (vec!["Basic eDp5".into()], vec!["Basic eDp5"]),
        (vec!["DPoP t".into()], vec!["DPoP t"]),
    ] {
        let fields: String = sent
            .iter()
            .map(|value| format!("authorization: {value}\r\n"))
            .collect();
        let request = http_request("POST", "/api/mcp/id/keys", fields, b"{}");
        let ((head, _), _) = tokio::join!(provider.answer(DONE), pool.raw_call(request));

        assert_eq!(head.values("authorization"), seen, "{sent:?}");
    }
}

#[tokio::test]
async fn the_relays_token_opens_the_id_and_ends_at_the_relay() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool
        .relay_with("locked", &provider.url, |relay| {
            relay.providers[0].auth_token = Some(Secret::new("sesame"));
        })
        .await;

    for wrong in [
        "",
        "authorization: Bearer wrong\r\n",
        "authorization: sesame\r\n",
        "authorization: Basic sesame\r\n",
    ] {
        let (answered, _) = pool
            .raw_call(http_request("POST", "/api/mcp/id/locked", wrong, b"{}"))
            .await;

        assert_eq!(answered.status(), 401, "{wrong}");
        assert_eq!(
            answered.values("llamapool-error"),
            ["wrong_token"],
            "{wrong}"
        );
        assert_eq!(answered.values("www-authenticate"), ["Bearer"]);
    }

    let request = http_request(
        "POST",
        "/api/mcp/id/locked",
        "authorization: Bearer sesame\r\n",
        b"{}",
    );
    let ((seen, _), (answered, _)) = tokio::join!(provider.answer(DONE), pool.raw_call(request));

    assert_eq!(answered.status(), 200);
    assert_eq!(seen.values("authorization"), Vec::<String>::new());
    assert!(!format!("{seen:?}").contains("sesame"));
}

#[tokio::test]
async fn configured_provider_headers_replace_the_callers() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;

    let headers = [
        ("authorization", "Bearer the-providers"),
        ("x-tenant", "seven"),
        ("x-role", "reader"),
        ("x-tenant", "eight"),
    ];
    let _relay = pool
        .relay_with("added", &provider.url, |relay| {
            relay.providers[0].auth_token = Some(Secret::new("sesame"));
            for (name, value) in headers {
                let value = HeaderValue::from_static(value);
                http_provider(relay).headers.append(name, value);
            }
        })
        .await;

    let fields = "authorization: Bearer sesame\r\nx-tenant: six\r\nx-tenant: five\r\nx-role: admin\r\nx-other: 1\r\n";
    let request = http_request("POST", "/api/mcp/id/added", fields, b"{}");
    let ((seen, _), _) = tokio::join!(provider.answer(DONE), pool.raw_call(request));

    assert_eq!(seen.values("authorization"), ["Bearer the-providers"]);
    assert_eq!(
        seen.values("x-tenant"),
        ["seven", "eight"],
        "all that are set, and none of the caller's"
    );
    assert_eq!(seen.values("x-role"), ["reader"]);
    assert_eq!(seen.values("x-other"), ["1"]);
}

/// Formats the head of a message.
fn parsed(message: &[u8]) -> RawHead {
    let end = message
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let mut lines = message[..end]
        .split(|&byte| byte == b'\n')
        .map(|line| line.trim_ascii_end());
    let line = String::from_utf8(lines.next().unwrap().to_vec()).unwrap();
    let fields = lines.map(|field| {
        let colon = field.iter().position(|&byte| byte == b':').unwrap();
        (
            String::from_utf8(field[..colon].to_ascii_lowercase()).unwrap(),
            field[colon + 1..].trim_ascii().to_vec(),
        )
    });
    RawHead {
        line,
        fields: fields.collect(),
    }
}

/// Returns every header with its values in their order, except those of these names. Bytes other
/// than ASCII are escaped.
fn text(head: &RawHead, without: &[&str]) -> BTreeMap<String, Vec<String>> {
    let fields = head.without(without).into_iter();
    fields
        .map(|(name, values)| {
            (
                name,
                values
                    .iter()
                    .map(|value| value.escape_ascii().to_string())
                    .collect(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_head_too_large_for_the_tunnel_is_refused_on_either_side() {
    const SMALL: u32 = 2 << 10;

    let provider = Provider::answering(async |request| {
        let mut answer = json_answer("{}");

        if request.headers().contains_key("x-ask-for-much") {
            answer
                .headers_mut()
                .insert("x-much", "x".repeat(3000).parse().unwrap());
        }

        answer
    })
    .await;

    let narrow = Pool::with(|server| server.relays.tunnel.max_header_bytes = SMALL).await;
    let _relay = narrow.relay("narrow", &provider.url).await;

    let call = narrow
        .http
        .post(narrow.mcp("narrow"))
        .header("x-much", "x".repeat(3000));
    let refused = call.json(&tools_call(1, "echo")).send().await.unwrap();

    assert_eq!(refused.status().as_u16(), 431);
    assert_eq!(refused.headers()["llamapool-error"], "head_too_large");
    assert_eq!(
        narrow.post("narrow", &tools_call(1, "echo")).await.status(),
        200
    );

    let wide = Pool::start().await;
    let _relay = wide
        .relay_with("narrow", &provider.url, |relay| {
            relay.tunnel.max_header_bytes = SMALL;
        })
        .await;

    let call = wide
        .http
        .post(wide.mcp("narrow"))
        .header("x-ask-for-much", "1");
    let failed = call.json(&tools_call(1, "echo")).send().await.unwrap();

    assert_eq!(failed.status().as_u16(), 502);
    assert_eq!(failed.headers()["llamapool-error"], "provider_garbage");
    assert!(
        failed
            .text()
            .await
            .unwrap()
            .contains("TUNNEL_MAX_HEADER_BYTES")
    );
    assert_eq!(
        wide.post("narrow", &tools_call(1, "echo")).await.status(),
        200
    );
}

#[tokio::test]
async fn a_head_that_the_tunnel_carries_gets_in_over_either_http() {
    const WIDE: u32 = 256 << 10;

    let pool = Pool::start().await;

    let widened = Pool::with(|server| server.relays.tunnel.max_header_bytes = WIDE).await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("large", &provider.url).await;
    let _wide_relay = widened
        .relay_with("large", &provider.url, |relay| {
            relay.tunnel.max_header_bytes = WIDE;
        })
        .await;

    let http1 = reqwest::Client::builder().http1_only().build().unwrap();
    let http2 = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();

    for http in [&http1, &http2] {
        for (pool, bytes) in [(&pool, 20 << 10), (&pool, 60 << 10), (&widened, 250 << 10)] {
            let call = http
                .post(pool.mcp("large"))
                .header("x-large", "x".repeat(bytes))
                .body("{}")
                .send();
            let both = async { tokio::join!(provider.answer(DONE), call) };
            let ((seen, _), answer) = soon("the call goes through", both).await;

            assert_eq!(answer.unwrap().status().as_u16(), 200);
            assert_eq!(seen.values("x-large")[0].len(), bytes);
        }

        let many = (0..400).fold(http.post(pool.mcp("large")), |call, _| {
            call.header("x-many", "x")
        });
        let both = async { tokio::join!(provider.answer(DONE), many.body("{}").send()) };
        let ((seen, _), answer) = soon("the call goes through", both).await;

        assert_eq!(answer.unwrap().status().as_u16(), 200);
        assert_eq!(seen.values("x-many").len(), 400);
    }
}
