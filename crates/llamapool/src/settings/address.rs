//! From text to addresses, URLs, origins, host names and headers.
//!
//! The other kinds of values are in `kind`. The one rule: what is wrong inside of a URL or a header is described
//! without showing it, because a password or a key may be what is wrong.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme, Uri};
use llamapool_wire::path;

use super::kind::{Expected, Form, Kind, expected, items, some_text};

/// The headers that belong to one connection or frame one message: never a provider's business.
const REFUSED_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// How much of a header's name an error shows.
const SHOWN_NAME_CHARS: usize = 40;

/// The port that stands for any free one: two listeners that ask for it get two.
pub(super) const ANY_PORT: u16 = 0;

/// A port.
pub(super) const PORT: Kind<u16> = Kind {
    form: Form::Port,
    parse: port,
};
/// A port, or none.
pub(super) const PORT_OR_NONE: Kind<Option<u16>> = Kind {
    form: Form::Port,
    parse: |text| some_text(text).map(|text| port(&text)).transpose(),
};
/// An IP address.
pub(super) const IP: Kind<IpAddr> = Kind {
    form: Form::Address,
    parse: ip,
};
/// Where the status server listens.
pub(super) const LISTEN: Kind<Listen> = Kind {
    form: Form::Address,
    parse: listen,
};
/// Where metrics are served.
pub(super) const METRICS: Kind<Option<MetricsAt>> = Kind {
    form: Form::Port,
    parse: |text| some_text(text).map(|text| metrics_at(&text)).transpose(),
};
/// The URL that relays connect to.
pub(super) const SERVER_URL: Kind<Uri> = Kind {
    form: Form::Url,
    parse: server_url,
};
/// The URL of a provider.
pub(super) const PROVIDER_URL: Kind<Uri> = Kind {
    form: Form::Url,
    parse: provider_url,
};
/// The URL under which a server is known, or none.
pub(super) const PUBLIC_URL: Kind<Option<Uri>> = Kind {
    form: Form::Url,
    parse: |text| some_text(text).map(|text| public_url(&text)).transpose(),
};
/// The URL of a proxy, or none.
pub(super) const PROXY: Kind<Option<String>> = Kind {
    form: Form::Url,
    parse: proxy,
};
/// Headers, one a line.
pub(super) const HEADERS: Kind<HeaderMap> = Kind {
    form: Form::Headers,
    parse: headers,
};
/// Origins of browsers.
pub(super) const ORIGINS: Kind<Vec<String>> = Kind {
    form: Form::List,
    parse: |text| items(text).map(origin).collect(),
};
/// Host names.
pub(super) const HOSTS: Kind<Vec<String>> = Kind {
    form: Form::List,
    parse: |text| items(text).map(host).collect(),
};

/// Where something listens that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listen {
    /// Nowhere.
    Off,
    /// Here.
    On(SocketAddr),
}

/// Where metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsAt {
    /// On this port of an address that another setting says.
    Port(u16),
    /// Here.
    Address(SocketAddr),
}

fn port(text: &str) -> Result<u16, Expected> {
    text.trim()
        .parse()
        .or_else(|_| expected("a port, 0 to 65535"))
}

fn ip(text: &str) -> Result<IpAddr, Expected> {
    text.trim()
        .parse()
        .or_else(|_| expected("an IP address such as 0.0.0.0, 127.0.0.1 or ::"))
}

fn listen(text: &str) -> Result<Listen, Expected> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(Listen::Off);
    }
    text.parse()
        .map(Listen::On)
        .or_else(|_| expected("an IP address with a port such as 127.0.0.1:4555, or off"))
}

fn metrics_at(text: &str) -> Result<MetricsAt, Expected> {
    let wanted = "a port, 0 to 65535, or an IP address with a port such as 127.0.0.1:9090";
    let port = text.parse().map(MetricsAt::Port);
    port.or_else(|_| text.parse().map(MetricsAt::Address))
        .or_else(|_| expected(wanted))
}

fn server_url(text: &str) -> Result<Uri, Expected> {
    let url = absolute_url(text, &["ws", "wss", "http", "https"])?;
    if url.path() != "/" && !url.path().is_empty() {
        return Ok(url);
    }
    let target = match url.query() {
        Some(query) => format!("{}?{query}", path::MCP_CONNECT),
        None => path::MCP_CONNECT.to_owned(),
    };
    let mut parts = url.into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    Uri::from_parts(parts).or_else(|_| expected("a URL"))
}

fn provider_url(text: &str) -> Result<Uri, Expected> {
    absolute_url(text, &["http", "https"])
}

fn public_url(text: &str) -> Result<Uri, Expected> {
    let url = absolute_url(text, &["https", "http"])?;
    if url.query().is_some() {
        expected("a URL without a query (?…)")
    } else {
        Ok(url)
    }
}

fn absolute_url(text: &str, schemes: &[&str]) -> Result<Uri, Expected> {
    let wanted = || {
        Expected(format!(
            "a URL such as {}://example.com/mcp ({})",
            schemes[0],
            schemes.join(", ")
        ))
    };
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").ok_or_else(wanted)?;
    let scheme = scheme.to_ascii_lowercase();
    if !schemes.contains(&scheme.as_str()) {
        return Err(wanted());
    }
    if rest.contains('#') {
        return expected("a URL without a fragment (#…)");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return expected(
            "a URL without a user or password in it; credentials have settings of their own",
        );
    }
    let url: Uri = format!("{scheme}://{rest}").parse().map_err(|_| wanted())?;
    let has_host = url.host().is_some_and(|host| !host.is_empty());
    let after_ip = authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest);
    let has_port_number = after_ip
        .split_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_ok());
    let is_absolute = url.scheme().map(Scheme::as_str) == Some(&scheme);
    if has_host && has_port_number && is_absolute {
        Ok(url)
    } else {
        Err(wanted())
    }
}

fn proxy(text: &str) -> Result<Option<String>, Expected> {
    let Some(text) = some_text(text) else {
        return Ok(None);
    };
    let url = if text.contains("://") {
        text.clone()
    } else {
        format!("http://{text}")
    };
    let is_http = |url: &Uri| {
        url.scheme() == Some(&Scheme::HTTP) && url.host().is_some_and(|host| !host.is_empty())
    };
    let wanted =
        "the URL of a proxy that is spoken to by plain HTTP, such as http://proxy.example:3128";
    if url.parse::<Uri>().is_ok_and(|url| is_http(&url)) {
        Ok(Some(text))
    } else {
        expected(wanted)
    }
}

fn headers(text: &str) -> Result<HeaderMap, Expected> {
    let mut headers = HeaderMap::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let Some((name, value)) = line.split_once(':') else {
            return expected(format!("`Name: value` in line {}", number + 1));
        };
        let (name, value) = (name.trim(), value.trim());
        let shown: String = name.chars().take(SHOWN_NAME_CHARS).collect();
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return expected(format!(
                "`Name: value` lines, and {shown:?} is not the name of a header"
            ));
        };
        if REFUSED_HEADERS.contains(&name.as_str()) {
            return expected(format!(
                "headers for the provider, and {shown:?} belongs to the connection"
            ));
        }
        let Some(mut value) = HeaderValue::from_str(value)
            .ok()
            .filter(|_| value.is_ascii())
        else {
            return expected(format!(
                "printable ASCII characters as the value of {shown:?}"
            ));
        };
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn origin(text: &str) -> Result<String, Expected> {
    let wanted = "origins such as https://inspector.example, without a path, or *";
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty()
            && !host.is_empty()
            && !host.contains(['/', '?', '#', '@', '*'])
            && !text.contains(' ')
    });
    if text == "*" || is_origin {
        Ok(text.to_ascii_lowercase())
    } else {
        expected(wanted)
    }
}

/// A host as requests name it: an IPv6 address stands in brackets there.
fn host(text: &str) -> Result<String, Expected> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }
    let is_name = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let wanted = "host names such as llamapool.example, without scheme and port";
    if is_name {
        Ok(text.to_ascii_lowercase())
    } else {
        expected(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_url_without_a_path_gets_the_one_that_relays_use() {
        let cases = [
            ("ws://server:8080", "ws://server:8080/api/mcp/connect"),
            ("HTTPS://server/", "https://server/api/mcp/connect"),
            ("wss://server/?a=b", "wss://server/api/mcp/connect?a=b"),
            ("wss://server/behind/a/path", "wss://server/behind/a/path"),
            ("http://[::1]:8080", "http://[::1]:8080/api/mcp/connect"),
        ];
        for (text, url) in cases {
            assert_eq!(server_url(text).unwrap().to_string(), url);
        }
    }

    #[test]
    fn urls_have_a_known_scheme_a_host_and_a_port_number() {
        for bad in [
            "",
            "server:8080",
            "ftp://server",
            "ws:///x",
            "ws://",
            "ws://:80",
            "ws://a:b",
            "ws://a:",
            "ws://a b",
        ] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
        assert!(provider_url("ws://127.0.0.1:7777/mcp/").is_err());
        assert_eq!(
            provider_url("http://127.0.0.1:7777/mcp/").unwrap().path(),
            "/mcp/"
        );
        assert_eq!(
            provider_url("http://a/mcp?user=x@y").unwrap().query(),
            Some("user=x@y")
        );
    }

    #[test]
    fn urls_with_credentials_or_fragments_are_refused_without_showing_them() {
        for bad in [
            "http://me:hunter2@host/mcp",
            "http://hunter2@host",
            "http://host/mcp#hunter2",
        ] {
            let Expected(text) = provider_url(bad).unwrap_err();
            assert!(
                text.starts_with("a URL without") && !text.contains("hunter2"),
                "{text}"
            );
        }
    }

    #[test]
    fn headers_are_lines_and_sensitive() {
        let headers = headers("X-Key: a:b, c\n\n  Accept-Language:de\nX-Key: second").unwrap();
        assert_eq!(
            headers.get_all("x-key").iter().collect::<Vec<_>>(),
            ["a:b, c", "second"]
        );
        assert_eq!(headers["accept-language"], "de");
        assert!(!format!("{headers:?}").contains("second"));
    }

    #[test]
    fn headers_are_refused_by_name_without_showing_a_value() {
        let cases = [
            ("hunter2", "line 1"),
            ("X Key: hunter2", "\"X Key\""),
            ("X-Key: hunter2\u{1}", "\"X-Key\""),
            ("X-Key: hünter2", "\"X-Key\""),
            ("Host: hunter2", "\"Host\""),
            ("content-length: hunter2", "\"content-length\""),
            ("Transfer-Encoding: hunter2", "\"Transfer-Encoding\""),
            ("Keep-Alive: hunter2", "\"Keep-Alive\""),
        ];
        for (bad, named) in cases {
            let Expected(text) = headers(bad).unwrap_err();
            assert!(text.contains(named) && !text.contains("nter2"), "{text}");
        }
    }

    #[test]
    fn addresses_and_ports_are_what_they_say() {
        assert_eq!(listen("OFF"), Ok(Listen::Off));
        assert!(matches!(listen("[::1]:4555"), Ok(Listen::On(_))));
        assert!(listen("4555").is_err() && listen("localhost").is_err());
        assert_eq!(metrics_at("9090"), Ok(MetricsAt::Port(9090)));
        assert!(matches!(
            metrics_at("0.0.0.0:9090"),
            Ok(MetricsAt::Address(_))
        ));
        assert!(metrics_at("here").is_err());
        assert!(port("65536").is_err() && port("-1").is_err() && port("").is_err());
        assert!(ip("0.0.0.0").is_ok() && ip("::").is_ok() && ip("server").is_err());
    }

    #[test]
    fn origins_and_hosts_are_whole_and_small() {
        assert_eq!(
            (ORIGINS.parse)("https://A.example, *,"),
            Ok(vec!["https://a.example".into(), "*".into()])
        );
        assert_eq!(
            (HOSTS.parse)("A.example,[::1],127.0.0.1,2001:DB8:0::1"),
            Ok(["a.example", "[::1]", "127.0.0.1", "[2001:db8::1]"]
                .map(String::from)
                .to_vec())
        );
        for bad in [
            "a.example",
            "https://a.example/",
            "https://",
            "https://*.example",
        ] {
            assert!((ORIGINS.parse)(bad).is_err(), "{bad}");
        }
        for bad in [
            "https://a.example",
            "a.example:8080",
            "a/b",
            "*",
            "[::1",
            "::1]",
            "[a]",
            "[::1]:80",
        ] {
            assert!((HOSTS.parse)(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_or_a_host() {
        assert_eq!(proxy(""), Ok(None));
        for good in ["http://user:pass@proxy:3128", "HTTP://proxy", "proxy:3128"] {
            assert_eq!(proxy(good), Ok(Some(good.into())));
        }
        for bad in [
            "http://",
            "a b",
            "socks5://127.0.0.1:1080",
            "https://proxy:3128",
            "socks5h://user:pass@proxy",
        ] {
            let Expected(text) = proxy(bad).unwrap_err();
            assert!(
                text.contains("plain HTTP") && !text.contains("pass"),
                "{bad}: {text}"
            );
        }
    }
}
