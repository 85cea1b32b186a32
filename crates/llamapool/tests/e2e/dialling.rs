//! The connection from the relay to the server: forms of the address, proxies, TLS, and servers
//! that do not answer.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{
    AT_ONCE, ConnectProxy, Pool, Process, Provider, Settings, TlsFront, tools_call,
};

/// Checks that a call through the relay is answered.
async fn works(pool: &Pool, id: &str) {
    pool.connected(id).await;
    let answer = pool.post(id, &tools_call(1, "echo")).await;

    assert_eq!(
        answer.json::<serde_json::Value>().await.unwrap(),
        tools_call(1, "echo")
    );
}

/// Waits for the end of a relay that does not reconnect. Returns its last line.
async fn last_line(relay: &mut Process) -> String {
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

/// With and without TLS, and with a password for the proxy.
#[tokio::test]
async fn a_relay_dials_through_a_proxy() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let proxy = ConnectProxy::tunnelling().await;
    let tls = TlsFront::for_server(&pool.url).await;
    let ca = tls.ca_file.path().to_str().unwrap();
    let open = format!("http://{}", proxy.address);
    let with_password = format!("http://Aladdin:open%20sesame@{}", proxy.address);
    let plain = format!("ws://localhost:{}", pool.port());
    let secure = format!("wss://localhost:{}", tls.port);
    let ways: [(&str, &str, Settings<'_>); 4] = [
        ("plain", &plain, &[("HTTP_PROXY", &open)]),
        (
            "secure",
            &secure,
            &[("HTTPS_PROXY", &open), ("CA_FILE", ca)],
        ),
        ("any", &secure, &[("ALL_PROXY", &open), ("CA_FILE", ca)]),
        ("password", &plain, &[("HTTP_PROXY", &with_password)]),
    ];

    for (id, url, settings) in ways {
        let before = proxy.heads().len();
        let relay = Pool::relay_to(url, id, &provider.url, settings);

        works(&pool, id).await;
        let heads = proxy.heads().split_off(before);

        assert_eq!(
            heads.len(),
            1,
            "{id}: the provider and nothing else is reached without the proxy"
        );

        let target = url.split_once("://").unwrap().1;
        assert!(
            heads[0].starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")),
            "{}",
            heads[0]
        );

        let head = heads[0].to_ascii_lowercase();
        assert!(
            !head.contains("llamapool-") && !head.contains("bearer"),
            "{head}"
        );
        // The credentials of RFC 7617, whose space the URL encodes.
        assert_eq!(
            heads[0].contains("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            id == "password",
            "{}",
            heads[0]
        );
        assert!(relay.lines_with("sesame").is_empty(), "{}", relay.log());
    }
}

#[tokio::test]
async fn hosts_that_no_proxy_lists_are_reached_without_it() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let proxy = ConnectProxy::tunnelling().await;
    let through = format!("http://{}", proxy.address);
    let url = format!("ws://localhost:{}", pool.port());

    for (number, list) in ["localhost", "other.example, localhost", "*"]
        .into_iter()
        .enumerate()
    {
        let id = format!("direct-{number}");
        let settings = [("HTTP_PROXY", through.as_str()), ("NO_PROXY", list)];
        let _relay = Pool::relay_to(&url, &id, &provider.url, &settings);
        works(&pool, &id).await;
    }

    assert_eq!(proxy.heads(), Vec::<String>::new());

    let of_other_scheme = [("HTTPS_PROXY", through.as_str())];
    let _relay = Pool::relay_to(&url, "other-scheme", &provider.url, &of_other_scheme);

    works(&pool, "other-scheme").await;

    assert_eq!(proxy.heads(), Vec::<String>::new());

    let settings = [
        ("HTTP_PROXY", through.as_str()),
        ("NO_PROXY", "other.example"),
    ];
    let _relay = Pool::relay_to(&url, "proxied", &provider.url, &settings);

    works(&pool, "proxied").await;

    assert_eq!(proxy.heads().len(), 1);
}

#[tokio::test]
async fn a_relay_reports_why_a_proxy_refuses_it() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let gone = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let auth = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
    let mut cases = vec![(gone, "Connection refused")];
    let mut proxies = Vec::new();

    for (answer, reason) in [
        (auth, "proxy authorization required"),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
            "unsuccessful",
        ),
        ("220 smtp.example ESMTP\r\n", "unsuccessful"),
        ("", "unexpected end of file"),
    ] {
        let proxy = ConnectProxy::answering(answer).await;
        cases.push((proxy.address.clone(), reason));
        proxies.push(proxy);
    }

    for (address, reason) in &cases {
        let proxy = format!("http://user:hush@{address}");
        let line = last_line(&mut Pool::relay_once(
            &pool.url,
            &provider.url,
            &[("HTTP_PROXY", &proxy)],
        ))
        .await;
        println!("{line}");

        assert!(
            line.contains(&format!("(through the proxy http://{address})"))
                && line.contains(reason),
            "{line}"
        );
        assert!(!line.contains("hush"), "{line}");
    }

    assert_eq!(pool.state().await["mcp"]["clients"], json!([]));
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
