//! Proxies on the way from the relay to the server, chosen from those of an environment.

use std::net::Ipv4Addr;

use serde_json::json;

use crate::dialling::{last_line, works};
use crate::harness::{ConnectProxy, Pool, Provider, Settings, SocksProxy, TlsFront};

/// An address at which nothing listens.
fn closed_address() -> String {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
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
    let ways: [(&str, &str, Settings<'_>); 5] = [
        ("plain", &plain, &[("HTTP_PROXY", &open)]),
        (
            "secure",
            &secure,
            &[("HTTPS_PROXY", &open), ("CA_FILE", ca)],
        ),
        ("any", &secure, &[("ALL_PROXY", &open), ("CA_FILE", ca)]),
        ("any-plain", &plain, &[("all_proxy", &open)]),
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

/// Its certificate is checked as the server's is, and what it is asked stays within TLS.
#[tokio::test]
async fn a_relay_dials_through_a_proxy_that_speaks_tls() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let proxy = ConnectProxy::tunnelling().await;
    let tls = TlsFront::for_server(&format!("http://{}", proxy.address)).await;
    let through = format!("https://me:hush@localhost:{}", tls.port);
    let plain = format!("ws://localhost:{}", pool.port());

    let untrusted = [("HTTP_PROXY", through.as_str())];
    let line = last_line(&mut Pool::relay_once(&plain, &provider.url, &untrusted)).await;

    assert!(line.contains("invalid peer certificate"), "{line}");
    assert!(!line.contains("hush"), "{line}");
    assert_eq!(proxy.heads(), Vec::<String>::new());

    let ca = tls.ca_file.path().to_str().unwrap();
    let settings = [("HTTP_PROXY", through.as_str()), ("CA_FILE", ca)];
    let _relay = Pool::relay_to(&plain, "tls-proxy", &provider.url, &settings);

    works(&pool, "tls-proxy").await;

    assert!(proxy.heads()[0].contains("Basic bWU6aHVzaA=="));
}

/// With the server's name resolved here and there, with TLS to the server, and with a password.
#[tokio::test]
async fn a_relay_dials_through_socks() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let open = SocksProxy::open().await;
    let closed = SocksProxy::with_login("me", "open sesame").await;
    let tls = TlsFront::for_server(&pool.url).await;
    let ca = tls.ca_file.path().to_str().unwrap();
    let plain = format!("ws://localhost:{}", pool.port());
    let by_address = format!("ws://127.0.0.1:{}", pool.port());
    let secure = format!("wss://localhost:{}", tls.port);
    let here = format!("socks5://{}", open.address);
    let there = format!("socks5h://{}", open.address);
    let login = format!("socks5h://me:open%20sesame@{}", closed.address);
    let name = format!("name localhost:{}", pool.port());
    let address = format!("address 127.0.0.1:{}", pool.port());
    let secure_name = format!("name localhost:{}", tls.port);
    let ways: [(&str, &str, Settings<'_>, &str); 5] = [
        ("there", &plain, &[("ALL_PROXY", &there)], &name),
        ("here", &plain, &[("ALL_PROXY", &here)], &address),
        ("address", &by_address, &[("HTTP_PROXY", &there)], &address),
        ("login", &plain, &[("ALL_PROXY", &login)], &name),
        (
            "secure",
            &secure,
            &[("ALL_PROXY", &there), ("CA_FILE", ca)],
            &secure_name,
        ),
    ];

    for (id, url, settings, asked) in ways {
        let relay = Pool::relay_to(url, id, &provider.url, settings);

        works(&pool, id).await;

        let last = [open.asked(), closed.asked()].concat();
        assert!(last.iter().any(|text| text == asked), "{id}: {last:?}");
        assert!(relay.lines_with("sesame").is_empty(), "{}", relay.log());
    }
}

#[tokio::test]
async fn hosts_that_no_proxy_lists_are_reached_without_it() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let proxy = ConnectProxy::tunnelling().await;
    let through = format!("http://{}", proxy.address);
    let named = format!("ws://localhost:{}", pool.port());
    let by_address = format!("ws://127.0.0.1:{}", pool.port());
    let with_port = format!("127.0.0.1:{}", pool.port());

    for (number, (url, list)) in [
        (&named, "localhost"),
        (&named, "other.example, localhost"),
        (&named, "*"),
        (&by_address, "*"),
        (&by_address, "127.0.0.0/8"),
        (&by_address, &with_port),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("direct-{number}");
        let settings = [("HTTP_PROXY", through.as_str()), ("NO_PROXY", list)];
        let _relay = Pool::relay_to(url, &id, &provider.url, &settings);
        works(&pool, &id).await;
    }

    assert_eq!(proxy.heads(), Vec::<String>::new());

    let settings = [
        ("HTTP_PROXY", through.as_str()),
        ("NO_PROXY", "other.example"),
    ];
    let _relay = Pool::relay_to(&named, "proxied", &provider.url, &settings);

    works(&pool, "proxied").await;

    assert_eq!(proxy.heads().len(), 1);
}

/// An environment has proxies for other programs, of kinds that only those understand.
#[tokio::test]
async fn a_proxy_that_is_not_used_does_not_matter() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;
    let url = format!("ws://localhost:{}", pool.port());
    let ways: [(&str, Settings<'_>); 2] = [
        ("other-scheme", &[("HTTPS_PROXY", "ftp://proxy.example")]),
        (
            "excepted",
            &[("ALL_PROXY", "ftp://proxy"), ("NO_PROXY", "localhost")],
        ),
    ];

    for (id, settings) in ways {
        let _relay = Pool::relay_to(&url, id, &provider.url, settings);

        works(&pool, id).await;
    }

    let unusable = [("all_proxy", "ftp://me:hush@proxy.example:21")];
    let line = last_line(&mut Pool::relay_once(&url, &provider.url, &unusable)).await;

    assert!(
        line.contains(
            "the proxy \"ftp://proxy.example:21\" (environment variable all_proxy) cannot be used"
        ),
        "{line}"
    );
}

/// A proxy is asked for the port of the server's scheme, and not for that of https.
#[tokio::test]
async fn a_server_without_a_port_is_asked_for_at_its_default_port() {
    let provider = Provider::echoing().await;
    let proxy =
        ConnectProxy::answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let through = format!("http://{}", proxy.address);
    let settings = [("ALL_PROXY", through.as_str())];

    for (url, target) in [
        ("ws://server.example", "server.example:80"),
        ("wss://server.example", "server.example:443"),
    ] {
        let before = proxy.heads().len();

        last_line(&mut Pool::relay_once(url, &provider.url, &settings)).await;

        let head = &proxy.heads()[before];
        assert!(head.starts_with(&format!("CONNECT {target} ")), "{head}");
    }
}

#[tokio::test]
async fn a_relay_reports_why_a_proxy_refuses_it() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    let auth = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
    let mut cases = vec![
        ("http", closed_address(), "Connection refused"),
        ("socks5", closed_address(), "Connection refused"),
    ];
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
        cases.push(("http", proxy.address.clone(), reason));
        proxies.push(proxy);
    }
    let stranger = SocksProxy::with_login("other", "password").await;
    cases.push((
        "socks5h",
        stranger.address.clone(),
        "credentials not accepted",
    ));
    let refusing = SocksProxy::refusing(2).await;
    cases.push((
        "socks5",
        refusing.address.clone(),
        "does not support user/pass",
    ));

    for (scheme, address, reason) in &cases {
        let proxy = format!("{scheme}://user:hush@{address}");
        let line = last_line(&mut Pool::relay_once(
            &pool.url,
            &provider.url,
            &[("HTTP_PROXY", &proxy)],
        ))
        .await;
        println!("{line}");

        let way =
            format!("(through the proxy {scheme}://{address}, environment variable HTTP_PROXY)");
        assert!(line.contains(&way) && line.contains(reason), "{line}");
        assert!(line.contains("NO_PROXY"), "a local server: {line}");
        assert!(!line.contains("hush"), "{line}");
    }

    assert_eq!(pool.state().await["mcp"]["clients"], json!([]));
}

/// Without a login, what the proxy answers to the request itself is the reason.
#[tokio::test]
async fn a_relay_reports_the_refusal_of_a_socks_proxy() {
    let pool = Pool::start().await;
    let provider = Provider::echoing().await;

    for (reply, reason) in [
        (2, "connection not allowed"),
        (5, "connection refused"),
        (99, "failed parsing"),
    ] {
        let proxy = SocksProxy::refusing(reply).await;
        let through = format!("socks5h://{}", proxy.address);
        let settings = [("ALL_PROXY", through.as_str())];

        let line = last_line(&mut Pool::relay_once(&pool.url, &provider.url, &settings)).await;

        assert!(line.contains(reason), "{line}");
    }

    assert_eq!(pool.state().await["mcp"]["clients"], json!([]));
}
