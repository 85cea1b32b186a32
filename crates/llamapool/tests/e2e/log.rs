//! Failed calls in the log: the `X-Request-Id` of an answer leads to the reason.

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::harness::{Pool, Process, Provider, RawHttp, RawProvider, http_request};

/// Waits for the log line with this message about one request.
async fn log_line_of(process: &mut Process, req_id: &str, message: &str) -> Value {
    let is_it = |line: &str| {
        serde_json::from_str::<Value>(line)
            .is_ok_and(|event| event["req_id"] == req_id && event["message"] == message)
    };
    serde_json::from_str(&process.line(&format!("{message} {req_id}"), is_it).await).unwrap()
}

fn call(id: &str, req_id: &str, fields: &str) -> Vec<u8> {
    http_request(
        "POST",
        &format!("/api/mcp/id/{id}"),
        format!("x-request-id: {req_id}\r\n{fields}"),
        b"{}",
    )
}

#[tokio::test]
async fn a_refused_call_is_found_by_its_request_id_and_fills_no_log() {
    let mut pool = Pool::start().await;
    for (req_id, request, status, id, cause, says) in [
        (
            "no-relay",
            call("nobody", "no-relay", ""),
            503,
            json!("nobody"),
            "relay_offline",
            "no relay is connected",
        ),
        (
            "no-id",
            call("a%20b", "no-id", ""),
            503,
            Value::Null,
            "relay_offline",
            "no relay can have this id",
        ),
        (
            "evil",
            call("nobody", "evil", "origin: http://evil.example\r\n"),
            403,
            Value::Null,
            "origin_refused",
            "evil.example",
        ),
        (
            "state",
            http_request(
                "GET",
                "/api/state",
                "x-request-id: state\r\norigin: null\r\n",
                b"",
            ),
            403,
            Value::Null,
            "origin_refused",
            "null",
        ),
    ] {
        assert_eq!(pool.raw_call(request).await.0.status(), status, "{req_id}");

        let message = if req_id == "state" {
            "request refused"
        } else {
            "call refused"
        };
        let line = log_line_of(&mut pool.server, req_id, message).await;

        assert_eq!(line["level"], "DEBUG", "{line}");
        assert_eq!(line["id"], id, "{line}");
        assert_eq!(line["cause"], json!(cause), "{line}");
        assert!(line["error"].as_str().unwrap().contains(says), "{line}");
    }
}

/// With the details that the caller does not get.
#[tokio::test]
async fn a_failed_call_is_in_the_logs_of_server_and_relay() {
    let mut pool = Pool::start().await;

    // The port is bound, so that no other process gets it, and not listened on.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut relay = pool
        .relay(
            "down",
            &format!("http://{}/mcp", held.local_addr().unwrap()),
        )
        .await;

    let (answer, body) = pool.raw_call(call("down", "unreachable", "")).await;

    assert_eq!(answer.status(), 502);
    assert_eq!(answer.values("x-request-id"), ["unreachable"]);

    let internal = "Connection refused";
    assert!(!String::from_utf8(body).unwrap().contains(internal));

    let line = log_line_of(&mut relay, "unreachable", "call failed").await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["id"], "down");
    assert_eq!(line["cause"], "provider_unreachable");
    assert!(line["error"].as_str().unwrap().contains(internal), "{line}");

    let line = log_line_of(&mut pool.server, "unreachable", "call failed").await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["id"], "down");
    assert_eq!(line["cause"], "provider_unreachable");
    assert_eq!(line["outcome"], "failed");
    assert!(line["error"].is_string());
}

#[tokio::test]
async fn a_callers_fault_is_no_warning() {
    let mut pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let mut relay = pool
        .relay_with("locked", &provider.url, &[("AUTH_TOKEN", "sesame")])
        .await;

    assert_eq!(
        pool.raw_call(call("locked", "tokenless", ""))
            .await
            .0
            .status(),
        401
    );

    for process in [&mut relay, &mut pool.server] {
        let line = log_line_of(process, "tokenless", "call failed").await;
        assert_eq!(line["level"], "DEBUG", "{line}");
        assert_eq!(line["cause"], "wrong_token", "{line}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_and_a_lost_relay_are_warned_of() {
    let mut pool = Pool::start().await;
    let provider = RawProvider::bind().await;
    let mut relay = pool.relay("breaks", &provider.url).await;

    let mut caller = RawHttp::connect(&pool.url).await;
    caller.send(call("breaks", "broken", "")).await;
    let (mut connection, head) = provider.call().await;
    connection.body(&head).await;
    connection
        .send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
        .await;
    caller.head().await;
    drop(connection);
    let line = log_line_of(&mut pool.server, "broken", "call failed").await;

    assert_eq!(line["level"], "WARN");
    assert_eq!(line["id"], "breaks");
    assert_eq!(line["cause"], "broken");

    let mut caller = RawHttp::connect(&pool.url).await;
    caller.send(call("breaks", "lost", "")).await;
    let (_connection, _) = provider.call().await;
    relay.kill().await;

    assert_eq!(
        caller.head().await.values("llamapool-error"),
        ["tunnel_lost"]
    );

    let line = log_line_of(&mut pool.server, "lost", "call failed").await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["cause"], "tunnel_lost");

    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("the tunnel was lost: "),
        "the log says why: {line}"
    );
}
