//! Ports, IP addresses, host names and origins.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use llamapool_settings::value::{expected, items, non_blank};
use llamapool_settings::{Syntax, ValueError, ValueType};

/// The port for any free one. Two listeners with it get two different ports.
pub(super) const ANY_PORT: u16 = 0;

/// A port.
pub(super) const PORT: ValueType<u16> = ValueType {
    syntax: Syntax::Port,
    parse: port,
};
/// A port, `None` if the text is blank.
pub(super) const PORT_OR_NONE: ValueType<Option<u16>> = ValueType {
    syntax: Syntax::Port,
    parse: |text| non_blank(text).map(|text| port(&text)).transpose(),
};
/// An IP address.
pub(super) const IP: ValueType<IpAddr> = ValueType {
    syntax: Syntax::Address,
    parse: ip,
};
/// The address of a listener that can be switched off.
pub(super) const LISTEN: ValueType<Listen> = ValueType {
    syntax: Syntax::Address,
    parse: listen,
};
/// The address of the metrics, `None` if the text is blank.
pub(super) const METRICS: ValueType<Option<MetricsAddress>> = ValueType {
    syntax: Syntax::Port,
    parse: |text| non_blank(text).map(|text| metrics(&text)).transpose(),
};
/// Origins of browsers.
pub(super) const ORIGINS: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::List,
    parse: |text| items(text).map(origin).collect(),
};
/// Host names.
pub(super) const HOSTS: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::List,
    parse: |text| items(text).map(host).collect(),
};

/// IP addresses and networks of them.
pub(super) const NETWORKS: ValueType<Vec<IpNet>> = ValueType {
    syntax: Syntax::List,
    parse: |text| items(text).map(network).collect(),
};

/// The address of a listener that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listen {
    /// No listener.
    Off,
    /// A listener at this address.
    On(SocketAddr),
}

/// The address of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsAddress {
    /// This port, on the IP address of another setting.
    Port(u16),
    /// A whole address.
    Address(SocketAddr),
}

fn port(text: &str) -> Result<u16, ValueError> {
    text.trim()
        .parse()
        .or_else(|_| expected("a port, 0 to 65535"))
}

fn ip(text: &str) -> Result<IpAddr, ValueError> {
    text.trim()
        .parse()
        .or_else(|_| expected("an IP address such as 0.0.0.0, 127.0.0.1 or ::"))
}

fn network(text: &str) -> Result<IpNet, ValueError> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .or_else(|_| expected("IP addresses or networks such as 10.0.0.0/8, 192.0.2.1 or fd00::/8"))
}

fn listen(text: &str) -> Result<Listen, ValueError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(Listen::Off);
    }

    text.parse()
        .map(Listen::On)
        .or_else(|_| expected("an IP address with a port such as 127.0.0.1:4555, or off"))
}

fn metrics(text: &str) -> Result<MetricsAddress, ValueError> {
    if let Ok(port) = text.parse() {
        return Ok(MetricsAddress::Port(port));
    }

    text.parse().map(MetricsAddress::Address).or_else(|_| {
        expected("a port, 0 to 65535, or an IP address with a port such as 127.0.0.1:9090")
    })
}

fn origin(text: &str) -> Result<String, ValueError> {
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', '*']);
        !scheme.is_empty() && is_host && !text.contains(' ')
    });

    if text == "*" || is_origin {
        Ok(text.to_ascii_lowercase())
    } else {
        expected("origins such as https://inspector.example, without a path, or *")
    }
}

/// Returns a host as the `Host` header has it: in lower case, an IPv6 address in brackets.
fn host(text: &str) -> Result<String, ValueError> {
    let in_brackets = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = in_brackets.unwrap_or(text).parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }

    let is_name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.chars().all(is_name_char) {
        Ok(text.to_ascii_lowercase())
    } else {
        expected("host names such as llamapool.example, without scheme and port")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_a_whole_address_or_is_off() {
        assert_eq!(listen("OFF"), Ok(Listen::Off));
        assert!(matches!(listen("[::1]:4555"), Ok(Listen::On(_))));
        assert!(listen("4555").is_err());
        assert!(listen("localhost").is_err());
    }

    #[test]
    fn metrics_have_a_port_or_a_whole_address() {
        assert_eq!(metrics("9090"), Ok(MetricsAddress::Port(9090)));
        assert!(matches!(
            metrics("0.0.0.0:9090"),
            Ok(MetricsAddress::Address(_))
        ));
        assert!(metrics("here").is_err());
    }

    #[test]
    fn ports_and_ip_addresses_have_no_names() {
        for bad in ["65536", "-1", "", "http"] {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert!(ip("0.0.0.0").is_ok());
        assert!(ip("::").is_ok());
        assert!(ip("server").is_err());
    }

    #[test]
    fn origins_are_in_lower_case_and_have_no_path() {
        assert_eq!(
            (ORIGINS.parse)("https://A.example, *,"),
            Ok(vec!["https://a.example".into(), "*".into()])
        );

        for bad in [
            "a.example",
            "https://a.example/",
            "https://",
            "https://*.example",
        ] {
            assert!((ORIGINS.parse)(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_in_lower_case_and_have_no_port() {
        let hosts = (HOSTS.parse)("A.example,[::1],127.0.0.1,2001:DB8:0::1").unwrap();
        assert_eq!(hosts, ["a.example", "[::1]", "127.0.0.1", "[2001:db8::1]"]);

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
}
