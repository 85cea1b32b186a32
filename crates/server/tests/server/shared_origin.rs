//! All ids share one public origin, and one proxy in front of it: no provider speaks for the others,
//! no caller speaks as a proxy, and a hostile relay changes nothing about either.

use llamapool_server::TrustedPages;
use llamapool_testkit::{Pool, RawHead, RawProvider, Upgrade, http_provider, http_request, soon};

/// What speaks for the whole origin, or to a proxy.
const RESERVED: &[(&str, &str)] = &[
    ("service-worker-allowed", "/"),
    ("clear-site-data", "\"*\""),
    ("nel", "{}"),
    ("report-to", "{}"),
    ("reporting-endpoints", "x=\"https://a.example/\""),
    ("strict-transport-security", "max-age=1"),
    ("alt-svc", "clear"),
    ("refresh", "0;url=https://a.example/"),
    ("access-control-allow-credentials", "true"),
    ("x-accel-redirect", "/internal/secret"),
    ("x_accel_redirect", "/internal/secret"),
    ("x-accel-expires", "999"),
    ("x-sendfile", "/etc/passwd"),
    ("x-lighttpd-send-file", "/etc/passwd"),
    ("surrogate-control", "max-age=999"),
    ("cdn-cache-control", "max-age=999"),
    ("content_length", "7"),
];
/// What passes beside it.
const OWN: &[(&str, &str)] = &[
    ("x-accel-buffering", "no"),
    ("cache-control", "no-store"),
    ("access-control-allow-origin", "*"),
    ("x-unknown", "1"),
];

fn lines(fields: &[(&str, &str)]) -> String {
    fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect()
}

/// Makes one call to a provider that answers with these fields. Returns the answer's head.
async fn answered(pool: &Pool, id: &str, request: &str, answer: &str) -> RawHead {
    let provider = RawProvider::bind().await;
    let _relay = pool.relay(id, &provider.url).await;
    let request = http_request("GET", &format!("/api/mcp/id/{id}/page"), request, b"");
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n{answer}\r\n{{}}");
    let (_, (head, _)) = tokio::join!(provider.answer(answer), pool.raw_call(request));
    head
}

#[tokio::test]
async fn a_provider_neither_speaks_for_the_origin_nor_to_a_proxy() {
    let pool = Pool::start().await;

    let head = answered(&pool, "speaks", "", &(lines(RESERVED) + &lines(OWN))).await;

    let left: Vec<_> = RESERVED
        .iter()
        .filter(|(name, _)| !head.values(name).is_empty())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for (name, value) in OWN {
        assert_eq!(head.values(name), [*value], "{name}");
    }
}

/// A relay is not trusted with the origin of all others.
#[tokio::test]
async fn a_hostile_relay_cannot_speak_for_the_origin_either() {
    let pool = Pool::start().await;
    let mut relay = Upgrade::for_id("hostile").relay(&pool).await.frames();
    let _events = relay.send_offer().await;
    pool.connected("hostile").await;

    let mut fields = RESERVED.to_vec();
    fields.extend([
        ("llamapool-error", "relay_offline"),
        ("content-type", "text/html"),
        (
            "set-cookie",
            "llamapool-victim!s=1; Path=/; Domain=a.example",
        ),
    ]);
    let request = http_request("GET", "/api/mcp/id/hostile", "", b"");
    let answer = async {
        let request = relay.next_request().await;
        request.reply.head_with(200, &fields).await;
        request.reply.data("x").await;
        request.reply.end().await;
    };
    let ((), (head, _)) = tokio::join!(answer, pool.raw_call(request));

    let left: Vec<_> = RESERVED
        .iter()
        .filter(|(name, _)| !head.values(name).is_empty())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(head.values("content-security-policy"), ["sandbox"]);
    assert_eq!(
        head.values("set-cookie"),
        ["llamapool-hostile!llamapool-victim!s=1; Path=/api/mcp/id/hostile"]
    );
}

#[tokio::test]
async fn a_caller_cannot_speak_as_a_proxy_to_the_provider() {
    let forged = [
        ("x_forwarded_for", "6.6.6.6"),
        ("X-Forwarded_Host", "evil.example"),
        ("cf-connecting-ip", "6.6.6.6"),
        ("true-client-ip", "6.6.6.6"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("x-accel-mapping", "/=/"),
        ("x-sendfile-type", "X-Accel-Redirect"),
        ("proxy", "http://evil.example"),
        ("client-cert", ":AAAA:"),
        ("llamapool_public_prefix", "/evil"),
        ("content_length", "9"),
        ("transfer_encoding", "chunked"),
        ("x_request_id", "forged"),
        ("x_tenant", "forged"),
        ("X-Tenant", "forged"),
    ];
    let own = [("mcp-param-user_id", "1"), ("x-api-key", "k")];
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool
        .relay_with("proxied", &provider.url, |relay| {
            let headers = &mut http_provider(relay).headers;
            headers.insert("x-tenant", "of-the-relay".parse().unwrap());
        })
        .await;

    let fields = lines(&forged) + &lines(&own);
    let request = http_request("POST", "/api/mcp/id/proxied", fields, b"{}");
    let done = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let ((seen, _), _) = tokio::join!(provider.answer(done), pool.raw_call(request));

    assert_eq!(seen.values("x-tenant"), ["of-the-relay"]);
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    for (name, value) in own {
        assert_eq!(seen.values(name), [value], "{name}");
    }
    let left: Vec<_> = forged
        .iter()
        .filter(|(name, _)| *name != "X-Tenant")
        .filter(|(name, _)| !seen.values(&name.to_ascii_lowercase()).is_empty())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_cookie_of_one_id_reaches_no_other() {
    let pool = Pool::start().await;
    let head = answered(
        &pool,
        "one",
        "",
        "set-cookie: s=secret; Path=/; HttpOnly\r\n",
    )
    .await;

    let set = head.values("set-cookie").concat();
    assert_eq!(
        set,
        "llamapool-one!s=secret; HttpOnly; Path=/api/mcp/id/one"
    );

    // From a browser that was made to send it everywhere, and with a cookie of another service.
    let cookie = set.split(';').next().unwrap();
    let fields = format!("cookie: {cookie}; other=1\r\nsec-fetch-site: none\r\n");
    for (id, expected) in [("one-again", &[][..]), ("one", &["s=secret"])] {
        let provider = RawProvider::bind().await;
        let _relay = pool.relay(id, &provider.url).await;
        let request = http_request("GET", &format!("/api/mcp/id/{id}"), &fields, b"");
        let done = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let ((seen, _), _) = tokio::join!(provider.answer(done), pool.raw_call(request));
        assert_eq!(seen.values("cookie"), expected, "{id}");
    }
}

#[tokio::test]
async fn a_page_runs_in_a_sandbox_unless_its_id_is_trusted() {
    let pool = Pool::with(|server| {
        server.mcp.trusted_pages = TrustedPages::Of(vec!["trusted".parse().unwrap()]);
    })
    .await;
    let html = "content-type: text/html\r\ncontent-security-policy: img-src 'self'\r\n";

    let page = answered(&pool, "page", "", html).await;
    assert_eq!(
        page.values("content-security-policy"),
        ["img-src 'self'", "sandbox"]
    );
    assert_eq!(page.values("x-content-type-options"), ["nosniff"]);

    let guessed = answered(&pool, "guessed", "", "").await;
    assert_eq!(guessed.values("content-security-policy"), ["sandbox"]);

    for (id, answer) in [
        ("trusted", "content-type: text/html\r\n"),
        ("json", "content-type: application/json\r\n"),
        ("stream", "content-type: text/event-stream\r\n"),
    ] {
        let head = answered(&pool, id, "", answer).await;
        assert!(head.values("content-security-policy").is_empty(), "{id}");
        assert!(head.values("x-content-type-options").is_empty(), "{id}");
    }
}

#[tokio::test]
async fn a_page_is_given_to_no_script_of_the_same_origin() {
    let pool = Pool::with(|server| {
        server.mcp.trusted_pages = TrustedPages::Of(vec!["trusted".parse().unwrap()]);
    })
    .await;
    let html = "content-type: text/html\r\n";
    let json = "content-type: application/json\r\n";
    let script = "sec-fetch-site: same-origin\r\nsec-fetch-mode: cors\r\n";
    let person = "sec-fetch-site: same-origin\r\nsec-fetch-mode: navigate\r\n";

    let refused = answered(&pool, "consent", script, html).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.values("llamapool-error"), ["page_refused"]);

    for (id, request, answer) in [
        ("opened", person, html),
        ("data", script, json),
        ("program", "", html),
        ("trusted", script, html),
    ] {
        let head = answered(&pool, id, request, answer).await;
        assert_eq!(head.status(), 200, "{id}");
    }
}

/// The server would find out when it writes the head, and could only hang up.
#[tokio::test]
async fn an_odd_length_of_a_relay_is_an_error_with_a_name() {
    let pool = Pool::start().await;
    let mut relay = Upgrade::for_id("odd").relay(&pool).await.frames();
    let _events = relay.send_offer().await;
    pool.connected("odd").await;

    for lengths in [&["1", "2"][..], &["x"], &["-1"], &["+1"], &[""], &["1, 2"]] {
        let fields: Vec<_> = lengths
            .iter()
            .map(|&length| ("content-length", length))
            .collect();
        let answer = async {
            let request = relay.next_request().await;
            request.reply.head_with(200, &fields).await;
            request.reply
        };
        let request = http_request("POST", "/api/mcp/id/odd", "", b"{}");
        let both = async { tokio::join!(answer, pool.raw_call(request)) };
        let (_reply, (head, _)) = soon("the call is answered", both).await;

        assert_eq!(head.status(), 502, "{lengths:?}");
        assert_eq!(head.values("llamapool-error"), ["relay_garbage"]);
    }
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_break_the_answer() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("both", &provider.url).await;

    for length in ["3", "100"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
            transfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n"
        );
        let request = http_request("POST", "/api/mcp/id/both", "", b"{}");
        let (_, (head, body)) = tokio::join!(provider.answer(answer), pool.raw_call(request));

        assert_eq!(head.status(), 200);
        assert_eq!(body, b"[1,2]");
    }
}
