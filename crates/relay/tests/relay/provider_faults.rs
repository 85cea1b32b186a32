//! Faults of a provider are reported by their name and never papered over.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use llamapool_testkit::{
    API_KEY, BodyEnd, Pool, RawHead, RawHttp, RawProvider, http_provider, http_request, soon,
    tools_call,
};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// The answer that llamapool gives itself for one cause.
struct Named {
    status: u16,
    cause: &'static str,
    code: u16,
    mcp: &'static str,
    hop: &'static str,
}

const UNREACHABLE: Named = Named {
    status: 502,
    cause: "provider_unreachable",
    code: 5022,
    mcp: "MCP_UPSTREAM_ERROR",
    hop: "provider",
};
const CLOSED: Named = Named {
    status: 502,
    cause: "provider_closed",
    code: 5023,
    mcp: "MCP_UPSTREAM_ERROR",
    hop: "provider",
};
const GARBAGE: Named = Named {
    status: 502,
    cause: "provider_garbage",
    code: 5024,
    mcp: "MCP_UPSTREAM_ERROR",
    hop: "provider",
};
const LATE: Named = Named {
    status: 504,
    cause: "first_byte_timeout",
    code: 5041,
    mcp: "MCP_TIMEOUT",
    hop: "provider",
};

impl Named {
    /// Checks the whole of an answer.
    fn check(&self, (head, body): &(RawHead, Vec<u8>)) {
        assert_eq!(head.status(), self.status);
        assert_eq!(head.values("llamapool-error"), vec![self.cause.to_owned()]);
        assert_eq!(head.values("content-type"), ["application/json"]);

        let body: Value = serde_json::from_slice(body).unwrap();
        let message = &body["error"]["message"];

        assert!(
            message.as_str().is_some_and(|message| !message.is_empty()),
            "{body}"
        );

        let data =
            json!({ "mcp": self.mcp, "hop": self.hop, "req_id": head.values("x-request-id")[0] });
        let error = json!({ "code": self.code, "message": message, "data": data });

        assert_eq!(
            body,
            json!({ "jsonrpc": "2.0", "id": null, "error": error })
        );
    }
}

#[tokio::test]
async fn a_provider_that_takes_no_connection_is_unreachable() {
    let pool = Pool::start().await;

    // The port is bound, so that no other process gets it, and not listened on.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let _relay = pool
        .relay(
            "down",
            &format!("http://{}/mcp", held.local_addr().unwrap()),
        )
        .await;

    UNREACHABLE.check(&pool.raw_call(call("down", b"{}")).await);
    let client = pool.client("down").await;

    assert_eq!(client["errors_total"], 1);
    assert_eq!(client["last_error"]["error"], "provider_unreachable");
    assert_eq!(client["status"], "not_ready");
    assert_eq!(client["provider"]["status"], "unreachable");
}

#[tokio::test]
async fn a_provider_that_hangs_up_before_its_answer_has_closed() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("closes", &provider.url).await;

    for said in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-type: te",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        for by in [HangUp::Closing, HangUp::Resetting] {
            let provider_side = async {
                let (mut connection, head) = provider.call().await;
                connection.body(&head).await;
                connection.send(said).await;
                if by == HangUp::Resetting {
                    connection.reset();
                }
            };

            let ((), answer) = tokio::join!(provider_side, pool.raw_call(call("closes", b"{}")));
            CLOSED.check(&answer);
        }
    }

    assert_eq!(
        pool.client("closes").await["provider"]["status"],
        "reachable",
        "it does take connections"
    );
}

#[derive(Clone, Copy, PartialEq)]
enum HangUp {
    Closing,
    Resetting,
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_provider_garbage() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("garbage", &provider.url).await;

    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));

    for said in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "220 smtp.example ESMTP\r\n",
        "HTTP/1.1 two hundred\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}",
        &long,
        &many,
    ] {
        let provider_side = async {
            let (mut connection, head) = provider.call().await;
            connection.body(&head).await;
            // The relay may hang up in the middle.
            let _ = connection.try_send(said).await;
            connection
        };

        let (_connection, answer) =
            tokio::join!(provider_side, pool.raw_call(call("garbage", b"{}")));
        GARBAGE.check(&answer);
    }

    let (_, answer) = tokio::join!(provider.answer(DONE), pool.raw_call(call("garbage", b"{}")));

    assert_eq!(answer.0.status(), 200);
}

#[tokio::test]
async fn a_silent_provider_times_out_and_its_call_is_cancelled() {
    const PATIENCE: Duration = Duration::from_secs(1);

    let pool = Pool::with(|server| server.mcp.first_byte_timeout = PATIENCE).await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("silent", &provider.url).await;

    for method in ["GET", "POST"] {
        let body = if method == "POST" { &b"{}"[..] } else { b"" };
        let provider_side = async {
            let (mut connection, head) = provider.call().await;
            connection.body(&head).await;
            connection.rest_of_connection(&mut Vec::new()).await;
        };

        let called = Instant::now();
        let call = pool.raw_call(http_request(method, "/api/mcp/id/silent", "", body));
        let ((), answer) = tokio::join!(provider_side, call);
        LATE.check(&answer);
        let waited = called.elapsed();

        assert!(
            PATIENCE <= waited && waited < 2 * PATIENCE,
            "{method}: {waited:?}"
        );
    }

    let (_, answer) = tokio::join!(provider.answer(DONE), pool.raw_call(call("silent", b"{}")));

    assert_eq!(answer.0.status(), 200);
}

#[tokio::test]
async fn a_slow_upload_causes_no_timeout() {
    let pool = Pool::with(|server| {
        server.mcp.first_byte_timeout = Duration::from_millis(500);
        server.state.interval = Duration::from_millis(100);
    })
    .await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("upload", &provider.url).await;

    let snapshots = pool
        .http
        .get(format!("{}/api/state/stream", pool.url))
        .bearer_auth(API_KEY)
        .send()
        .await;
    let mut snapshots = snapshots.unwrap();
    let started = Instant::now();
    let mut caller = RawHttp::connect(&pool.url).await;
    caller
        .send(http_request(
            "POST",
            "/api/mcp/id/upload",
            "content-length: 10\r\n",
            b"",
        ))
        .await;
    let (mut connection, head) = provider.call().await;

    for byte in b"0123456789" {
        soon("the next snapshot", snapshots.chunk())
            .await
            .unwrap()
            .unwrap();
        caller.send([*byte]).await;
    }

    assert!(
        started.elapsed() > Duration::from_millis(500),
        "the upload took longer than the timeout"
    );
    assert_eq!(connection.body(&head).await, b"0123456789");

    connection.send(DONE).await;

    assert_eq!(caller.head().await.status(), 200);
}

#[tokio::test]
async fn an_aborted_answer_is_aborted_behind_its_last_byte() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("breaks", &provider.url).await;

    for (said, arrives) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
            "only this",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n",
            "only this",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n5\r\nthi",
            "only thisthi",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\nnot hex\r\n",
            "only this",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            "data: 1\n\n",
        ),
    ] {
        let mut caller = RawHttp::connect(&pool.url).await;
        caller.send(call("breaks", b"{}")).await;
        let (mut connection, head) = provider.call().await;
        connection.body(&head).await;
        connection.send(said).await;
        let head = caller.head().await;
        drop(connection);
        let (body, end) = caller.body_and_end(&head).await;

        assert_eq!(head.status(), 200, "{said}");
        assert_eq!(String::from_utf8_lossy(&body).as_ref(), arrives, "{said}");
        assert_eq!(end, BodyEnd::Aborted, "{said}");
    }

    let client = pool
        .until_client("breaks", "they are over", |client| client["inflight"] == 0)
        .await;

    assert_eq!(client["errors_total"], 5);
    assert_eq!(client["last_error"]["error"], "broken");
}

#[tokio::test]
async fn a_reset_in_the_middle_of_an_answer_aborts_it() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("resets", &provider.url).await;

    let mut caller = RawHttp::connect(&pool.url).await;
    caller.send(call("resets", b"{}")).await;
    let (mut connection, head) = provider.call().await;
    connection.body(&head).await;
    connection
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n")
        .await;
    caller.head().await;

    assert_eq!(caller.chunk().await.unwrap().unwrap(), b"only this");

    connection.reset();

    assert_eq!(caller.chunk().await, Err(BodyEnd::Aborted));
}

#[tokio::test]
async fn a_provider_of_http_1_0_is_as_good_as_any() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("old", &provider.url).await;

    for said in [
        "HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{}",
        "HTTP/1.0 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let (_, (head, body)) =
            tokio::join!(provider.answer(said), pool.raw_call(call("old", b"{}")));

        assert_eq!(head.status(), 200, "{said}");
        assert_eq!(body.as_slice(), &b"{}"[..], "{said}");
        assert_eq!(head.line, "HTTP/1.1 200 OK");
    }
}

/// It gets no call twice.
#[tokio::test]
async fn a_provider_that_closes_after_each_answer_loses_no_call() {
    const CALLS: usize = 200;

    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let _relay = pool.relay("once", &provider.url).await;

    let (execute, mut executed) = mpsc::channel(1);
    let mut provider_side = JoinSet::new();

    provider_side.spawn(async move {
        loop {
            let (mut connection, head) = provider.call().await;
            let body = connection.body(&head).await;
            // Without `connection: close`, as servers with a short keep-alive time do.
            connection
                .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .await;
            connection.try_shut_down().await.unwrap();
            // A call that met the closing would be lost, so the relay must hang up before the next
            // one comes.
            connection.rest_of_connection(&mut Vec::new()).await;
            execute.send(body).await.unwrap();
        }
    });
    let mut all = HashSet::new();

    for index in 0..CALLS {
        let message = tools_call(index as u64, "count");
        let answer = pool.post("once", &message).await;

        assert_eq!(
            answer.status(),
            200,
            "call {index}: {:?}",
            answer.headers().get("llamapool-error")
        );

        let body = soon("the relay hangs up", executed.recv()).await.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), message);
        assert!(all.insert(body), "call {index} came twice");
    }

    assert_eq!(all.len(), CALLS);
    assert!(executed.try_recv().is_err(), "a call came that nobody made");
}

#[tokio::test]
async fn a_provider_that_dies_and_comes_back_is_seen_to_do_so() {
    let pool = Pool::start().await;
    let provider = RawProvider::bind().await;

    let url = provider.url.clone();
    let _relay = pool
        .relay_with("comes", &url, |relay| {
            http_provider(relay).probe_interval = Duration::from_millis(50);
        })
        .await;

    let (_, answer) = tokio::join!(provider.answer(DONE), pool.raw_call(call("comes", b"{}")));

    assert_eq!(answer.0.status(), 200);

    let client = pool.client("comes").await;
    assert_eq!(client["status"], "idle");
    assert_eq!(client["provider"]["status"], "reachable");

    let since = client["provider"]["since"].clone();
    let connected_at = client["connected_at"].clone();

    drop(provider);
    let is_down = |client: &Value| client["provider"]["status"] == "unreachable";
    let client = pool
        .until_client("comes", "its provider is gone", is_down)
        .await;

    assert_eq!(client["status"], "not_ready");
    assert_eq!(client["connected_at"], connected_at);
    assert!(
        client["provider"]["error"]
            .as_str()
            .is_some_and(|error| error.contains("refused")),
        "{client}"
    );
    assert!(client["provider"]["since"].as_str() > since.as_str());

    UNREACHABLE.check(&pool.raw_call(call("comes", b"{}")).await);

    let provider = RawProvider::bind_again(&url).await;

    let is_up = |client: &Value| client["provider"]["status"] == "reachable";
    let client = pool
        .until_client("comes", "its provider is back", is_up)
        .await;

    assert_eq!(client["status"], "idle");
    assert_eq!(client["provider"]["error"], Value::Null);

    let (_, answer) = tokio::join!(provider.answer(DONE), pool.raw_call(call("comes", b"{}")));
    assert_eq!(answer.0.status(), 200);
    assert_eq!(
        pool.client("comes").await["connected_at"],
        connected_at,
        "the relay stayed all the time"
    );
}

/// Builds a call with a body.
fn call(id: &str, body: &[u8]) -> Vec<u8> {
    http_request("POST", &format!("/api/mcp/id/{id}"), "", body)
}
