//! The hosts that are reached without a proxy: the list of `NO_PROXY`.
//!
//! The union of the rules of curl (`CURLOPT_NOPROXY`) and Go (`golang.org/x/net/http/httpproxy`),
//! which differ only in what the other one ignores:
//!
//! - Commas and white space separate entries, and case does not matter.
//! - `*` is every host, whether it is named or an IP address.
//! - `example.com`, `.example.com` and `*.example.com` are that host and all hosts below it.
//! - An IP address is that address, and a prefix (`10.0.0.0/8`, `fd00::/8`) every address in it. An
//!   IPv6 address may be in brackets, and one that is mapped from IPv4 is that IPv4 address.
//! - A port (`example.com:8080`, `127.0.0.1:8080`, `[::1]:8080`) limits an entry to that port.
//!
//! Names are not resolved. A loopback address is no exception by itself, as in curl: behind a proxy
//! that another machine runs (`ssh -D`), `localhost` is that machine.

use std::net::IpAddr;

use http::Uri;
use ipnet::IpNet;

/// Returns whether `list` has the host and port of `target`.
pub(super) fn is_exception(list: &str, target: &Uri) -> bool {
    let Some(host) = target.host() else {
        return false;
    };
    let host = host.trim_end_matches('.');
    let port = super::port(target);

    list.split(|separator: char| separator == ',' || separator.is_whitespace())
        .filter(|entry| !entry.is_empty())
        .any(|entry| entry == "*" || has(entry, host, port))
}

fn has(entry: &str, host: &str, port: u16) -> bool {
    let (listed, listed_port) = split_port(entry);
    if listed_port.is_some_and(|listed_port| listed_port != port) {
        return false;
    }

    match address(host) {
        Some(address) => has_address(listed, address),
        None => has_name(listed, host),
    }
}

/// Splits an entry into host and port. A port that is no number is a part of the host, which then
/// matches nothing.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let is_bare_ipv6 = entry.matches(':').count() > 1 && !entry.contains(']');
    match entry.rsplit_once(':') {
        Some((host, port)) if !is_bare_ipv6 => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

/// Parses an IP address with or without brackets.
fn address(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

fn has_address(listed: &str, wanted: IpAddr) -> bool {
    if let Some(listed) = address(listed) {
        return listed == wanted;
    }
    listed
        .parse::<IpNet>()
        .is_ok_and(|network| network.contains(&wanted))
}

fn has_name(listed: &str, wanted: &str) -> bool {
    let listed = listed.strip_prefix('*').unwrap_or(listed);
    let listed = listed.strip_prefix('.').unwrap_or(listed);
    let listed = listed.trim_end_matches('.').as_bytes();
    let wanted = wanted.as_bytes();
    if listed.is_empty() || wanted.len() < listed.len() {
        return false;
    }

    let (above, end) = wanted.split_at(wanted.len() - listed.len());
    end.eq_ignore_ascii_case(listed) && (above.is_empty() || above.ends_with(b"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excepts(list: &str, target: &str) -> bool {
        is_exception(list, &Uri::try_from(target).unwrap())
    }

    #[test]
    fn an_entry_excepts_the_hosts_it_describes() {
        for (list, target) in [
            ("*", "http://server.example"),
            ("*", "http://127.0.0.1:8080"),
            ("other.example, *", "http://[::1]:8080"),
            ("server.example", "http://server.example:8080"),
            ("SERVER.example", "http://server.EXAMPLE"),
            ("server.example.", "http://server.example"),
            ("server.example", "http://server.example./"),
            ("example", "http://server.example"),
            (".example", "http://server.example"),
            (".server.example", "http://server.example"),
            ("*.example", "http://a.server.example"),
            ("a b\tserver.example", "http://server.example"),
            ("server.example:8080", "http://server.example:8080"),
            ("server.example:80", "http://server.example"),
            ("server.example:443", "https://server.example"),
            (".example:8080", "http://server.example:8080"),
            ("localhost,127.0.0.1", "http://127.0.0.1:8080"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("127.0.0.0/8", "http://127.0.0.1:8080"),
            ("::1", "http://[::1]:8080"),
            ("[::1]", "http://[::1]:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("fd00::/8", "http://[fd12::1]"),
            ("192.0.2.1", "http://[::ffff:192.0.2.1]"),
            ("192.0.2.0/24", "http://[::ffff:192.0.2.1]"),
        ] {
            assert!(excepts(list, target), "{list} {target}");
        }
    }

    #[test]
    fn no_other_host_is_excepted() {
        for (list, target) in [
            ("", "http://server.example"),
            (" , ,", "http://server.example"),
            (".", "http://server.example"),
            ("server.example", "http://notserver.example"),
            ("server.example", "http://server.example.org"),
            ("a.server.example", "http://server.example"),
            ("server.example:8081", "http://server.example:8080"),
            ("server.example:x", "http://server.example:8080"),
            ("127.0.0.1:8081", "http://127.0.0.1:8080"),
            ("[::1]:8081", "http://[::1]:8080"),
            ("127.0.0.1", "http://127.0.0.2"),
            ("127.0.0.1", "http://localhost"),
            ("localhost", "http://127.0.0.1"),
            ("0.0.1", "http://127.0.0.1"),
            ("10.0.0.0/8", "http://127.0.0.1"),
            ("10.0.0.0/99", "http://10.0.0.1"),
            ("fd00::/8", "http://10.0.0.1"),
            ("server*", "http://server.example"),
        ] {
            assert!(!excepts(list, target), "{list} {target}");
        }
    }
}
