//! The checks of the fuzz targets in `fuzz/` that concern the way to the server: proxies, and the
//! server's response.
//!
//! Compiled with the feature `fuzzing` alone; not a part of the interface.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Uri};
use http_body_util::Full;
use llamapool_wire::{RelayId, Secret};

use super::DialError;
use super::handshake::{check_response, read_refusal};
use super::proxy::{Proxy, select_proxy};
use super::transport;
use crate::config::{ProxySetting, ProxySettings};

/// Checks that the URL of a proxy is used or refused, and that no message shows its password.
pub fn proxy(url: &str, exceptions: &str, server: &str) {
    let Ok(target) = Uri::try_from(server) else {
        return;
    };
    let settings = ProxySettings {
        all: Some(ProxySetting {
            url: Secret::new(url),
            set_by: "ALL_PROXY".to_owned(),
        }),
        exceptions: Some(exceptions.to_owned()),
        ..ProxySettings::default()
    };

    let shown = match select_proxy(&settings, &target) {
        Ok(None) => return,
        Ok(Some(proxy)) => {
            assert!(proxy.uri.port_u16().is_some(), "{}", proxy.uri);
            format!("{} {}", proxy.shown, proxy.uri)
        }
        Err(error) => error.to_string(),
    };
    // A scheme is shown: it is no part of the login.
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let is_login = url.rsplit_once('@').is_some_and(|(login, host)| {
        login.contains("hunter2") && !host.contains("hunter2") && !scheme.contains("hunter2")
    });
    assert!(!is_login || !shown.contains("hunter2"), "{shown}");
}

/// Checks that a proxy's answer is an end or a connection, for every kind of proxy.
pub async fn proxy_answer(url: &'static str, answer: &[u8]) {
    let settings = ProxySettings {
        all: Some(ProxySetting {
            url: Secret::new(url),
            set_by: "ALL_PROXY".to_owned(),
        }),
        ..ProxySettings::default()
    };
    let target = Uri::from_static("http://server.example:8080/");
    let proxy: Option<Proxy> = select_proxy(&settings, &target).unwrap_or_default();

    transport::fuzzing(&proxy.expect("a proxy"), &target, answer).await;
}

/// Checks that a server's response is a tunnel with one valid id for each provider, or an error of
/// bounded length that no terminal interprets.
pub async fn server_response(status: StatusCode, headers: HeaderMap, body: Bytes) {
    let wanted: [Option<RelayId>; 2] = [None, "b".parse().ok()];
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;

    match check_response(&response, &wanted, "dGhlIHNhbXBsZSBub25jZQ==") {
        Ok((ids, version)) => {
            assert_eq!(ids.len(), wanted.len());
            assert_eq!(ids[1].as_str(), "b");
            assert!(!version.as_str().contains(char::is_control));
        }
        Err(error) => check_text(&error),
    }
    check_text(&read_refusal(response, "/elsewhere").await);
}

fn check_text(error: &DialError) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 8 * 1024, "{} bytes", text.len());
}
