//! Which values of Origin and Host get past the edge (MCP 2025-11-25 and 2026-07-28, transports, security).
//!
//! A browser that was lured to a hostile page can reach a server on loopback through DNS rebinding; its Origin and its
//! Host give it away. Programs send no Origin and are not concerned.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, Uri, header};
use llamapool_http::host;
use llamapool_wire::{CallError, Cause};

use crate::config::AuthConfig;

/// The edge's rules.
#[derive(Debug)]
pub(crate) struct Edge {
    allowed_origins: Vec<String>,
    allows_any_origin: bool,
    hosts: Hosts,
}

#[derive(Debug)]
enum Hosts {
    Any,
    LoopbackAlone,
    Listed(Vec<String>),
}

impl Edge {
    /// Returns the rules for a server that listens on `bind`.
    pub(crate) fn new(policy: &AuthConfig, public_url: Option<&Uri>, bind: IpAddr) -> Self {
        let lower = |list: &[String]| {
            list.iter()
                .map(|entry| entry.to_ascii_lowercase())
                .collect::<Vec<_>>()
        };
        let hosts = match (policy.allowed_hosts.is_empty(), bind.is_loopback()) {
            (false, _) => Hosts::Listed(lower(&policy.allowed_hosts)),
            (true, true) => Hosts::LoopbackAlone,
            (true, false) => Hosts::Any,
        };
        let mut allowed_origins = lower(&policy.allowed_origins);
        // Pages of the server's own come from providers that sign callers in. What a request says of the server's address
        // is no reason: with DNS rebinding it says what the hostile page wants.
        allowed_origins.extend(public_url.and_then(origin_of));
        let allows_any_origin = allowed_origins.iter().any(|origin| origin == "*");
        Self {
            allowed_origins,
            allows_any_origin,
            hosts,
        }
    }

    /// Whether a request with these headers may come in.
    pub(crate) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), CallError> {
        self.check_host(headers, uri)?;
        self.check_origin(headers)
    }

    /// Whether a request addresses this server at all: for what pages from anywhere may read.
    pub(crate) fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), CallError> {
        if matches!(self.hosts, Hosts::Any) {
            return Ok(());
        }
        let sent = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => the_one(headers, &header::HOST)
                .map_err(|wrong| host_refused(&wrong))?
                .unwrap_or_default(),
        };
        let name = host::without_port(sent).to_ascii_lowercase();
        let is_allowed = match &self.hosts {
            Hosts::Any => true,
            Hosts::LoopbackAlone => host::is_loopback(&name),
            Hosts::Listed(names) => names
                .iter()
                .any(|listed| *listed == name || *listed == sent.to_ascii_lowercase()),
        };
        if is_allowed {
            Ok(())
        } else {
            Err(host_refused(&format!("the Host {}", quoted(sent))))
        }
    }

    /// Whether a request says once where it goes and where it comes from: on every port, whatever is asked. Two that look
    /// at one with several may read different ones.
    pub(crate) fn check_single(headers: &HeaderMap) -> Result<(), CallError> {
        the_one(headers, &header::HOST).map_err(|wrong| host_refused(&wrong))?;
        the_one(headers, &header::ORIGIN).map_err(|wrong| origin_refused(&wrong))?;
        Ok(())
    }

    /// Whether a request comes from no page, or from one that is let in: for what programs ask under any name.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), CallError> {
        let origin = match the_one(headers, &header::ORIGIN) {
            Ok(None) => return Ok(()),
            Ok(Some(origin)) => origin.to_ascii_lowercase(),
            Err(wrong) => return Err(origin_refused(&wrong)),
        };
        let is_own_machine =
            matches!(self.hosts, Hosts::LoopbackAlone) && host::is_loopback_origin(&origin);
        let is_allowed = origin != "null"
            && (self.allows_any_origin || is_own_machine || self.allowed_origins.contains(&origin));
        if is_allowed {
            Ok(())
        } else {
            Err(origin_refused(&format!("the Origin {}", quoted(&origin))))
        }
    }
}

/// The origin of a URL, as browsers write it.
fn origin_of(url: &Uri) -> Option<String> {
    let (scheme, authority) = (url.scheme_str()?, url.authority()?);
    let default_port = if scheme == "https" { 443 } else { 80 };
    let port = authority
        .port_u16()
        .filter(|&port| port != default_port)
        .map(|port| format!(":{port}"));
    Some(
        format!(
            "{scheme}://{}{}",
            authority.host(),
            port.unwrap_or_default()
        )
        .to_ascii_lowercase(),
    )
}

/// The only value of a header; what is wrong, if there are several or one that is no text.
fn the_one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| format!("the {name} header is not ASCII text")),
        (Some(_), Some(_)) => Err(format!("more than one {name} header")),
    }
}

fn host_refused(wrong: &str) -> CallError {
    CallError::new(
        Cause::HostRefused,
        format!("{wrong} is refused, expected a host that ALLOWED_HOSTS lists"),
    )
}

fn origin_refused(wrong: &str) -> CallError {
    CallError::new(
        Cause::OriginRefused,
        format!("{wrong} is refused, expected an origin that ALLOWED_ORIGINS lists"),
    )
}

/// A value from outside, cut, for an error message.
fn quoted(value: &str) -> String {
    format!("{:?}", value.chars().take(128).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(origins: &[&str], hosts: &[&str], bind: &str) -> Edge {
        let list = |entries: &[&str]| entries.iter().map(|&entry| entry.to_owned()).collect();
        let policy = AuthConfig {
            allowed_origins: list(origins),
            allowed_hosts: list(hosts),
            ..AuthConfig::default()
        };
        Edge::new(&policy, None, bind.parse().unwrap())
    }

    fn verdict(edge: &Edge, pairs: &[(HeaderName, &'static str)]) -> Option<Cause> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        edge.check(&headers, &Uri::from_static("/api/state"))
            .err()
            .map(|failure| failure.cause)
    }

    const HOST: HeaderName = header::HOST;
    const ORIGIN: HeaderName = header::ORIGIN;

    #[test]
    fn on_loopback_only_loopback_names_and_origins_get_in() {
        let edge = edge(&[], &[], "127.0.0.1");
        for host in [
            "localhost:8080",
            "localhost",
            "127.0.0.1:1",
            "[::1]:8080",
            "LOCALHOST",
        ] {
            assert_eq!(verdict(&edge, &[(HOST, host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "10.0.0.1",
        ] {
            assert_eq!(
                verdict(&edge, &[(HOST, host)]),
                Some(Cause::HostRefused),
                "{host}"
            );
        }
        let local = (HOST, "localhost:8080");
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:1",
        ] {
            assert_eq!(
                verdict(&edge, &[local.clone(), (ORIGIN, origin)]),
                None,
                "{origin}"
            );
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:1/x",
            "http://localhost.evil.example",
            "localhost",
        ] {
            let refused = verdict(&edge, &[local.clone(), (ORIGIN, origin)]);
            assert_eq!(refused, Some(Cause::OriginRefused), "{origin}");
        }
    }

    #[test]
    fn on_a_public_address_any_host_gets_in_but_only_listed_origins() {
        let edge = edge(&["https://app.example"], &[], "0.0.0.0");
        assert_eq!(verdict(&edge, &[(HOST, "anything.example")]), None);
        assert_eq!(verdict(&edge, &[(ORIGIN, "https://APP.example")]), None);
        assert_eq!(
            verdict(&edge, &[(ORIGIN, "http://app.example")]),
            Some(Cause::OriginRefused)
        );
        assert_eq!(
            verdict(&edge, &[(ORIGIN, "http://localhost:3000")]),
            Some(Cause::OriginRefused)
        );
    }

    #[test]
    fn pages_of_the_public_address_get_in_if_the_server_was_told_what_it_is() {
        for (url, origin) in [
            ("https://Pool.example/llama", "https://pool.example"),
            ("https://pool.example:443", "https://pool.example"),
            ("http://pool.example:8080/", "http://pool.example:8080"),
        ] {
            let public_url = Uri::from_static(url);
            let edge = Edge::new(
                &AuthConfig::default(),
                Some(&public_url),
                IpAddr::from([0, 0, 0, 0]),
            );
            assert_eq!(verdict(&edge, &[(ORIGIN, origin)]), None, "{url}");
            assert_eq!(
                verdict(&edge, &[(ORIGIN, "https://pool.example:1")]),
                Some(Cause::OriginRefused),
                "{url}"
            );
        }
        let untold = edge(&[], &[], "0.0.0.0");
        let rebound = [(HOST, "evil.example"), (ORIGIN, "http://evil.example")];
        assert_eq!(verdict(&untold, &rebound), Some(Cause::OriginRefused));
    }

    #[test]
    fn several_origins_or_hosts_are_refused_even_if_each_is_allowed() {
        let edge = edge(&["*"], &["a.example"], "0.0.0.0");
        assert_eq!(
            verdict(&edge, &[(HOST, "a.example"), (ORIGIN, "https://b.example")]),
            None
        );
        let twice = [
            (HOST, "a.example"),
            (ORIGIN, "https://b.example"),
            (ORIGIN, "https://b.example"),
        ];
        assert_eq!(verdict(&edge, &twice), Some(Cause::OriginRefused));
        assert_eq!(
            verdict(&edge, &[(HOST, "a.example"), (HOST, "a.example")]),
            Some(Cause::HostRefused)
        );
        assert_eq!(
            verdict(&edge, &[(HOST, "a.example"), (ORIGIN, "null")]),
            Some(Cause::OriginRefused)
        );
        for name in [HOST, ORIGIN] {
            let mut headers = HeaderMap::new();
            headers.append(&name, "https://b.example".parse().unwrap());
            assert!(Edge::check_single(&headers).is_ok());
            headers.append(&name, "https://b.example".parse().unwrap());
            assert!(
                Edge::check_single(&headers).is_err(),
                "whatever is allowed: {name}"
            );
        }
    }

    #[test]
    fn listed_hosts_are_compared_without_their_port() {
        let edge = edge(&[], &["Pool.example", "[2001:db8::1]"], "127.0.0.1");
        assert_eq!(verdict(&edge, &[(HOST, "pool.example:8443")]), None);
        assert_eq!(verdict(&edge, &[(HOST, "[2001:db8::1]:8443")]), None);
        assert_eq!(verdict(&edge, &[(HOST, "[2001:DB8::1]")]), None);
        assert_eq!(
            verdict(&edge, &[(HOST, "[2001:db8::2]:8443")]),
            Some(Cause::HostRefused)
        );
        assert_eq!(
            verdict(&edge, &[(HOST, "localhost:8443")]),
            Some(Cause::HostRefused)
        );
    }
}
