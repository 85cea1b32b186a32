//! Names of hosts: without their port, names of this machine, and origins that are the same.
//!
//! Nothing is resolved or dialled here.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderName, Uri, header};
use llamapool_head::FieldLookup;

/// The values of `Host` that a listener accepts, and with them the pages whose requests it accepts.
///
/// A browser that was lured to a hostile page can reach a listener on loopback through DNS rebinding.
/// The page's host name is then in `Host`, and its origin in `Origin` (MCP 2025-11-25 and 2026-07-28,
/// transports, security).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedHosts {
    /// Any host.
    Any,
    /// The names of this machine only.
    LoopbackOnly,
    /// These hosts, in lower case, with or without a port.
    Listed(Vec<String>),
}

impl AllowedHosts {
    /// Returns the hosts of a listener on `bind`: those that are listed; without a list any host, on
    /// loopback only the names of this machine.
    pub fn new(listed: &[String], bind: IpAddr) -> Self {
        if !listed.is_empty() {
            Self::Listed(
                listed
                    .iter()
                    .map(|host| host.to_ascii_lowercase())
                    .collect(),
            )
        } else if bind.is_loopback() {
            Self::LoopbackOnly
        } else {
            Self::Any
        }
    }

    /// Returns whether a request to this authority is accepted. Empty: the request names none.
    pub fn allows(&self, authority: &str) -> bool {
        match self {
            Self::Any => true,
            Self::LoopbackOnly => is_loopback(without_port(authority)),
            Self::Listed(hosts) => hosts.iter().any(|listed| {
                listed.eq_ignore_ascii_case(authority)
                    || listed.eq_ignore_ascii_case(without_port(authority))
            }),
        }
    }

    /// Returns whether a request may come from a page whose name was bound to this listener's address
    /// by DNS rebinding, where any host is accepted: a browser sends no `Origin` with a GET to what
    /// it takes for the page's own host.
    ///
    /// An address and a name of this machine cannot be bound anew, and over TLS the name had to be
    /// proved. A browser sends `Sec-Fetch-*` headers then, and only then (W3C Fetch Metadata).
    pub fn may_be_rebound(&self, authority: &str, headers: &impl FieldLookup) -> bool {
        let host = without_port(authority);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        *self == Self::Any
            && is_of_insecure_page(headers)
            && !is_loopback(host)
            && address.parse::<IpAddr>().is_err()
    }

    /// Returns whether a page of this origin is accepted because it is a page of this machine, as the
    /// listener is. The origin must be in lower case.
    pub fn allows_own_page(&self, origin: &str) -> bool {
        *self == Self::LoopbackOnly && is_loopback_origin(origin)
    }
}

/// Returns whether headers are those of a page in a browser that was loaded without TLS, in a
/// request without `Origin`. Programs send none of what browsers send, or, as Node.js does, also
/// `Sec-Fetch-Mode`.
fn is_of_insecure_page(headers: &impl FieldLookup) -> bool {
    const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
    const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

    let is_browser = || {
        let agent = headers.first_value(&header::USER_AGENT);
        agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
    };
    !headers.has_field(&header::ORIGIN)
        && !headers.has_field(&MODE)
        && !headers.has_field(&SITE)
        && (headers.has_field(&header::ACCEPT_LANGUAGE) || is_browser())
}

/// Returns an authority without its port. An IPv6 address keeps its brackets.
pub fn without_port(authority: &str) -> &str {
    match (authority.rfind(':'), authority.rfind(']')) {
        (Some(colon), Some(bracket)) if colon < bracket => authority,
        (Some(colon), _) => &authority[..colon],
        (None, _) => authority,
    }
}

/// Returns whether a host without a port is a name of this machine: `localhost`, or a loopback
/// address with or without brackets.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Returns whether a host without a port may be reached from anywhere, as far as its name shows it:
/// it is no address of a private network, and no name that only such a network resolves (RFC 1918,
/// RFC 4193, RFC 6598, RFC 6761, RFC 6762, RFC 8375).
pub fn is_public(host: &str) -> bool {
    /// The last labels of names that no public resolver answers.
    const PRIVATE: [&str; 9] = [
        "corp",
        "home",
        "home.arpa",
        "internal",
        "intranet",
        "lan",
        "local",
        "localhost",
        "test",
    ];

    let name = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = name.parse::<IpAddr>() {
        return is_public_address(address.to_canonical());
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_private = PRIVATE.iter().any(|label| {
        name.strip_suffix(label)
            .is_some_and(|rest| rest.ends_with('.'))
    });
    name.contains('.') && !is_private
}

fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || is_shared)
        }
        IpAddr::V6(address) => {
            !(address.is_unique_local()
                || address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_unspecified())
        }
    }
}

/// Returns whether an origin (`http://localhost:3000`, in lower case) is a page of this machine.
pub fn is_loopback_origin(origin: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority
        .is_some_and(|authority| !authority.contains('/') && is_loopback(without_port(authority)))
}

/// Returns whether an address with this scheme and authority is on the host and port of `base`.
/// The names of this machine are one host.
///
/// The scheme may differ where the authority is the same text: a provider that trusts forwarding
/// headers names itself with the public scheme. That, and the names of this machine, is why this
/// is not a comparison of two `url::Origin`s.
pub fn is_same_origin(base: &Uri, scheme: &str, authority: &str) -> bool {
    let Some(own) = base.authority() else {
        return false;
    };
    if own.as_str().eq_ignore_ascii_case(authority) {
        return true;
    }
    let Ok(named) = authority.parse::<Authority>() else {
        return false;
    };

    let is_same_host = own.host().eq_ignore_ascii_case(named.host());
    let are_this_machine = is_loopback(own.host()) && is_loopback(named.host());
    let named_port = named.port_u16().or(default_port(scheme));
    let own_port = own.port_u16().or(base.scheme_str().and_then(default_port));
    (is_same_host || are_this_machine) && named_port == own_port
}

/// Returns the port of a scheme's addresses that name none, `None` for other schemes than HTTP's.
pub fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_port_is_taken_off_and_brackets_stay() {
        for (authority, host) in [
            ("pool.example:8443", "pool.example"),
            ("pool.example", "pool.example"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }

    #[test]
    fn this_machine_has_several_names() {
        for host in [
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "127.1.2.3",
            "[::1]",
            "::1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn private_addresses_and_names_are_not_public() {
        for host in ["mcp.example", "a.b.example.", "1.1.1.1", "[2606:4700::1]"] {
            assert!(is_public(host), "{host}");
        }
        for host in [
            "",
            "mcp",
            "localhost",
            "a.LOCAL",
            "a.b.internal.",
            "x.home.arpa",
            "10.0.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "127.0.0.1",
            "[::1]",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
            "0.0.0.0",
        ] {
            assert!(!is_public(host), "{host}");
        }
    }

    #[test]
    fn pages_of_this_machine_are_known_by_their_origin() {
        for origin in ["http://localhost:3000", "https://[::1]:1"] {
            assert!(is_loopback_origin(origin), "{origin}");
        }
        for origin in ["null", "localhost", "http://localhost/x", "ftp://localhost"] {
            assert!(!is_loopback_origin(origin), "{origin}");
        }
    }

    #[test]
    fn a_listener_on_loopback_accepts_the_names_of_this_machine() {
        let loopback = AllowedHosts::new(&[], IpAddr::from([127, 0, 0, 1]));
        assert!(loopback.allows("LOCALHOST:8080"));
        assert!(loopback.allows_own_page("http://localhost:3000"));
        assert!(!loopback.allows("evil.example"));
        assert!(!loopback.allows(""));
        assert!(!loopback.allows_own_page("http://evil.example"));

        let public = AllowedHosts::new(&[], IpAddr::from([0, 0, 0, 0]));
        assert!(public.allows("anything.example"));
        assert!(!public.allows_own_page("http://localhost:3000"));

        let listed = AllowedHosts::new(&["Pool.example".to_owned()], IpAddr::from([127, 0, 0, 1]));
        assert!(listed.allows("pool.example:8443"));
        assert!(!listed.allows("localhost"));
        assert!(!listed.allows_own_page("http://localhost:3000"));
    }

    /// A page can set headers of its own, but neither remove these nor set `Sec-Fetch-*`.
    #[test]
    fn a_page_whose_name_was_bound_anew_is_found_out() {
        let any = AllowedHosts::Any;
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect()
        };
        let page = headers(&[("user-agent", "Mozilla/5.0"), ("accept-language", "en")]);
        assert!(any.may_be_rebound("evil.example:8080", &page));
        let disguised = headers(&[("user-agent", "curl/8"), ("accept-language", "en")]);
        assert!(any.may_be_rebound("evil.example:8080", &disguised));

        for host in ["localhost:8080", "192.0.2.1:8080", "[2001:db8::1]:8080"] {
            assert!(!any.may_be_rebound(host, &page), "{host}");
        }
        for program in [
            headers(&[("user-agent", "curl/8")]),
            headers(&[("accept-language", "*"), ("sec-fetch-mode", "cors")]),
            headers(&[("user-agent", "Mozilla/5.0"), ("sec-fetch-site", "none")]),
            headers(&[
                ("user-agent", "Mozilla/5.0"),
                ("origin", "https://a.example"),
            ]),
            headers(&[]),
        ] {
            assert!(!any.may_be_rebound("pool.example", &program), "{program:?}");
        }
        assert!(!AllowedHosts::Listed(Vec::new()).may_be_rebound("evil.example", &page));
    }

    #[test]
    fn an_origin_is_the_same_by_host_and_port() {
        let is_same = |base: &'static str, scheme, authority| {
            is_same_origin(&Uri::from_static(base), scheme, authority)
        };

        assert!(is_same(
            "http://127.0.0.1:7777/mcp",
            "http",
            "localhost:7777"
        ));
        assert!(is_same("http://localhost:7777/mcp", "http", "[::1]:7777"));
        assert!(!is_same(
            "http://127.0.0.1:7777/mcp",
            "http",
            "localhost:7778"
        ));
        assert!(is_same("https://p.example/mcp", "HTTPS", "P.example:443"));
        assert!(is_same("http://p.example:443/mcp", "https", "p.example"));
        assert!(!is_same("https://p.example/mcp", "http", "p.example:80"));
        assert!(is_same("http://p.example/mcp", "https", "p.example"));
        assert!(!is_same("http://p.example/mcp", "http", "not an authority"));
        assert!(!is_same("/mcp", "http", "p.example"));
    }
}
