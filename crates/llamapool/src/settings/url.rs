//! URLs of the server, of providers and of proxies.
//!
//! An error never contains any part of a URL: there may be a password in it.

use http::uri::{PathAndQuery, Scheme, Uri};
use llamapool_settings::value::{expected, non_blank};
use llamapool_settings::{Syntax, ValueError, ValueType};
use llamapool_wire::path;

/// The URL that relays of MCP providers connect to.
pub(super) const SERVER_URL: ValueType<Uri> = ValueType {
    syntax: Syntax::Url,
    parse: |text| server_url(text, path::MCP_CONNECT),
};
/// The URL that workers connect to.
pub(super) const WORKER_SERVER_URL: ValueType<Uri> = ValueType {
    syntax: Syntax::Url,
    parse: |text| server_url(text, path::WORKER_CONNECT),
};
/// The URL of a provider.
pub(super) const PROVIDER_URL: ValueType<Uri> = ValueType {
    syntax: Syntax::Url,
    parse: provider_url,
};
/// The public URL of a server, `None` if the text is blank.
pub(super) const PUBLIC_URL: ValueType<Option<Uri>> = ValueType {
    syntax: Syntax::Url,
    parse: |text| non_blank(text).map(|url| public_url(&url)).transpose(),
};
/// The URL of a proxy, `None` if the text is blank. Any text is accepted: the relay judges the one
/// that it chooses for its server, and the others are meant for other programs.
pub(super) const PROXY_URL: ValueType<Option<String>> = ValueType {
    syntax: Syntax::Url,
    parse: |text| Ok(non_blank(text)),
};

/// Parses the URL of a server, which has this path where none is given.
fn server_url(text: &str, connect: &str) -> Result<Uri, ValueError> {
    let local = format!("ws://{}", text.trim());
    let text = if is_local_host(text) { &local } else { text };
    let url = absolute_url(text, &["ws", "wss", "http", "https"]).map_err(|error| {
        if text.contains("://") || text.trim().is_empty() {
            return error;
        }
        // It is not repeated: a password may be in it.
        ValueError {
            expected: format!("{}; did you mean wss:// in front of it?", error.expected),
        }
    })?;
    if url.path() != "/" && !url.path().is_empty() {
        return Ok(url);
    }

    let target = match url.query() {
        Some(query) => format!("{connect}?{query}"),
        None => connect.to_owned(),
    };
    let mut parts = url.into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();

    Uri::from_parts(parts).or_else(|_| expected("a URL"))
}

/// Returns whether a text is a host of this machine without a scheme, such as `localhost:8080`.
fn is_local_host(text: &str) -> bool {
    let authority = text
        .trim()
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    llamapool_http::host::is_loopback(host)
}

fn provider_url(text: &str) -> Result<Uri, ValueError> {
    absolute_url(text, &["http", "https"])
}

fn public_url(text: &str) -> Result<Uri, ValueError> {
    let url = absolute_url(text, &["https", "http"])?;

    if url.query().is_some() {
        expected("a URL without a query (?…)")
    } else {
        Ok(url)
    }
}

/// Parses a URL with one of these schemes, a host, and neither user nor fragment.
fn absolute_url(text: &str, schemes: &[&str]) -> Result<Uri, ValueError> {
    let wrong = || ValueError {
        expected: format!(
            "a URL such as {}://example.com/mcp ({})",
            schemes[0],
            schemes.join(", ")
        ),
    };

    let (scheme, rest) = text.trim().split_once("://").ok_or_else(wrong)?;
    let scheme = scheme.to_ascii_lowercase();
    if !schemes.contains(&scheme.as_str()) {
        return Err(wrong());
    }
    if rest.contains('#') {
        return expected("a URL without a fragment (#…)");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return expected("a URL without user and password, which have settings of their own");
    }

    let url: Uri = format!("{scheme}://{rest}").parse().map_err(|_| wrong())?;
    let has_host = url.host().is_some_and(|host| !host.is_empty());
    let is_absolute = url.scheme().map(Scheme::as_str) == Some(&scheme);
    if has_host && is_absolute && has_port_number(authority) {
        Ok(url)
    } else {
        Err(wrong())
    }
}

/// Returns whether the port of an authority is a number, or there is none.
fn has_port_number(authority: &str) -> bool {
    // Behind the brackets of an IPv6 address.
    let after_ip = authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest);

    match after_ip.split_once(':') {
        Some((_, port)) => port.parse::<u16>().is_ok(),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_url_without_a_path_gets_the_default_one() {
        for (text, url) in [
            ("ws://server:8080", "ws://server:8080/api/mcp/connect"),
            ("HTTPS://server/", "https://server/api/mcp/connect"),
            ("wss://server/?a=b", "wss://server/api/mcp/connect?a=b"),
            ("wss://server/behind/a/path", "wss://server/behind/a/path"),
            ("http://[::1]:8080", "http://[::1]:8080/api/mcp/connect"),
        ] {
            assert_eq!((SERVER_URL.parse)(text).unwrap().to_string(), url);
        }
    }

    #[test]
    fn a_server_on_this_machine_needs_no_scheme() {
        for (text, url) in [
            ("localhost:8080", "ws://localhost:8080/api/mcp/connect"),
            (" 127.0.0.1:8080/x ", "ws://127.0.0.1:8080/x"),
            ("[::1]:8080", "ws://[::1]:8080/api/mcp/connect"),
            ("localhost", "ws://localhost/api/mcp/connect"),
        ] {
            assert_eq!((SERVER_URL.parse)(text).unwrap().to_string(), url);
        }

        let ValueError { expected } = (SERVER_URL.parse)("pool.example:hunter2").unwrap_err();
        assert!(
            expected.ends_with("did you mean wss:// in front of it?"),
            "{expected}"
        );
        assert!(!expected.contains("hunter2"), "{expected}");
    }

    #[test]
    fn workers_connect_at_a_path_of_their_own() {
        let url = (WORKER_SERVER_URL.parse)("wss://server").unwrap();

        assert_eq!(url, "wss://server/api/workers/connect");
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
            assert!((SERVER_URL.parse)(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_provider_url_keeps_path_and_query() {
        let with_path = provider_url("http://127.0.0.1:7777/mcp/").unwrap();
        let with_query = provider_url("http://a/mcp?user=x@y").unwrap();

        assert_eq!(with_path.path(), "/mcp/");
        assert_eq!(with_query.query(), Some("user=x@y"));
        assert!(provider_url("ws://127.0.0.1:7777/mcp/").is_err());
    }

    #[test]
    fn credentials_and_fragments_are_refused_and_not_shown() {
        for bad in [
            "http://me:hunter2@host/mcp",
            "http://hunter2@host",
            "http://host/mcp#hunter2",
        ] {
            let ValueError { expected } = provider_url(bad).unwrap_err();

            assert!(expected.starts_with("a URL without"), "{expected}");
            assert!(!expected.contains("hunter2"), "{expected}");
        }
    }
}
