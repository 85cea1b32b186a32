//! Hostile input: huge or endless bodies, deep JSON, forged headers. After each, the same server
//! must go on.
//!
//! Attacks on HTTP itself are tested in `e2e/abuse.rs`.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Value, json};

use crate::harness::{
    Pool, Process, Provider, RawHttp, RawProvider, http_request, json_answer, soon, tools_call,
};

const MIB: usize = 1024 * 1024;
/// Larger than any message of MCP.
const HUGE: usize = 100 * MIB;
/// The bound for the growth of a process's peak memory during a huge transfer: the bytes in flight,
/// not the whole body.
const IN_FLIGHT_KIB: u64 = 48 * 1024;
/// The head of a stream. The provider closes the connection behind it, so that no other call uses
/// the connection meanwhile.
const STREAM: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Returns the peak memory of a process so far.
fn peak_kib(process: &Process) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("Linux has this line");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

/// Asserts that a normal call succeeds.
async fn assert_still_serving(pool: &Pool, id: &str, provider: &RawProvider, after: &str) {
    let done = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let request = http_request("POST", &format!("/api/mcp/id/{id}"), "", b"{}");
    let (_, (head, body)) = tokio::join!(provider.answer(done), pool.raw_call(request));

    assert_eq!(
        (head.status(), body),
        (200, b"{}".to_vec()),
        "after {after}"
    );
}

#[tokio::test]
async fn an_event_of_100_mb_passes_without_being_buffered() {
    let pool = Pool::as_shipped(&[]).await;
    let provider = RawProvider::bind().await;
    let relay = pool.relay("huge", &provider.url).await;

    assert_still_serving(&pool, "huge", &provider, "nothing yet").await;
    // The second one begins like the first event of HTTP with SSE, which the relay inspects.
    for beginning in ["data: ", "event: endpoint\ndata: /"] {
        let before = [peak_kib(&pool.server), peak_kib(&relay)];
        let mut caller = RawHttp::connect(&pool.url).await;
        caller
            .send(http_request("GET", "/api/mcp/id/huge", "", b""))
            .await;
        let (mut connection, _) = provider.call().await;
        let make = async {
            let piece = "x".repeat(MIB);
            connection
                .send(format!("{STREAM}{:x}\r\n{beginning}\r\n", beginning.len()))
                .await;
            for _ in 0..HUGE / MIB {
                connection.send(format!("{MIB:x}\r\n{piece}\r\n")).await;
            }
            connection.send("2\r\n\n\n\r\n0\r\n\r\n").await;
        };
        let read = async {
            assert_eq!(caller.head().await.status(), 200);

            let mut length = 0;
            let mut held = Vec::new();
            while let Some(piece) = caller.chunk().await.expect("it does not break off") {
                length += piece.len();
                held.extend_from_slice(
                    &piece[..piece
                        .len()
                        .min(beginning.len() - held.len().min(beginning.len()))],
                );
                assert!(piece != b":\n\n", "a comment in the middle of an event");
            }

            (length, held)
        };
        let ((), (length, held)) = tokio::join!(make, read);

        assert_eq!(
            (length, held),
            (beginning.len() + HUGE + 2, beginning.as_bytes().to_vec())
        );

        let after = [peak_kib(&pool.server), peak_kib(&relay)];
        let grown = [
            after[0].saturating_sub(before[0]),
            after[1].saturating_sub(before[1]),
        ];
        assert!(
            grown.iter().all(|kib| *kib < IN_FLIGHT_KIB),
            "server and relay have grown by {grown:?} KiB"
        );
    }

    assert_still_serving(&pool, "huge", &provider, "an event of 100 MB").await;
}

#[tokio::test]
async fn json_of_any_depth_passes() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let pool = Pool::as_shipped(&[]).await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("deep", &provider.url).await;
    let whole = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}}",
        deep(200_000)
    );
    let half = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}",
        "[".repeat(200_000)
    );

    let message = tools_call(1, "t").to_string();
    // A caller without `Accept` gets the response that is found in the stream; one with it gets the
    // stream.
    for (accept, data, expected) in [
        ("", &whole, (200, whole.clone())),
        (
            "accept: text/event-stream\r\n",
            &whole,
            (200, format!("data: {whole}\n\n")),
        ),
        (
            "accept: text/event-stream\r\n",
            &half,
            (200, format!("data: {half}\n\n")),
        ),
    ] {
        let request = format!(
            "POST /api/mcp/id/deep HTTP/1.1\r\nhost: 127.0.0.1\r\n{accept}content-length: {}\r\n\r\n{message}",
            message.len()
        );
        let event = format!("data: {data}\n\n");
        let given = format!("{STREAM}{:x}\r\n{event}\r\n0\r\n\r\n", event.len());

        let (_, (head, body)) = tokio::join!(provider.answer(given), pool.raw_call(request));
        assert!(
            (head.status(), String::from_utf8(body).unwrap()) == expected,
            "{accept:?}: {head:?}"
        );
        assert_still_serving(&pool, "deep", &provider, "deep JSON").await;
    }

    let event = format!("data: {half}\n\n");
    let given = format!("{STREAM}{:x}\r\n{event}\r\n0\r\n\r\n", event.len());
    let request =
        "POST /api/mcp/id/deep HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}";
    let (_, (head, _)) = tokio::join!(provider.answer(given), pool.raw_call(request));

    assert_eq!(
        (head.status(), head.values("llamapool-error")),
        (502, vec!["no_response".to_owned()])
    );

    assert_still_serving(&pool, "deep", &provider, "half of deep JSON").await;
}

#[tokio::test]
async fn oauth_metadata_of_any_depth_crashes_no_process() {
    let document = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let metadata = move || async move { json_answer(&document) };
    let router =
        axum::Router::new().route("/.well-known/oauth-protected-resource/mcp", get(metadata));
    let provider = Provider::serving(router.route("/mcp", any(async || json_answer("{}")))).await;
    let pool = Pool::as_shipped(&[]).await;
    let _relay = pool.relay("deep", &provider.url).await;
    let url = format!(
        "{}/.well-known/oauth-protected-resource/api/mcp/id/deep",
        pool.url
    );
    let answer = soon("an answer", pool.http.get(url).send()).await.unwrap();

    assert!([404, 502].contains(&answer.status().as_u16()), "{answer:?}");
    assert_eq!(pool.post("deep", &json!({})).await.status(), 200);
}

/// It is answered as soon as it is too long, and not read to the end.
#[tokio::test]
async fn an_endless_request_is_answered_and_closed() {
    let pool = Pool::with(&[("MAX_REQUEST_BYTES", "1MiB")]).await;
    let provider = Provider::answering(async |request: Request| {
        // Like a provider that reads the whole body before it answers.
        let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        json_answer("{}")
    })
    .await;
    let _relay = pool.relay("endless", &provider.url).await;
    let mut caller = RawHttp::connect(&pool.url).await;

    let fields = "transfer-encoding: chunked\r\n";
    caller
        .send(http_request("POST", "/api/mcp/id/endless", fields, b""))
        .await;
    let piece = format!("{MIB:x}\r\n{}\r\n", "x".repeat(MIB));
    let mut sent = 0;

    // The kernel's buffers, and the bytes that the server reads so that its answer is not lost, are
    // far less.
    while caller.try_send(&piece).await.is_ok() {
        sent += 1;
        assert!(sent < 1024, "{sent} MiB were taken");
    }

    let mut answer = Vec::new();
    caller.rest_of_connection(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
        "{answer}"
    );

    let client = pool
        .until_client("endless", "it is over", |client| client["inflight"] == 0)
        .await;
    assert_eq!(client["last_error"]["error"], "request_too_large");
    assert_eq!(pool.post("endless", &json!({})).await.status(), 200);
}

/// Answers with the forwarding and session headers that reached the provider.
async fn answer_with_forwarding_headers(request: Request) -> Response {
    let seen = |headers: &HeaderMap| -> Value {
        let matches = |name: &str| {
            ["x-forwarded-", "forwarded", "x-real-ip", "mcp-session-id"]
                .iter()
                .any(|it| name.starts_with(it))
        };
        let mut all = serde_json::Map::new();
        for name in headers.keys().filter(|name| matches(name.as_str())) {
            let values = headers
                .get_all(name)
                .iter()
                .map(|value| value.as_bytes().escape_ascii().to_string().into());
            all.insert(name.to_string(), Value::Array(values.collect()));
        }
        all.into()
    };
    axum::Json(seen(request.headers())).into_response()
}

/// Makes a call and returns the status and the body.
async fn call_and_read_headers(pool: &Pool, id: &str, fields: impl AsRef<[u8]>) -> (u16, Value) {
    let (head, body) = pool
        .raw_call(http_request(
            "POST",
            &format!("/api/mcp/id/{id}"),
            fields,
            b"{}",
        ))
        .await;
    (
        head.status(),
        serde_json::from_slice(&body).unwrap_or(Value::Null),
    )
}

/// Three headers of a trusted proxy count, and no others.
#[tokio::test]
async fn behind_a_trusted_proxy_a_caller_can_forge_nothing_else() {
    let pool = Pool::with(&[("TRUST_FORWARDED", "true")]).await;
    let provider = Provider::answering(answer_with_forwarding_headers).await;
    let _relay = pool.relay("headers", &provider.url).await;

    let fields = "x-forwarded-for: 192.0.2.7\r\nx-forwarded-host: public.example\r\nx-forwarded-proto: https\r\n\
        x-forwarded-prefix: /evil\r\nx-forwarded-port: 666\r\nx-forwarded-server: evil\r\nx-forwarded-user: root\r\n\
        x-forwarded-ssl: on\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n";
    let expected = json!({
        "x-forwarded-for": ["192.0.2.7, 127.0.0.1"],
        "x-forwarded-host": ["public.example"],
        "x-forwarded-proto": ["https"],
    });
    assert_eq!(
        call_and_read_headers(&pool, "headers", fields).await,
        (200, expected)
    );

    for host in [
        "evil.example/path",
        "a b",
        "",
        "evil.example#",
        "\u{fc}.example",
        "http://evil.example",
    ] {
        for proto in ["https", "gopher", "\u{fc}", "https://evil.example/"] {
            let fields = format!(
                "x-forwarded-host: {host}\r\nx-forwarded-proto: {proto}\r\nx-forwarded-for: {host}\r\n"
            );
            let (status, seen) = call_and_read_headers(&pool, "headers", fields).await;
            assert_eq!(status, 200, "{host:?} {proto:?}");

            for value in seen["x-forwarded-host"].as_array().into_iter().flatten() {
                let is_host = value
                    .as_str()
                    .is_some_and(|host| !host.contains(['/', ' ', '#', '\\']) && !host.is_empty());
                assert!(is_host, "{host:?} became {value}");
            }
            for value in seen["x-forwarded-proto"].as_array().into_iter().flatten() {
                assert!(
                    value == "http" || value == "https",
                    "{proto:?} became {value}"
                );
            }
            assert_eq!(
                seen["x-forwarded-for"].as_array().map(Vec::len),
                Some(1),
                "{seen}"
            );
            let peer = seen["x-forwarded-for"][0].as_str().unwrap();
            assert!(peer.ends_with("127.0.0.1"), "{peer}");
        }
    }
}

/// With one relay and no secret the provider alone decides about session ids; where relays share an
/// id, only ids that the server itself has encrypted are accepted.
#[tokio::test]
async fn session_ids_of_every_kind_are_forwarded_or_not_found() {
    let pool = Pool::start().await;
    let provider = Provider::answering(answer_with_forwarding_headers).await;
    let _single = pool.relay("single", &provider.url).await;

    let _shared = pool
        .relay_with("shared", &provider.url, &[("CLIENT_SECRET", "shared")])
        .await;
    let long = "x".repeat(8 * 1024);
    let sealed_like = "A".repeat(64);

    for values in [
        vec!["s", "s"],
        vec!["s", "t"],
        vec![""],
        vec!["", "s"],
        vec!["gr\u{fc}n"],
        vec!["two words"],
        vec!["a,b"],
        vec!["../../etc"],
        vec![&long],
        vec![&sealed_like],
    ] {
        let fields: String = values
            .iter()
            .map(|value| format!("mcp-session-id: {value}\r\n"))
            .collect();
        let shown = &fields[..fields.len().min(60)];
        let as_sent: Vec<_> = values
            .iter()
            .map(|value| value.as_bytes().escape_ascii().to_string())
            .collect();

        let (status, seen) = call_and_read_headers(&pool, "single", &fields).await;
        assert_eq!(
            (status, &seen["mcp-session-id"]),
            (200, &json!(as_sent)),
            "{shown:?}"
        );

        let (status, body) = call_and_read_headers(&pool, "shared", &fields).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (404, &json!(-32001)),
            "{shown:?}"
        );
    }

    assert_eq!(call_and_read_headers(&pool, "shared", "").await.0, 200);
}
