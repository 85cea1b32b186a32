//! Bodies of any size go through byte by byte, in both directions at once.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use llamapool_testkit::{Pool, Provider, RawHttp, RawProvider, http_request, soon, tools_call};
use serde_json::{Value, json};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// The framing of a body.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    Declared,
    InChunks,
}

#[tokio::test]
async fn bodies_of_any_size_arrive_byte_by_byte_at_both_ends() {
    let pool = Pool::start().await;
    let provider = Provider::answering(echo_as_it_came).await;
    let _relay = pool.relay("sizes", &provider.url).await;

    for size in [0, 1, 64 * KIB, MIB, 32 * MIB] {
        let body = noise(size);
        for ends in [Ends::Declared, Ends::InChunks] {
            let request = pool
                .http
                .post(pool.mcp("sizes"))
                .header(CONTENT_TYPE, "application/octet-stream");
            let request = match ends {
                Ends::Declared => request.header(CONTENT_LENGTH, size).body(body.clone()),
                Ends::InChunks => request.body(in_chunks(&body)),
            };
            let answer = soon("the answer begins", request.send()).await.unwrap();
            // An empty chunked body may arrive with a length of zero.
            let declared = answer
                .headers()
                .get(CONTENT_LENGTH)
                .map(|length| length.to_str().unwrap().to_owned());

            if size > 0 {
                assert_eq!(
                    declared,
                    (ends == Ends::Declared).then(|| size.to_string()),
                    "{size} {ends:?}"
                );
            }

            let came_back = soon("the answer ends", answer.bytes()).await.unwrap();

            assert!(
                came_back == body,
                "{} of {size} bytes came back, or other ones, {ends:?}",
                came_back.len()
            );
        }
    }
}

#[tokio::test]
async fn the_content_of_a_body_does_not_matter() {
    let pool = Pool::start().await;
    let provider = Provider::answering(echo_as_it_came).await;
    let _relay = pool.relay("says", &provider.url).await;

    let unicode: String = ('\0'..=char::MAX).collect();
    let bodies: Vec<Bytes> = vec![
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"}]"#.into(),
        r#"{"id":18446744073709551617123456789,"a":1.0000000000000000000001,"b":1e400,"c":-0.0,"a":2}"#.into(),
        json!({ "jsonrpc": "2.0", "id": "é\u{0}", "method": "tools/call", "params": unicode }).to_string().into(),
        unicode.into(),
        r#"{"lone":"\ud800","spaces" :  [ 1,2 ]  }  "#.into(),
        "\u{feff}{}".into(),
        "{\"half\":".into(),
        "{} and more".into(),
        "null".into(),
        (0..=u8::MAX).collect::<Vec<_>>().into(),
        Bytes::from_static(b"\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ];

    for body in bodies {
        let request = pool
            .http
            .post(pool.mcp("says"))
            .header("accept", "application/json, text/event-stream");
        let answer = soon("it is answered", request.body(body.clone()).send())
            .await
            .unwrap();

        assert_eq!(answer.status(), 200);
        assert!(
            answer.bytes().await.unwrap() == body,
            "not as it was: {:?}",
            body.slice(..body.len().min(80))
        );
    }
}

/// The caller can read the answer although it is still sending.
#[tokio::test]
async fn a_body_above_the_limit_is_refused_with_a_readable_answer() {
    let pool = Pool::with(|server| server.mcp.max_request_bytes = 1 << 20).await;
    let provider = Provider::answering(echo_as_it_came).await;
    let _relay = pool.relay("large", &provider.url).await;

    let just_fits = pool
        .http
        .post(pool.mcp("large"))
        .body(noise(MIB))
        .send()
        .await
        .unwrap();

    assert_eq!(just_fits.status(), 200);

    let before = pool.client("large").await["errors_total"].clone();
    assert_eq!(before, 0);

    for size in [MIB + 1, 2 * MIB] {
        for ends in [Ends::Declared, Ends::InChunks] {
            // The whole body is sent before anything is read, as simple clients do.
            let (head, body) = pool.raw_call(upload("large", size, ends)).await;

            assert_eq!(head.status(), 413, "{ends:?}");
            assert_eq!(
                head.values("content-type"),
                ["application/json"],
                "{ends:?}"
            );
            assert_eq!(head.values("llamapool-error"), ["request_too_large"]);

            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["jsonrpc"], "2.0");
            assert_eq!(body["id"], Value::Null);
            assert_eq!(body["error"]["code"], 4131);
            assert_eq!(body["error"]["data"]["hop"], "server");
            assert!(
                body["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("MAX_REQUEST_BYTES")
            );

            let answer = match ends {
                Ends::Declared => pool.http.post(pool.mcp("large")).body(noise(size)),
                Ends::InChunks => pool
                    .http
                    .post(pool.mcp("large"))
                    .body(in_chunks(&noise(size))),
            };

            assert_eq!(
                soon("it is refused", answer.send()).await.unwrap().status(),
                413,
                "{size} {ends:?}"
            );
            assert_eq!(
                pool.post("large", &tools_call(1, "echo")).await.status(),
                200
            );
        }
    }

    assert_eq!(pool.client("large").await["errors_total"], 8);
}

#[tokio::test]
async fn expect_100_continue_is_answered_by_the_server() {
    let pool = Pool::with(|server| server.mcp.max_request_bytes = 1 << 20).await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("expect", &provider.url).await;

    let mut caller = RawHttp::connect(&pool.url).await;
    let ask = |length: usize| {
        http_request(
            "POST",
            "/api/mcp/id/expect",
            format!("expect: 100-continue\r\ncontent-length: {length}\r\n"),
            b"",
        )
    };
    caller.send(ask(5)).await;

    assert_eq!(caller.head().await.status(), 100);

    let ((seen, body), head) = tokio::join!(provider.answer(DONE), async {
        caller.send(b"hello").await;
        caller.head().await
    });

    assert_eq!(seen.values("expect"), Vec::<String>::new());
    assert_eq!(body.as_slice(), &b"hello"[..]);
    assert_eq!(head.status(), 200);

    caller.body(&head).await;
    caller.send(ask(MIB + 1)).await;

    assert_eq!(
        caller.head().await.status(),
        413,
        "an answer, and no invitation before it"
    );
}

#[tokio::test]
async fn both_directions_run_at_once() {
    let pool = Pool::start().await;
    let provider =
        Provider::answering(async |request: Request| Response::new(request.into_body())).await;
    let _relay = pool.relay("duplex", &provider.url).await;

    let mut caller = RawHttp::connect(&pool.url).await;
    caller
        .send(http_request(
            "POST",
            "/api/mcp/id/duplex",
            "transfer-encoding: chunked\r\n",
            b"",
        ))
        .await;
    let head = caller.head().await;

    assert_eq!(
        head.status(),
        200,
        "the answer begins before the request has a single byte"
    );

    for word in ["one", "two", "three"] {
        caller.send(format!("{:x}\r\n{word}\r\n", word.len())).await;
        assert_eq!(caller.chunk().await.unwrap().unwrap(), word.as_bytes());
    }

    caller.send(b"0\r\n\r\n").await;

    assert_eq!(caller.chunk().await, Ok(None));
}

#[tokio::test]
async fn an_answer_before_the_body_is_there_is_not_held_back() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("early", &provider.url).await;

    for fields in [
        "content-length: 33554432\r\n",
        "transfer-encoding: chunked\r\n",
    ] {
        let mut caller = RawHttp::connect(&pool.url).await;
        caller
            .send(http_request("POST", "/api/mcp/id/early", fields, b""))
            .await;
        let (mut connection, _) = provider.call().await;
        connection.send("HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 2\r\n\r\n{}").await;
        let head = caller.head().await;

        assert_eq!(head.status(), 401, "{fields}");
        assert_eq!(caller.body(&head).await, b"{}".to_vec(), "{fields}");
    }

    let ((_, _), (head, _)) = tokio::join!(
        provider.answer(DONE),
        pool.raw_call(upload("early", 1, Ends::Declared))
    );

    assert_eq!(head.status(), 200);
}

/// Answers with the request's body, in the framing of the request.
async fn echo_as_it_came(request: Request) -> Response {
    let is_declared = request.headers().contains_key(CONTENT_LENGTH);
    let body = axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap();
    let body = if is_declared {
        Body::from(body)
    } else {
        Body::from_stream(pieces(&body))
    };
    Response::new(body)
}

fn in_chunks(body: &Bytes) -> reqwest::Body {
    reqwest::Body::wrap_stream(pieces(body))
}

fn pieces(
    body: &Bytes,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let body = body.clone();
    let starts = (0..body.len()).step_by(50_000);
    futures_util::stream::iter(starts)
        .map(move |start| Ok(body.slice(start..(start + 50_000).min(body.len()))))
}

/// Builds the bytes of a whole upload.
fn upload(id: &str, size: usize, ends: Ends) -> Vec<u8> {
    let target = format!("/api/mcp/id/{id}");
    let body = noise(size);

    match ends {
        Ends::Declared => http_request("POST", &target, "", &body),
        Ends::InChunks => {
            let mut request = http_request("POST", &target, "transfer-encoding: chunked\r\n", b"");

            for piece in body.chunks(50_000) {
                request.extend(format!("{:x}\r\n", piece.len()).bytes());
                request.extend(piece);
                request.extend(b"\r\n");
            }

            request.extend(b"0\r\n\r\n");
            request
        }
    }
}

/// Creates bytes in which no two pieces are alike.
fn noise(size: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(size);
    bytes.into()
}

#[tokio::test]
async fn a_body_with_broken_framing_is_the_callers_fault() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let _relay = pool.relay("framed", &provider.url).await;

    let mut caller = RawHttp::connect(&pool.url).await;
    let fields = "transfer-encoding: chunked\r\n";
    caller
        .send(http_request(
            "POST",
            "/api/mcp/id/framed",
            fields,
            b"5\r\nhello\r\nnonsense\r\n",
        ))
        .await;
    let head = caller.head().await;

    assert_eq!(head.status(), 422);
    assert_eq!(head.values("llamapool-error"), ["request_broken"]);
    assert_eq!(
        pool.post("framed", &serde_json::json!({})).await.status(),
        200
    );
}

/// A provider refuses a large request before it has read it. Its caller, which reads no answer before
/// all is sent, is neither stopped nor loses the answer, and its connection is good for more.
#[tokio::test]
async fn an_early_answer_reaches_a_caller_that_reads_last() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("early", &provider.url).await;
    let mut caller = RawHttp::connect(&pool.url).await;
    let size = 32 * MIB;

    let head = format!(
        "POST /api/mcp/id/early HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n"
    );
    caller.send(head).await;
    let sending = async {
        for _ in 0..32 {
            let sent = caller.try_send(vec![b'x'; MIB]).await;
            sent.expect("the connection takes the request to its end");
        }
    };
    let refusing = async {
        let (mut call, _) = provider.call().await;
        call.send("HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large")
            .await;
        call
    };
    let both = async { tokio::join!(sending, refusing) };
    let ((), _unread) = soon("all is sent", both).await;

    let head = soon("the answer", caller.head()).await;
    assert_eq!(head.status(), 413);
    assert_eq!(soon("its body", caller.body(&head)).await, b"too large");
    caller
        .send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert_eq!(soon("another answer", caller.head()).await.status(), 200);
}
