//! The connection from the relay to the server: forms of the address, TLS, and servers that do not
//! answer. Proxies are in `proxies.rs`.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use tokio::net::TcpListener;

use crate::harness::{AT_ONCE, Pool, Process, Provider, Settings, TlsFront, tools_call};

/// Checks that a call through the relay is answered.
pub(crate) async fn works(pool: &Pool, id: &str) {
    pool.connected(id).await;
    let answer = pool.post(id, &tools_call(1, "echo")).await;

    assert_eq!(
        answer.json::<serde_json::Value>().await.unwrap(),
        tools_call(1, "echo")
    );
}

/// Waits for the end of a relay that does not reconnect. Returns its last line.
pub(crate) async fn last_line(relay: &mut Process) -> String {
    let (status, log) = relay.status_and_log().await;
    assert_eq!(status.code(), Some(1), "{log}");
    log.lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn the_server_may_be_named_in_every_form() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let tls = TlsFront::for_server(&pool.url).await;
    let ca = [("CA_FILE", tls.ca_file.path().to_str().unwrap())];
    let plain = format!("127.0.0.1:{}", pool.port());
    let secure = format!("localhost:{}", tls.port);
    let forms = [
        format!("http://{plain}"),
        format!("http://{plain}/"),
        format!("ws://{plain}"),
        format!("ws://{plain}/api/mcp/connect"),
        format!("http://{plain}/api/mcp/connect"),
        format!("ws://localhost:{}", pool.port()),
        format!("https://{secure}"),
        format!("wss://{secure}/"),
        format!("wss://{secure}/api/mcp/connect"),
    ];

    for (number, url) in forms.iter().enumerate() {
        let id = format!("form-{number}");
        let _relay = Pool::relay_to(url, &id, &provider.url, &ca);
        works(&pool, &id).await;
    }
}

/// Without the setting the log gives the reason of the failure.
#[tokio::test]
async fn a_private_authority_is_trusted_only_if_it_is_configured() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let tls = TlsFront::for_server(&pool.url).await;
    let other = TlsFront::for_server(&pool.url).await;
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let url = format!("wss://localhost:{}", tls.port);
    let other_ca = path(other.ca_file.path());

    for settings in [&[][..], &[("CA_FILE", other_ca.as_str())]] {
        let line = last_line(&mut Pool::relay_once(&url, &provider.url, settings)).await;
        println!("{line}");

        assert!(
            line.contains("cannot connect to https://localhost")
                && line.contains("invalid peer certificate"),
            "{line}"
        );
    }

    let ca = path(tls.ca_file.path());
    let other_name = format!("wss://127.0.0.1:{}", tls.port);
    let line = last_line(&mut Pool::relay_once(
        &other_name,
        &provider.url,
        &[("CA_FILE", &ca)],
    ))
    .await;
    println!("{line}");

    assert!(line.contains("not valid for name \"127.0.0.1\""), "{line}");

    let _relay = Pool::relay_to(&url, "trusted", &provider.url, &[("CA_FILE", &ca)]);

    works(&pool, "trusted").await;
}

#[tokio::test]
async fn a_bad_file_of_authorities_ends_the_start_and_is_named() {
    let provider = Provider::echoing().await;

    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_str().unwrap();

    for (file, reason) in [
        ("/nowhere/ca.pem", "No such file"),
        (empty, "has no certificate, expected PEM"),
    ] {
        let line = last_line(&mut Pool::relay_once(
            "wss://localhost:9",
            &provider.url,
            &[("CA_FILE", file)],
        ))
        .await;
        assert!(
            line.starts_with(&format!("llamapool: CA_FILE {file:?}")) && line.contains(reason),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_silent_server_or_proxy_is_given_up_after_connect_timeout() {
    let provider = Provider::echoing().await;

    let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = hanging.local_addr().unwrap();
    let plain = format!("ws://{address}");
    let secure = format!("wss://{address}");
    let proxy = format!("http://{address}");
    let cases: [(&str, Settings<'_>, &str); 3] = [
        (&plain, &[], ""),
        (&secure, &[], ""),
        (
            "ws://server.example",
            &[("HTTP_PROXY", &proxy)],
            " (through the proxy http://127.0.0.1",
        ),
    ];

    for (url, settings, way) in cases {
        let settings: Vec<_> = settings
            .iter()
            .copied()
            .chain([("CONNECT_TIMEOUT", "200ms")])
            .collect();
        let began = Instant::now();
        let line = last_line(&mut Pool::relay_once(url, &provider.url, &settings)).await;
        println!("{line}");

        assert!(began.elapsed() < 2 * AT_ONCE);
        assert!(
            line.contains("within 200ms, see CONNECT_TIMEOUT") && line.contains(way),
            "{line}"
        );
    }
}

/// Neither an expired certificate nor a plain answer behind `wss` is taken.
#[tokio::test]
async fn a_connection_without_sound_tls_is_given_up() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let expired = TlsFront::expired(&pool.url).await;
    let ca = expired.ca_file.path().to_str().unwrap();

    for (port, reason) in [
        (expired.port.to_string(), "certificate expired"),
        (pool.port().to_owned(), "the port does not speak TLS"),
    ] {
        let url = format!("wss://localhost:{port}");
        let settings = [("CA_FILE", ca)];

        let line = last_line(&mut Pool::relay_once(&url, &provider.url, &settings)).await;

        assert!(line.contains(reason), "{line}");
    }
}

/// A redirect would send the worker key to another place, perhaps without TLS.
#[tokio::test]
async fn a_redirect_of_the_upgrade_is_not_followed() {
    let provider = Provider::echoing().await;
    let pool = Pool::start().await;
    let target = format!("{}/api/mcp/connect", pool.url);

    for status in [301, 302, 303, 307, 308] {
        let target = target.clone();
        let redirecting = Provider::answering(move |_| {
            let answer = http::Response::builder()
                .status(status)
                .header("location", &target)
                .body(axum::body::Body::empty());
            async { answer.unwrap() }
        })
        .await;

        let line = last_line(&mut Pool::relay_once(&redirecting.url, &provider.url, &[])).await;

        assert!(line.contains(&format!("status {status}")), "{line}");
    }
    assert_eq!(pool.state().await["mcp"]["clients"], serde_json::json!([]));
}
