//! The choice of a proxy on the way to the server.
//!
//! As curl chooses: the proxy of the server's scheme, else that of all schemes (curl(1),
//! ENVIRONMENT). Only the chosen one is judged: an environment has proxies for other programs, too.

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::no_proxy::is_exception;
use crate::config::{ProxySetting, ProxySettings};

/// The port of a SOCKS proxy whose URL has none (RFC 1928, section 3).
const SOCKS_PORT: u16 = 1080;

/// A proxy on the way to the server.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// Its address as http, or as https if TLS is spoken to it. With a port.
    pub(super) uri: Uri,
    pub(super) protocol: ProxyProtocol,
    /// Its address and the place where it was set, for messages.
    pub(super) shown: String,
}

/// The protocol in which a proxy is asked for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProxyProtocol {
    /// CONNECT (RFC 9110, section 9.3.6), with the value of `Proxy-Authorization`.
    Connect(Option<HeaderValue>),
    /// SOCKS 5 (RFC 1928), with user and password (RFC 1929).
    Socks {
        login: Option<(String, String)>,
        /// The server's name is resolved on this machine, and the proxy gets an address.
        resolves_here: bool,
    },
}

/// The chosen proxy cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the proxy {url:?} ({set_by}) cannot be used, expected a URL with http, https, socks5 or socks5h, such as http://proxy:3128"
)]
pub struct ProxyError {
    /// The URL without user and password.
    url: String,
    set_by: String,
}

/// Returns the proxy for `target`, `None` if the server is reached without one.
pub(super) fn select_proxy(
    settings: &ProxySettings,
    target: &Uri,
) -> Result<Option<Proxy>, ProxyError> {
    let of_scheme = match target.scheme_str() {
        Some("https") => &settings.https,
        _ => &settings.http,
    };
    let Some(chosen) = of_scheme.as_ref().or(settings.all.as_ref()) else {
        return Ok(None);
    };
    let exceptions = settings.exceptions.as_deref().unwrap_or_default();
    if is_exception(exceptions, target) {
        return Ok(None);
    }

    match parse(chosen.url.expose().trim(), &chosen.set_by) {
        Some(proxy) => Ok(Some(proxy)),
        None => Err(unusable(chosen)),
    }
}

fn unusable(chosen: &ProxySetting) -> ProxyError {
    let url = chosen.url.expose();
    let shown = match url.rsplit_once('@') {
        None => url.to_owned(),
        // Only a scheme is without a part of the login.
        Some((login, host)) => match login.split_once("://") {
            Some((scheme, _)) if !scheme.contains(['/', ':', '@']) => format!("{scheme}://{host}"),
            _ => host.to_owned(),
        },
    };
    ProxyError {
        url: shown,
        set_by: chosen.set_by.clone(),
    }
}

/// Parses the URL of a proxy. Without a scheme it is http.
fn parse(url: &str, set_by: &str) -> Option<Proxy> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    // Many settings end in a slash. Anything else behind the host is a mistake.
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return None;
    }
    // The last @ is before the host, as in curl. One in a password need not be encoded.
    let rest = match rest.rsplit_once('@') {
        Some((login, host)) => format!("{}@{host}", login.replace('@', "%40")),
        None => rest.to_owned(),
    };
    // As desktops set it; Chromium takes it for version 5 as well.
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "socks" => "socks5h".to_owned(),
        scheme => scheme.to_owned(),
    };

    // The matcher understands schemes and percent-encoded credentials. The target is only its way in.
    let parsed = Matcher::builder()
        .all(format!("{scheme}://{rest}"))
        .build()
        .intercept(&Uri::from_static("http://server"))?;
    let host = parsed.uri().host().filter(|host| !host.is_empty())?;
    let authority = parsed.uri().authority()?;
    let port = authority.port_u16();
    if port.is_none() && authority.as_str() != host {
        return None;
    }
    let login = parsed
        .raw_auth()
        .map(|(user, password)| (user.to_owned(), password.to_owned()));
    let socks = |resolves_here| ProxyProtocol::Socks {
        login,
        resolves_here,
    };
    let (transport, default_port, protocol) = match scheme.as_str() {
        "http" => (Scheme::HTTP, 80, connect(&parsed)),
        "https" => (Scheme::HTTPS, 443, connect(&parsed)),
        "socks5" => (Scheme::HTTP, SOCKS_PORT, socks(true)),
        "socks5h" => (Scheme::HTTP, SOCKS_PORT, socks(false)),
        _ => return None,
    };

    let uri = Uri::builder()
        .scheme(transport)
        .authority(format!("{host}:{}", port.unwrap_or(default_port)))
        .path_and_query(PathAndQuery::from_static("/"))
        .build()
        .ok()?;
    Some(Proxy {
        uri,
        protocol,
        shown: format!("{scheme}://{authority}, {set_by}"),
    })
}

fn connect(parsed: &Intercept) -> ProxyProtocol {
    ProxyProtocol::Connect(parsed.basic_auth().cloned())
}

#[cfg(test)]
mod tests {
    use llamapool_wire::Secret;

    use super::*;

    const SERVER: &str = "http://server.example:8080/api/mcp/connect";

    fn setting(name: &str, url: &str) -> Option<ProxySetting> {
        Some(ProxySetting {
            url: Secret::new(url),
            set_by: name.to_owned(),
        })
    }

    fn only(url: &str) -> ProxySettings {
        ProxySettings {
            all: setting("ALL_PROXY", url),
            ..ProxySettings::default()
        }
    }

    /// Returns the chosen proxy as it is shown, empty for none.
    fn chosen(settings: &ProxySettings, target: &str) -> String {
        let target = Uri::try_from(target).unwrap();
        match select_proxy(settings, &target) {
            Ok(proxy) => proxy.map(|proxy| proxy.shown).unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_scheme_s_own_proxy_comes_before_that_of_all() {
        let settings = ProxySettings {
            https: setting("HTTPS_PROXY", "http://a"),
            http: None,
            all: setting("ALL_PROXY", "http://b"),
            exceptions: None,
        };

        assert_eq!(chosen(&settings, "https://server"), "http://a, HTTPS_PROXY");
        assert_eq!(chosen(&settings, SERVER), "http://b, ALL_PROXY");
    }

    #[test]
    fn a_proxy_that_is_not_chosen_is_not_judged() {
        let mut settings = ProxySettings {
            https: setting("HTTPS_PROXY", "ftp://me:hunter2@proxy"),
            ..ProxySettings::default()
        };

        assert_eq!(chosen(&settings, SERVER), "");
        let error = chosen(&settings, "https://server.example");
        assert!(
            error.starts_with("the proxy \"ftp://proxy\" (HTTPS_PROXY) cannot be used"),
            "{error}"
        );

        settings.exceptions = Some("server.example".to_owned());
        assert_eq!(chosen(&settings, "https://server.example"), "");
    }

    #[test]
    fn each_kind_of_proxy_has_its_port_and_protocol() {
        for (url, uri, is_socks) in [
            ("proxy:3128", "http://proxy:3128/", false),
            ("HTTP://proxy/", "http://proxy:80/", false),
            ("https://proxy", "https://proxy:443/", false),
            ("socks5://proxy", "http://proxy:1080/", true),
            ("socks5h://[::1]:7891", "http://[::1]:7891/", true),
            ("socks://127.0.0.1:7891/", "http://127.0.0.1:7891/", true),
        ] {
            let target = Uri::from_static(SERVER);
            let proxy = select_proxy(&only(url), &target).unwrap().unwrap();

            assert_eq!(proxy.uri.to_string(), uri, "{url}");
            let found = matches!(proxy.protocol, ProxyProtocol::Socks { .. });
            assert_eq!(found, is_socks, "{url}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        for url in [
            "ftp://proxy:21",
            "socks4://proxy",
            "http://",
            "http://me:hunter2@",
            "a b",
            "http://me:hunter2@proxy:x",
            "http://me/hunter2@proxy",
            "socks5://me:hunter2@proxy/path",
            "socks5//me:hunter2@[::1]:10tps://server",
            "me:hunter2@proxy://server",
        ] {
            let error = chosen(&only(url), SERVER);

            assert!(
                error.contains("(ALL_PROXY) cannot be used"),
                "{url}: {error}"
            );
            assert!(!error.contains("hun"), "{url}: {error}");
        }
    }

    #[test]
    fn credentials_are_decoded_for_the_proxy_s_protocol() {
        let target = Uri::from_static(SERVER);
        let protocol = |url: &str| {
            let proxy = select_proxy(&only(url), &target).unwrap().unwrap();
            assert!(!proxy.shown.contains("sesame"), "{}", proxy.shown);
            proxy.protocol
        };

        // The credentials of RFC 7617, whose space the URL encodes.
        let basic = HeaderValue::from_static("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(
            protocol("http://Aladdin:open%20sesame@proxy"),
            ProxyProtocol::Connect(Some(basic))
        );
        let basic = HeaderValue::from_static("Basic bWU6b3BlbkBzZXNhbWU=");
        assert_eq!(
            protocol("http://me:open@sesame@proxy"),
            ProxyProtocol::Connect(Some(basic))
        );
        assert_eq!(
            protocol("socks5://Aladdin:open%20sesame@proxy"),
            ProxyProtocol::Socks {
                login: Some(("Aladdin".to_owned(), "open sesame".to_owned())),
                resolves_here: true,
            }
        );
    }
}
