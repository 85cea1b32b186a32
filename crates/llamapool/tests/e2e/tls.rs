//! TLS in the process of the server: certificates in files, replaced while it runs, and what comes to
//! the port that is no TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{AlertDescription, Error};

use crate::dialling::last_line;
use crate::harness::{
    Authority, Pool, Provider, RawHttp, TlsServer, http_request, json_answer, soon,
};

/// The log's line of a certificate that was replaced.
const RENEWED: &str = "a certificate was read anew and is presented";
/// The log's line of a certificate that cannot replace the one of before.
const REFUSED: &str = "a new certificate cannot be used: the one of before stays";
/// Files are looked at so often where a test waits for it.
const OFTEN: (&str, &str) = ("TLS_RELOAD_INTERVAL", "20ms");
/// Files are looked at so rarely that a test does not see it.
const RARELY: (&str, &str) = ("TLS_RELOAD_INTERVAL", "1h");

/// A provider that answers with the scheme of the URL that callers use.
async fn provider() -> Provider {
    Provider::answering(|request: axum::extract::Request| async move {
        let scheme = request.headers().get("x-forwarded-proto").cloned();
        let scheme = scheme.and_then(|value| value.to_str().map(str::to_owned).ok());
        json_answer(&serde_json::json!({ "scheme": scheme }).to_string())
    })
    .await
}

/// Returns the alert by which a handshake was ended.
fn alert(result: std::io::Result<TlsStream<TcpStream>>) -> Option<AlertDescription> {
    let error = result.err()?;
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn relays_and_callers_use_tls_by_both_versions_of_http() {
    let mut server = TlsServer::start(&[]).await;
    let provider = provider().await;
    let _relay = server.relay("tls", &provider.url).await;

    for (client, version) in [
        (server.client(), http::Version::HTTP_2),
        (server.http1_client(), http::Version::HTTP_11),
    ] {
        let answer = server.call(&client, "tls").await.unwrap();

        assert_eq!(answer.head.version, version);
        assert_eq!(answer.head.status, 200);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["scheme"], "https");
    }

    let certificates = server.certificates().await;
    assert_eq!(certificates[0]["names"], serde_json::json!(["localhost"]));
    assert_eq!(certificates[0]["source"], "file");
    assert_eq!(certificates[0]["days_left"], 89);
    let metrics = server.get(&server.client(), "/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("llamapool_certificate_not_after_seconds{certificate="));
}

#[tokio::test]
async fn a_relay_refuses_a_certificate_of_an_unknown_authority() {
    let server = TlsServer::start(&[]).await;
    let provider = Provider::echoing().await;

    let url = server.url("wss", "");
    let line = last_line(&mut Pool::relay_once(&url, &provider.url, &[])).await;

    assert!(line.contains("invalid peer certificate"), "{line}");
}

#[tokio::test]
async fn sighup_reads_the_files_again() {
    let mut server = TlsServer::start(&[RARELY]).await;
    server.write(&server.authority.issue(&["localhost", "other.example"]));
    let other = || server.handshake(server.client_config(), "other.example");
    assert_eq!(
        alert(other().await),
        Some(AlertDescription::UnrecognisedName)
    );

    server.server.signal("HUP").await;
    server.server.event(RENEWED).await;

    let stream = server
        .handshake(server.client_config(), "other.example")
        .await;
    assert!(stream.is_ok(), "{stream:?}");
    assert!(server.server.is_running());
}

#[tokio::test]
async fn a_wrong_certificate_is_reported_and_the_old_one_stays() {
    let mut server = TlsServer::start(&[OFTEN]).await;
    let next = server.authority.issue(&["localhost", "other.example"]);

    fs::write(server.folder().join("chain.pem"), &next.chain).unwrap();
    let event = server.server.event(REFUSED).await;

    assert_eq!(event["level"], "ERROR");
    let error = event["error"].as_str().unwrap();
    assert!(
        error.contains("does not belong") && error.contains("key.pem"),
        "{error}"
    );
    let certificates = server.certificates().await;
    assert_eq!(certificates[0]["names"], serde_json::json!(["localhost"]));
    assert_eq!(certificates[0]["failures_total"], 1);
    assert_eq!(certificates[0]["last_error"]["message"], error);

    let ended = SystemTime::now() - Duration::from_secs(60);
    server.write(&server.authority.issue_until(&["localhost"], ended));
    let expired = |line: &str| line.contains("expired 1 minutes ago");
    server.server.line("it is refused", expired).await;

    server.write(&next);
    server.server.event(RENEWED).await;
    assert_eq!(server.certificates().await[0]["last_error"], Value::Null);
}

/// Callers open connections all the time while the files are replaced again and again.
#[tokio::test]
async fn no_call_fails_while_certificates_are_replaced() {
    const SWAPS: usize = 20;

    let mut server = TlsServer::start(&[OFTEN]).await;
    let provider = provider().await;
    let _relay = server.relay("tls", &provider.url).await;
    let is_over = Arc::new(AtomicBool::new(false));

    let config = server.client_config();
    let url = server.url("https", "/api/mcp/id/tls");
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let is_over = is_over.clone();
        let config = config.clone();
        let url = url.clone();
        callers.spawn(async move {
            let mut calls = 0;
            while !is_over.load(Ordering::Relaxed) {
                let connector = hyper_rustls::HttpsConnectorBuilder::new()
                    .with_tls_config(config.clone())
                    .https_only()
                    .enable_all_versions()
                    .build();
                let executor = hyper_util::rt::TokioExecutor::new();
                let client = hyper_util::client::legacy::Client::builder(executor).build(connector);
                let request = http::Request::post(&url).body(http_body_util::Full::default());
                let answer = crate::harness::TlsAnswer::of(&client, request.unwrap()).await;
                assert_eq!(
                    answer.map(|answer| answer.head.status),
                    Ok(http::StatusCode::OK)
                );
                calls += 1;
            }
            calls
        });
    }
    for swap in 1..=SWAPS {
        server.write(&server.authority.issue(&["localhost"]));
        let renewed = |line: &str| line.contains(RENEWED);
        server
            .server
            .nth_line(swap, "it is replaced", renewed)
            .await;
        let answer = server.call(&server.client(), "tls").await.unwrap();
        assert_eq!(answer.head.status, 200);
    }
    is_over.store(true, Ordering::Relaxed);

    while let Some(calls) = callers.join_next().await {
        assert!(calls.unwrap() > 0);
    }
}

#[tokio::test]
async fn an_unknown_name_is_refused_and_no_name_gets_the_first() {
    let server = TlsServer::start(&[]).await;
    let config = server.client_config();

    let unknown = server.handshake(config.clone(), "other.example").await;
    assert_eq!(alert(unknown), Some(AlertDescription::UnrecognisedName));

    let nameless = {
        let mut config = config;
        config.enable_sni = false;
        server.handshake(config, "localhost").await
    };
    assert!(nameless.is_ok(), "{nameless:?}");
}

#[tokio::test]
async fn plain_http_on_the_port_of_tls_is_told_to_use_https() {
    let server = TlsServer::start(&[]).await;

    let mut caller = RawHttp::connect(&server.url("http", "")).await;
    caller
        .send(http_request("POST", "/api/mcp/id/x", "", &[b'x'; 10_000]))
        .await;
    let head = caller.head().await;
    let body = caller.body(&head).await;

    assert_eq!(head.status(), 400);
    let body = String::from_utf8(body).unwrap();
    assert_eq!(
        body,
        "this port speaks https: use a URL that begins with https://\n"
    );
    assert!(caller.try_head().await.is_none(), "the connection ends");
}

/// RFC 8446, 4.2.1: a client of TLS 1.1 has that as its `legacy_version` and names no other.
#[tokio::test]
async fn tls_1_1_is_refused_by_an_alert() {
    let server = TlsServer::start(&[]).await;
    let hello = {
        let mut body = vec![3, 2];
        body.extend([7; 32]);
        body.push(0);
        body.extend([0, 2, 0xc0, 0x13, 1, 0]);
        let length = u8::try_from(body.len()).unwrap();
        let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend(body);
        record
    };

    let mut stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    soon("the connection ends", stream.read_to_end(&mut answer))
        .await
        .unwrap();

    // A fatal alert, handshake_failure: such a client names no signature algorithms either.
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 40]);
}

#[tokio::test]
async fn stalled_handshakes_stop_no_one_and_end_in_time() {
    let mut server = TlsServer::start(&[("HEADER_TIMEOUT", "3s")]).await;
    let provider = provider().await;
    let _relay = server.relay("tls", &provider.url).await;

    let mut stalled = Vec::new();
    for number in 0..1000 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port))
            .await
            .unwrap();
        if number % 2 == 0 {
            // The beginning of a record that never ends.
            stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        }
        stalled.push(stream);
    }
    for client in [server.client(), server.http1_client()] {
        let answer = server.call(&client, "tls").await.unwrap();
        assert_eq!(answer.head.status, 200);
    }

    for mut stream in stalled {
        let read = soon("it is closed", stream.read(&mut [0; 16])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    // A connection is counted after it was closed.
    let ended = "llamapool_tls_handshake_failures_total{reason=\"ended\"} 1000";
    let counted = async {
        loop {
            let metrics = server.get(&server.client(), "/metrics").await;
            if String::from_utf8_lossy(&metrics.body).contains(ended) {
                break;
            }
        }
    };
    soon("all are counted", counted).await;
}

#[tokio::test]
async fn a_server_without_a_right_certificate_does_not_start() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let refused = async |expected: &[&str]| {
        let mut server = TlsServer::process(folder.path(), &[]);
        let (status, log) = server.status_and_log().await;
        assert!(!status.success(), "{log}");
        for text in expected {
            assert!(log.contains(text), "{text} is not in {log}");
        }
    };
    let write = |chain: &str, key: &str, mode: u32| {
        fs::write(folder.path().join("chain.pem"), chain).unwrap();
        let path = folder.path().join("key.pem");
        fs::write(&path, key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let good = authority.issue(&["localhost"]);

    refused(&["chain.pem", "cannot be read"]).await;
    write(&good.chain, &good.key, 0o644);
    refused(&["key.pem", "mode 0644", "0600"]).await;
    write(&good.chain, &authority.issue(&["localhost"]).key, 0o600);
    refused(&["chain.pem", "key.pem", "does not belong"]).await;
    write(&good.chain[..good.chain.len() / 2], &good.key, 0o600);
    refused(&["chain.pem", "invalid PEM"]).await;
    let ended = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
    let old = authority.issue_until(&["localhost"], ended);
    write(&old.chain, &old.key, 0o600);
    refused(&["chain.pem", "expired 3 days ago"]).await;
}

/// The port of plain HTTP.
async fn plain_port(server: &mut TlsServer) -> String {
    let event = server.server.event("the server listens").await;
    let address = event["plain_http"].as_str().unwrap();
    let port = address.trim_end_matches(')').rsplit(':').next().unwrap();
    format!("http://127.0.0.1:{port}")
}

#[tokio::test]
async fn the_plain_port_redirects_readers_and_refuses_the_rest() {
    let public = ("PUBLIC_URL", "https://pool.example");
    let keys = ("ALLOW_WEAK_KEYS", "true");
    let mut server = TlsServer::start(&[("HTTP_PORT", "0"), public, keys]).await;
    let url = plain_port(&mut server).await;
    let ask = async |method: &str, target: &str, fields: &str, body: &[u8]| {
        let mut caller = RawHttp::connect(&url).await;
        caller
            .send(http_request(method, target, fields, body))
            .await;
        caller.head().await
    };

    let health = ask("GET", "/healthz", "", b"").await;
    assert_eq!(health.status(), 200);
    let ready = ask("GET", "/readyz", "", b"").await;
    assert_eq!(ready.status(), 200);
    let challenge = ask("GET", "/.well-known/acme-challenge/x", "", b"").await;
    assert_eq!(challenge.status(), 404);

    for method in ["GET", "HEAD"] {
        let page = ask(method, "/.well-known/x?y=1", "", b"").await;
        assert_eq!(page.status(), 308);
        assert_eq!(
            page.values("location"),
            ["https://pool.example/.well-known/x?y=1"]
        );
        assert!(page.values("strict-transport-security").is_empty());
    }

    assert_eq!(ask("POST", "/api/mcp/id/x", "", b"{}").await.status(), 403);
    assert_eq!(ask("DELETE", "/api/mcp/id/x", "", b"").await.status(), 403);
    assert_eq!(ask("GET", "/", "", b"body").await.status(), 403);
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    assert_eq!(
        ask("GET", "/api/mcp/connect", upgrade, b"").await.status(),
        403
    );
    for secret in [
        "authorization: Bearer hush-hush\r\n",
        "cookie: session=hush-hush\r\n",
    ] {
        assert_eq!(ask("GET", "/api/state", secret, b"").await.status(), 403);
    }

    let warning = "a credential was sent in the clear to HTTP_PORT: replace it, and use https";
    server.server.event(warning).await;
    assert_eq!(server.server.lines_with(warning).len(), 1, "one a minute");
    assert!(server.server.lines_with("hush-hush").is_empty());
}

/// Without a public URL only a name that a certificate proves may be in a redirect.
#[tokio::test]
async fn the_plain_port_redirects_to_no_host_that_a_caller_invents() {
    let mut server = TlsServer::start(&[("HTTP_PORT", "0")]).await;
    let url = plain_port(&mut server).await;
    let ask = async |host: &str| {
        let mut caller = RawHttp::connect(&url).await;
        let request = format!("GET /healthz2 HTTP/1.1\r\nhost: {host}\r\n\r\n");
        caller.send(request).await;
        caller.head().await
    };

    let own = ask("localhost:80").await;
    assert_eq!(own.status(), 308);
    assert_eq!(own.values("location"), [server.url("https", "/healthz2")]);
    let invented = ask("evil.example").await;
    assert_eq!(
        (invented.status(), invented.values("location").len()),
        (403, 0)
    );
}

#[tokio::test]
async fn browsers_are_kept_at_https_by_own_documents_alone() {
    const HEADER: &str = "strict-transport-security";

    let public = ("PUBLIC_URL", "https://localhost");
    let mut server = TlsServer::start(&[public, ("ALLOW_WEAK_KEYS", "true"), OFTEN]).await;
    let provider = provider().await;
    let _relay = server.relay("tls", &provider.url).await;
    let client = server.client();

    let own = server.get(&client, "/api/state").await;
    assert_eq!(own.head.headers[HEADER], "max-age=31536000");
    let call = server.call(&client, "tls").await.unwrap();
    assert!(!call.head.headers.contains_key(HEADER));

    write_self_signed(server.folder());
    server.server.event(RENEWED).await;
    let own = server.get(&client, "/healthz").await;
    assert_eq!(own.head.status, 200);
    assert!(!own.head.headers.contains_key(HEADER));
}

/// Writes a certificate that no authority has signed.
fn write_self_signed(folder: &Path) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let issued = crate::harness::Issued {
        chain: signed.cert.pem(),
        key: signed.signing_key.serialize_pem(),
    };
    crate::harness::write_pair(folder, &issued);
}
