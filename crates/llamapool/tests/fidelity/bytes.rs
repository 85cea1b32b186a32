//! Scenarios about heads and bodies, byte for byte, with a provider that sends given bytes.

use crate::differential::{EventReader, Route, mcp_fields, read_answer, scenarios};
use crate::harness::{RawProvider, tools_call};
use crate::transcript::Transcript;

scenarios! {
    huge_integers_and_unusual_json: Bodies, ALL;
    all_of_unicode: Bodies, ALL;
    ids_that_look_random: Bodies, ALL;
    big_bodies_both_ways: Bodies, ALL;
    a_body_of_unknown_length: Bodies, ALL;
    an_answer_that_ends_with_its_connection: Bodies, ALL;
    a_compressed_answer: Bodies, ALL;
    an_answer_before_the_request_is_complete: Bodies, ALL;
    batches_in_and_out: Batches, BATCHING;
    every_value_of_every_header: Headers, ALL;
    headers_and_versions_of_the_future: Headers, STREAMABLE;
    headers_about_the_connection: Headers, ALL;
    forwarding_headers_of_a_caller: Headers, ALL;
    a_caller_that_accepts_anything: Headers, STREAMABLE;
    unknown_param_headers: ParamHeaders, MODERN;
    statuses_with_their_headers: Statuses, ALL;
    paths_and_queries_below: Statuses, ALL;
    an_accepted_notification_has_no_body: Statuses, STREAMABLE;
    methods_that_a_provider_does_not_support: Statuses, STREAMABLE;
    a_head_without_a_length: Statuses, ALL;
}

const JSON: &str = "content-type: application/json\r\n";
/// More than any buffer on the route holds, and less than `MAX_REQUEST_BYTES`.
const BIG_BYTES: usize = 24 * 1024 * 1024;

/// Returns an answer with a length, behind which the provider closes the connection.
fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{fields}connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Runs one exchange and records it on both sides.
async fn exchange(
    route: Route,
    request: &[u8],
    fields: &[(&str, &str)],
    given: &[u8],
) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut got = endpoint.transcript();
    // Both sides run concurrently, because long bodies do not fit into the buffers between them.
    let call = async {
        let mut caller = endpoint.post(fields, request).await;
        read_answer(&mut caller, &mut got).await;
    };
    let ((), (head, body)) = tokio::join!(call, provider.answer(given));
    let mut log = endpoint.transcript();

    log.request(&head, &body);
    log.append(got);

    log
}

async fn huge_integers_and_unusual_json(route: Route) -> Transcript {
    let unusual =
        br#" {"id":123456789012345678901234567890,"a":1.0e+400,"a":0.1000,"b":"\u0041\/\ud83e\udd99 \u0000","c":[ ],
        "\u00e9":-0,"jsonrpc":"2.0"} "#;
    exchange(route, unusual, &[], &answer("200 OK", JSON, unusual)).await
}

async fn all_of_unicode(route: Route) -> Transcript {
    let text: String = ('\u{0}'..=char::MAX).collect();
    exchange(
        route,
        text.as_bytes(),
        &[],
        &answer("200 OK", JSON, text.as_bytes()),
    )
    .await
}

/// They are not random here, so that they are compared as they are.
async fn ids_that_look_random(route: Route) -> Transcript {
    let ids = br#"{"uuid":"0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d","hex":"0a1b2c3d4e5f4a6b8c7d9e0f1a2b3c4d"}"#;
    let session = [("mcp-session-id", "6f1d2e3c-4b5a-4968-8776-655443322110")];
    exchange(route, ids, &session, &answer("200 OK", JSON, ids)).await
}

async fn big_bodies_both_ways(route: Route) -> Transcript {
    let body: Vec<u8> = (0..BIG_BYTES).map(|place| (place % 251) as u8).collect();
    exchange(route, &body, &[], &answer("200 OK", JSON, &body)).await
}

async fn a_body_of_unknown_length(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &mcp_fields(&[("transfer-encoding", "chunked")]),
        b"",
    );
    let mut caller = endpoint.send(&request).await;
    caller
        .send("5\r\nhello\r\n1\r\n \r\n5\r\nthere\r\n0\r\n\r\n")
        .await;
    let chunks =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let (head, body) = provider.answer(chunks).await;
    log.request(&head, &body);
    read_answer(&mut caller, &mut log).await;

    log
}

async fn an_answer_that_ends_with_its_connection(route: Route) -> Transcript {
    let given = format!("HTTP/1.1 200 OK\r\n{JSON}\r\n{{\"an\":\"answer\"}}");
    exchange(
        route,
        tools_call(1, "t").to_string().as_bytes(),
        &[],
        given.as_bytes(),
    )
    .await
}

/// Nothing is decompressed, and an encoded event stream gets no comments.
async fn a_compressed_answer(route: Route) -> Transcript {
    let packed = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\xcb\xcf\x07\0\x21\x65\x73\x8c\x03\0\0\0";
    let fields = format!("{JSON}content-encoding: gzip\r\netag: W/\"1\"\r\n");
    exchange(
        route,
        b"{}",
        &[("accept-encoding", "gzip, br;q=0.1")],
        &answer("200 OK", &fields, packed),
    )
    .await
}

async fn an_answer_before_the_request_is_complete(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let request = endpoint.request_to(
        "POST",
        &endpoint.path,
        &mcp_fields(&[("content-length", "10")]),
        b"",
    );
    let mut caller = endpoint.send(&request).await;
    caller.send("01234").await;
    let (mut connection, request_head) = provider.call().await;
    connection.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let head = caller.head().await;
    log.answer_head(&head);
    log.note("the head of the answer came before the request was complete");
    caller.send("56789").await;
    let body = connection.body(&request_head).await;
    log.request(&request_head, &body);
    connection.send("d\r\ndata: early\n\n\r\n0\r\n\r\n").await;
    EventReader::default().rest(&mut caller, &mut log).await;

    log
}

async fn batches_in_and_out(route: Route) -> Transcript {
    let batch = br#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"}, {"jsonrpc":"2.0","id":"b","method":"ping"}]"#;
    let answers =
        br#"[ {"jsonrpc":"2.0","id":"b","result":{}},{"jsonrpc":"2.0","id":1,"result":{}}]"#;
    let mut log = exchange(route, batch, &[], &answer("200 OK", JSON, answers)).await;
    let events = "data: [{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}]\n\ndata: [{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}},\ndata: {}]\n\n";
    let stream = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{events}\r\n0\r\n\r\n",
        events.len()
    );
    log.append(exchange(route, batch, &[], stream.as_bytes()).await);

    log
}

async fn every_value_of_every_header(route: Route) -> Transcript {
    let fields = "set-cookie: a=1; Path=/\r\nset-cookie: b=2\r\nwww-authenticate: Bearer scope=\"x\"\r\nwww-authenticate: DPoP algs=\"ES256\"\r\n\
        link: <a>; rel=b\r\nlink: <c>; rel=d\r\nx-unusual: one, two\r\nx-unusual:\r\nx-unusual: three\r\nx-bytes: gr\u{fc}\u{df}e\r\ndpop-nonce: n\r\n\
        mcp-session-id: !~visible~ASCII!\r\nretry-after: 7\r\nallow: POST\r\nlocation: /elsewhere\r\nserver: p/1\r\nvary: accept\r\n";
    let request_fields = [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-odd", "one, two"),
        ("x-odd", "\u{fc}"),
        ("x-odd", "three"),
        ("dpop", "proof"),
        ("authorization", "Bearer of-the-provider"),
        ("accept-language", "de, en;q=0.5"),
        ("user-agent", "by hand"),
        ("if-none-match", "\"e\""),
        ("x-api-key", "k"),
    ];
    exchange(
        route,
        b"{}",
        &request_fields,
        &answer("200 OK", fields, b"{}"),
    )
    .await
}

async fn headers_and_versions_of_the_future(route: Route) -> Transcript {
    let request_fields = [
        ("mcp-protocol-version", "2031-01-01"),
        ("mcp-session-id", "!~any~visible~ASCII{}|!"),
        ("last-event-id", "3/of \u{fc} stream"),
        ("mcp-future", "=?base64?w7w=?="),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let fields = "mcp-protocol-version: 2031-01-01\r\nmcp-future: yes\r\n";
    exchange(
        route,
        b"{\"method\":\"future/method\"}",
        &request_fields,
        &answer("200 OK", fields, b"{}"),
    )
    .await
}

async fn headers_about_the_connection(route: Route) -> Transcript {
    let request_fields = [
        ("connection", "keep-alive"),
        ("te", "trailers"),
        ("origin", "http://localhost:1"),
    ];
    exchange(
        route,
        b"{}",
        &request_fields,
        &answer("200 OK", "keep-alive: timeout=5\r\n", b"{}"),
    )
    .await
}

/// They must not reach a provider that trusts its proxy.
async fn forwarding_headers_of_a_caller(route: Route) -> Transcript {
    let request_fields = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("llamapool-id", "other"),
        ("x-request-id", "two words"),
        ("via", "1.1 proxy"),
    ];
    exchange(route, b"{}", &request_fields, &answer("200 OK", "", b"{}")).await
}

/// The answer is JSON here; a stream would be converted to JSON.
async fn a_caller_that_accepts_anything(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    for fields in [
        &[][..],
        &[("accept", "*/*")],
        &[("accept", "application/json")],
    ] {
        let mut caller = endpoint
            .send(&endpoint.request_to("POST", &endpoint.path, fields, b"{}"))
            .await;
        let (head, body) = provider.answer(answer("200 OK", JSON, b"{}")).await;
        log.request(&head, &body);
        read_answer(&mut caller, &mut log).await;
    }

    log
}

async fn unknown_param_headers(route: Route) -> Transcript {
    let request_fields = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "=?base64?8J+mmQ==?="),
        ("mcp-param-region", "eu-1"),
        ("mcp-param-region", "a second one"),
        ("mcp-param-n0body", "=?base64?AAEC?="),
        ("mcp-param-empty", ""),
    ];
    exchange(
        route,
        tools_call(1, "t").to_string().as_bytes(),
        &request_fields,
        &answer("200 OK", JSON, b"{}"),
    )
    .await
}

async fn statuses_with_their_headers(route: Route) -> Transcript {
    let error =
        br#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#;
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    let given = [
        ("200 OK", ""),
        ("201 Created", "location: /x\r\n"),
        ("299 Quite All Right", ""),
        ("302 Found", "location: http://elsewhere.example/\r\n"),
        ("400 Bad Request", JSON),
        (
            "401 Unauthorized",
            "www-authenticate: Bearer scope=\"a b\"\r\n",
        ),
        (
            "403 Forbidden",
            "www-authenticate: Bearer error=\"insufficient_scope\"\r\n",
        ),
        ("404 Not Found", JSON),
        ("405 Method Not Allowed", "allow: GET, POST, DELETE\r\n"),
        ("406 Not Acceptable", JSON),
        ("409 Conflict", JSON),
        ("413 Payload Too Large", ""),
        ("415 Unsupported Media Type", ""),
        ("421 Misdirected Request", ""),
        ("429 Too Many Requests", "retry-after: 3\r\n"),
        ("431 Request Header Fields Too Large", ""),
        ("500 Internal Server Error", JSON),
        ("501 Not Implemented", ""),
        (
            "503 Service Unavailable",
            "retry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n",
        ),
    ];

    for (status, fields) in given {
        let mut caller = endpoint.post(&[], b"{}").await;
        let (head, body) = provider.answer(answer(status, fields, error)).await;
        log.request(&head, &body);
        read_answer(&mut caller, &mut log).await;
    }

    for status in ["204 No Content", "304 Not Modified"] {
        let mut caller = endpoint.post(&[], b"{}").await;
        provider
            .answer(format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n"))
            .await;
        read_answer(&mut caller, &mut log).await;
    }

    log
}

/// They are forwarded in their original spelling.
async fn paths_and_queries_below(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    for path in [
        "/sse",
        "/server-card",
        "/a//b/",
        "/a%2Fb;c=1/%F0%9F%A6%99?x=%20&x=+&y",
        "?q=1&q=2",
        "/...?/../",
        "/~tilde/%7E",
    ] {
        for method in ["GET", "POST"] {
            let mut caller = endpoint
                .send(&endpoint.request_to(method, &endpoint.below(path), &mcp_fields(&[]), b""))
                .await;
            let (head, body) = provider.answer(answer("200 OK", JSON, b"{}")).await;
            log.request(&head, &body);
            read_answer(&mut caller, &mut log).await;
        }
    }

    log
}

/// It has no content type either.
async fn an_accepted_notification_has_no_body(route: Route) -> Transcript {
    let message = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let mut log = exchange(route, message, &[], &answer("202 Accepted", "", b"")).await;
    let chunked = b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    log.append(exchange(route, message, &[], chunked).await);
    log
}

async fn methods_that_a_provider_does_not_support(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    for (method, status, fields) in [
        ("GET", "405 Method Not Allowed", "allow: POST\r\n"),
        ("DELETE", "405 Method Not Allowed", "allow: POST\r\n"),
        ("DELETE", "200 OK", ""),
        ("DELETE", "202 Accepted", ""),
        ("OPTIONS", "200 OK", "allow: POST, OPTIONS\r\n"),
        ("PUT", "501 Not Implemented", ""),
        ("PROPFIND", "405 Method Not Allowed", ""),
    ] {
        let request = endpoint.request_to(method, &endpoint.path, &[("mcp-session-id", "s")], b"");
        let mut caller = endpoint.send(&request).await;
        let (head, body) = provider.answer(answer(status, fields, b"")).await;
        log.request(&head, &body);
        read_answer(&mut caller, &mut log).await;
    }

    log
}

/// A length of zero would be wrong, as the body is only not sent.
async fn a_head_without_a_length(route: Route) -> Transcript {
    let provider = RawProvider::bind().await;
    let endpoint = route.endpoint(&provider.url).await;
    let mut log = endpoint.transcript();

    for fields in [
        JSON,
        "content-type: text/event-stream\r\n",
        "content-length: 1234\r\n",
    ] {
        let mut caller = endpoint
            .send(&endpoint.request_to("HEAD", &endpoint.path, &[("accept", "*/*")], b""))
            .await;
        let (head, body) = provider
            .answer(format!(
                "HTTP/1.1 200 OK\r\n{fields}connection: close\r\n\r\n"
            ))
            .await;
        log.request(&head, &body);
        log.answer_head(&caller.head().await);
    }

    log
}
