//! Calls and answers go through unchanged: methods, paths, queries and statuses.

use futures_util::poll;
use llamapool_testkit::{Pool, Provider, RawHead, RawProvider, http_request, tools_call};
use serde_json::json;
use tokio::net::TcpListener;

/// The shortest good answer of a raw provider.
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

#[tokio::test]
async fn a_call_reaches_the_provider_and_its_answer_the_caller() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("mcp-1234", &provider.url).await;

    let message = tools_call(1, "echo");
    let answer = pool.post("mcp-1234", &message).await;

    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), message);

    let client = pool.client("mcp-1234").await;
    assert_eq!(client["status"], "idle");
    assert_eq!(client["inflight"], 0);
    assert_eq!(client["functions"], json!({ "tools/call": 1 }));
    assert_eq!(client["calls_total"], 1);
    assert_eq!(client["errors_total"], 0);
}

#[tokio::test]
async fn every_method_reaches_the_provider_with_path_query_and_body() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("all", &provider.url).await;

    for (method, body) in [
        ("POST", "{}"),
        ("GET", ""),
        ("DELETE", ""),
        ("DELETE", "x"),
        ("OPTIONS", ""),
        ("HEAD", ""),
        ("PUT", "{}"),
    ] {
        let request = http_request(
            method,
            "/api/mcp/id/all/deep/path?a=1&b=%20%2F&a=2&&c",
            "",
            body.as_bytes(),
        );
        let ((seen, seen_body), (answer, answer_body)) =
            tokio::join!(provider.answer(DONE), pool.raw_call(request));

        assert_eq!(
            seen.line,
            format!("{method} /mcp/deep/path?a=1&b=%20%2F&a=2&&c HTTP/1.1")
        );
        assert_eq!(seen_body, body.as_bytes(), "{method}");
        assert_eq!(answer.status(), 200, "{method}");
        assert_eq!(answer.values("content-length"), ["2"], "{method}");
        assert_eq!(
            answer_body,
            if method == "HEAD" { "" } else { "{}" }.as_bytes(),
            "{method}"
        );
    }
}

#[tokio::test]
async fn paths_and_queries_are_appended_to_those_of_the_provider() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;

    let origin = provider.url.strip_suffix("/mcp").unwrap();
    let _plain = pool.relay("plain", &format!("{origin}/v1/mcp")).await;
    let _query = pool
        .relay("query", &format!("{origin}/v1/mcp/?key=k"))
        .await;
    let _root = pool.relay("root", origin).await;

    for (target, wanted) in [
        ("plain", "/v1/mcp"),
        ("plain/", "/v1/mcp"),
        ("plain?", "/v1/mcp"),
        ("plain/?a=1", "/v1/mcp?a=1"),
        ("plain/below", "/v1/mcp/below"),
        ("plain/below/", "/v1/mcp/below/"),
        ("plain//below", "/v1/mcp//below"),
        ("plain/a%2Fb%20c/%C3%A9", "/v1/mcp/a%2Fb%20c/%C3%A9"),
        ("plain/...", "/v1/mcp/..."),
        ("plain/.well-known/x", "/v1/mcp/.well-known/x"),
        ("query", "/v1/mcp/?key=k"),
        ("query/?a=1", "/v1/mcp/?key=k&a=1"),
        ("query/below?a=..%2f", "/v1/mcp/below?key=k&a=..%2f"),
        ("root", "/"),
        ("root/below", "/below"),
    ] {
        let request = http_request("POST", &format!("/api/mcp/id/{target}"), "", b"{}");
        let ((seen, _), (answer, _)) = tokio::join!(provider.answer(DONE), pool.raw_call(request));
        assert_eq!(seen.line, format!("POST {wanted} HTTP/1.1"), "{target}");
        assert_eq!(answer.status(), 200, "{target}");
    }
}

#[tokio::test]
async fn methods_about_the_connection_reach_no_provider() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("way", &provider.url).await;

    for method in ["CONNECT", "TRACE", "connect", "Trace"] {
        for path in ["/api/mcp/id/way", "/api/mcp/id/way/below", "/api/state"] {
            let request = http_request(method, path, "", b"");
            let (answer, _) = pool.raw_call(request).await;

            assert_eq!(answer.status(), 403, "{method} {path}");
            assert_eq!(
                answer.values("llamapool-error"),
                ["method_refused"],
                "{method} {path}"
            );
        }
    }
    assert_eq!(pool.client("way").await["calls_total"], 0);
}

/// In every spelling: percent-encoded, mixed, with backslashes.
#[tokio::test]
async fn dot_segments_are_refused_and_reach_no_provider() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("dots", &provider.url).await;

    let refused = [
        "..",
        "../",
        "../admin",
        ".",
        "./x",
        "a/../b",
        "a/./b",
        "a/..",
        "%2e%2e",
        "%2E%2e/admin",
        ".%2e",
        "..%2f",
        "..%2Fadmin",
        "%2e%2e%2fadmin",
        "a%2f..",
        "a%2f%2e%2e%2fb",
        "%2e%2e%5c",
        "..%5Cadmin",
        "a%5c..%5cb",
        "..\\admin",
        "..;/admin",
        "..;x=1/admin",
        "%252e%252e/admin",
        "..%00/admin",
        "a%00",
        "%c0%ae%c0%ae/admin",
        "%ef%bc%8e%ef%bc%8e/admin",
        "..%ef%bc%8fadmin",
        "..%3b/admin",
    ];

    for path in refused {
        let request = http_request("POST", &format!("/api/mcp/id/dots/{path}"), "", b"{}");
        let (answer, body) = pool.raw_call(request).await;

        assert_eq!(answer.status(), 403, "{path}");
        assert_eq!(answer.values("llamapool-error"), ["path_refused"], "{path}");

        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], 4033, "{path}");
        assert_eq!(body["error"]["data"]["hop"], "server", "{path}");
    }

    assert_eq!(
        pool.post("dots", &tools_call(1, "echo")).await.status(),
        200
    );

    let client = pool.client("dots").await;
    assert_eq!(
        client["calls_total"], 1,
        "a path that is refused is no call"
    );
    assert!(
        pool.metrics()
            .await
            .contains(&format!("reason=\"path_refused\"}} {}", refused.len()))
    );
}

/// Answers that go through byte by byte: status, fields, body.
const ANSWERS: &[(&str, &str, &str)] = &[
    (
        "200 OK",
        "content-type: application/json\r\ncontent-length: 2\r\n",
        "{}",
    ),
    (
        "200 OK",
        "content-type: application/json; charset=UTF-8\r\ncontent-length: 0\r\n",
        "",
    ),
    (
        "201 Created",
        "location: https://elsewhere.example/made\r\ncontent-length: 4\r\n",
        "made",
    ),
    ("202 Accepted", "content-length: 0\r\n", ""),
    ("204 No Content", "mcp-session-id: s\r\n", ""),
    (
        "206 Partial Content",
        "content-range: bytes 0-1/9\r\ncontent-length: 2\r\n",
        "ab",
    ),
    (
        "301 Moved Permanently",
        "location: https://elsewhere.example/mcp\r\ncontent-length: 0\r\n",
        "",
    ),
    (
        "302 Found",
        "location: http://elsewhere.example/mcp\r\ncontent-length: 3\r\n",
        "see",
    ),
    (
        "303 See Other",
        "location: https://elsewhere.example/result\r\ncontent-length: 0\r\n",
        "",
    ),
    ("304 Not Modified", "etag: \"a\"\r\n", ""),
    (
        "307 Temporary Redirect",
        "location: http://127.0.0.1:1/mcp\r\ncontent-length: 0\r\n",
        "",
    ),
    (
        "308 Permanent Redirect",
        "location: //elsewhere.example/mcp\r\ncontent-length: 0\r\n",
        "",
    ),
    (
        "400 Bad Request",
        "content-type: application/json\r\ncontent-length: 16\r\n",
        r#"{"error":{"a":1}"#,
    ),
    (
        "401 Unauthorized",
        "www-authenticate: Bearer realm=\"a\", scope=\"b c\"\r\nwww-authenticate: DPoP algs=\"ES256\"\r\ncontent-length: 0\r\n",
        "",
    ),
    (
        "403 Forbidden",
        "content-type: text/plain\r\ncontent-length: 2\r\n",
        "no",
    ),
    (
        "404 Not Found",
        "content-type: application/json\r\ncontent-length: 2\r\n",
        "{}",
    ),
    (
        "405 Method Not Allowed",
        "allow: POST, GET\r\ncontent-length: 0\r\n",
        "",
    ),
    ("406 Not Acceptable", "content-length: 0\r\n", ""),
    ("409 Conflict", "content-length: 0\r\n", ""),
    (
        "415 Unsupported Media Type",
        "accept-post: application/json\r\ncontent-length: 0\r\n",
        "",
    ),
    ("418 I'm a teapot", "content-length: 0\r\n", ""),
    ("421 Misdirected Request", "content-length: 0\r\n", ""),
    (
        "429 Too Many Requests",
        "retry-after: 7\r\ncontent-length: 0\r\n",
        "",
    ),
    (
        "431 Request Header Fields Too Large",
        "content-length: 0\r\n",
        "",
    ),
    (
        "500 Internal Server Error",
        "content-type: text/html\r\ncontent-length: 4\r\n",
        "<p/>",
    ),
    ("502 Bad Gateway", "content-length: 2\r\n", "{}"),
    (
        "503 Service Unavailable",
        "retry-after: 120\r\ncontent-length: 4\r\n",
        "busy",
    ),
    ("504 Gateway Timeout", "content-length: 0\r\n", ""),
    ("599 Private", "content-length: 0\r\n", ""),
];

/// The fields that the server adds: to every answer, and to one of no type, which a browser might
/// take for a page.
const ADDED: [&str; 4] = [
    "date",
    "x-request-id",
    "content-security-policy",
    "x-content-type-options",
];

/// Nothing else is added either.
#[tokio::test]
async fn every_status_goes_through_with_headers_and_body_unchanged() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("status", &provider.url).await;

    for (status, fields, body) in ANSWERS {
        let scripted = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{fields}\r\n{body}");
        let request = http_request("POST", "/api/mcp/id/status", "", b"{}");
        let (_, (answer, answer_body)) =
            tokio::join!(provider.answer(&scripted), pool.raw_call(request));

        assert_eq!(answer.status().to_string(), status[..3]);

        let through = answer.without(&ADDED);
        assert_eq!(through, fields_of(fields), "{status}");
        assert_eq!(answer_body, body.as_bytes(), "{status}");
    }

    let errors = ANSWERS
        .iter()
        .filter(|(status, ..)| status.starts_with('5'))
        .count();
    let client = pool.client("status").await;

    assert_eq!(client["calls_total"], ANSWERS.len());
    assert_eq!(
        client["errors_total"], errors,
        "only what the provider calls its own error is one"
    );
}

#[tokio::test]
async fn an_answer_without_a_length_goes_through_without_one() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("length", &provider.url).await;

    for (scripted, fields) in [
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end",
            vec![("transfer-encoding", "chunked")],
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\nto the \r\n3\r\nend\r\n0\r\nx-trailer: 1\r\n\r\n",
            vec![("transfer-encoding", "chunked")],
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\nto the end",
            vec![("transfer-encoding", "chunked")],
        ),
    ] {
        let request = http_request("POST", "/api/mcp/id/length", "", b"{}");
        let (_, (answer, body)) = tokio::join!(provider.answer(scripted), pool.raw_call(request));

        assert_eq!(body, b"to the end", "{scripted}");

        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();

        assert_eq!(answer.without(&ADDED), fields_of(&fields), "{scripted}");
    }

    let head = http_request("HEAD", "/api/mcp/id/length", "", b"");
    let scripted = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n";
    let (_, (answer, _)) = tokio::join!(provider.answer(scripted), pool.raw_call(head));

    assert_eq!(
        answer.without(&["date", "x-request-id"]),
        fields_of("content-type: application/json\r\n")
    );
}

/// The final answer goes through.
#[tokio::test]
async fn interim_answers_end_at_the_hop() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("interim", &provider.url).await;

    let scripted = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{DONE}"
    );
    let request = http_request("POST", "/api/mcp/id/interim", "", b"{}");
    let (_, (answer, body)) = tokio::join!(provider.answer(scripted), pool.raw_call(request));

    assert_eq!(answer.status(), 200);
    assert_eq!(body.as_slice(), &b"{}"[..]);
    assert_eq!(answer.values("link"), Vec::<String>::new());
}

/// Method and body are sent again.
#[tokio::test]
async fn a_redirect_within_the_provider_is_followed_and_remembered() {
    for status in [301, 302, 307, 308] {
        let pool = Pool::start().await;
        let provider = RawProvider::bind().await;
        let _relay = pool.relay("slash", &provider.url).await;

        let call = |body: &'static [u8]| {
            pool.raw_call(http_request(
                "POST",
                "/api/mcp/id/slash?q=1",
                "mcp-x: 1\r\n",
                body,
            ))
        };
        let moved = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: /mcp/?q=1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let two_answers = async { (provider.answer(&moved).await, provider.answer(DONE).await) };
        let (((first, _), (second, body)), (answer, _)) = tokio::join!(two_answers, call(b"{1}"));

        assert_eq!(first.line.as_str(), "POST /mcp?q=1 HTTP/1.1", "{status}");
        assert_eq!(answer.status(), 200, "{status}");
        assert_eq!(second.line.as_str(), "POST /mcp/?q=1 HTTP/1.1", "{status}");
        assert_eq!(body.as_slice(), &b"{1}"[..], "{status}");
        assert_eq!(second.values("mcp-x"), ["1"], "{status}");

        let ((third, body), _) = tokio::join!(provider.answer(DONE), call(b"{2}"));
        assert_eq!(third.line.as_str(), "POST /mcp/?q=1 HTTP/1.1", "{status}");
        assert_eq!(body.as_slice(), &b"{2}"[..], "{status}");
    }
}

#[tokio::test]
async fn a_first_call_of_32_mib_is_redirected_whole() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("big", &provider.url).await;

    let body: Vec<u8> = (0..32 << 20)
        .map(|index: u32| (index % 251) as u8)
        .collect();
    let provider_side = async {
        // Without reading the body, as web frameworks do.
        let (mut first, _) = provider.call().await;
        first
            .send("HTTP/1.1 307 Temporary Redirect\r\nlocation: /mcp/\r\ncontent-length: 0\r\n\r\n")
            .await;
        (provider.answer(DONE).await, first)
    };

    let request = http_request("POST", "/api/mcp/id/big", "", &body);
    let (((seen, came), _first), (answer, _)) = tokio::join!(provider_side, pool.raw_call(request));

    assert_eq!(seen.line.as_str(), "POST /mcp/ HTTP/1.1");
    assert_eq!(answer.status(), 200);
    assert!(came == body, "{} bytes came", came.len());
}

#[tokio::test]
async fn each_step_of_a_redirect_comes_on_a_connection_of_its_own() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("steps", &provider.url).await;
    let provider_side = async {
        // Answered connections stay open and are not read again: a request sent there would be
        // lost.
        let mut answered = Vec::new();

        for place in ["/a", "/b", "/c"] {
            let (mut connection, head) = provider.call().await;
            connection.body(&head).await;
            connection
                .send(format!(
                    "HTTP/1.1 307 Moved\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n"
                ))
                .await;
            answered.push(connection);
        }

        (provider.answer(DONE).await, answered)
    };

    let request = http_request("POST", "/api/mcp/id/steps", "", b"{}");
    let (((seen, came), _answered), (answer, _)) =
        tokio::join!(provider_side, pool.raw_call(request));

    assert_eq!(seen.line.as_str(), "POST /c HTTP/1.1");
    assert_eq!(&came[..], &b"{}"[..]);
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_redirect_loop_is_an_error_with_a_name() {
    let pool = Pool::start().await;
    let provider = Provider::answering(async |request| {
        let next = format!("{}x", request.uri().path());
        let moved = axum::response::Response::builder()
            .status(307)
            .header("location", next);
        moved.body(axum::body::Body::empty()).unwrap()
    })
    .await;
    let _relay = pool.relay("loop", &provider.url).await;

    let answer = pool.post("loop", &tools_call(1, "echo")).await;

    assert_eq!(answer.status().as_u16(), 502);
    assert_eq!(answer.headers()["llamapool-error"], "provider_redirect");

    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], 5025);
    assert_eq!(body["error"]["data"]["hop"], "provider");
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_the_callers_to_follow() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;

    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let _relay = pool.relay("away", &provider.url).await;

    for location in [
        format!("http://127.0.0.1:{port}/mcp"),
        format!("//127.0.0.1:{port}/"),
        "http://169.254.169.254/".into(),
    ] {
        for status in [301, 302, 307, 308] {
            let away = format!(
                "HTTP/1.1 {status} Away\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let request = http_request("POST", "/api/mcp/id/away", "", b"{}");
            let (_, (answer, _)) = tokio::join!(provider.answer(away), pool.raw_call(request));

            assert_eq!(answer.status(), status);
            assert_eq!(answer.values("location"), vec![location.clone()]);
        }
    }

    let mut visit = std::pin::pin!(elsewhere.accept());

    assert!(
        poll!(visit.as_mut()).is_pending(),
        "the other origin saw a connection"
    );
}

/// Parses lines of a head into the form of [`RawHead::without`].
fn fields_of(lines: &str) -> std::collections::BTreeMap<String, Vec<Vec<u8>>> {
    let fields = lines.lines().filter_map(|line| line.split_once(": "));
    let fields = fields
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    RawHead {
        line: String::new(),
        fields,
    }
    .without(&[])
}
