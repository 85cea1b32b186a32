//! The public URL of the server that is looked at.

use std::net::IpAddr;

use http::Uri;

/// Scheme, host, port and path of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    is_tls: bool,
    /// Without the brackets of an IPv6 address, in lower case.
    host: String,
    port: u16,
    /// Without a slash at its end.
    path: String,
}

/// A text that is no public URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no public URL, expected https://host, with a port and a path where there are some"
)]
pub(super) struct OriginError(String);

impl Origin {
    /// Reads a public URL.
    pub(super) fn parse(text: &str) -> Result<Self, OriginError> {
        let wrong = || OriginError(text.to_owned());
        let url: Uri = text.parse().map_err(|_| wrong())?;
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = url.authority().ok_or_else(wrong)?;
        if url.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let default_port = if is_tls { 443 } else { 80 };
        Ok(Self {
            is_tls,
            host: host.to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(default_port),
            path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the origin of a server on this machine with the default port.
    pub(super) fn of_loopback() -> Self {
        Self {
            is_tls: false,
            host: "localhost".to_owned(),
            port: 8080,
            path: String::new(),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether the host is one of this machine, where clients on it need no encryption.
    pub(super) fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// Returns `host`, or `host:port` where the port is not the usual one.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Returns the URL of a path of the server.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{}{path}", self.root(), self.path)
    }

    /// Returns the URL without a path.
    pub(super) fn root(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Returns the path and query of a URL, `None` if it is one of another origin.
    pub(super) fn below<'a>(&self, url: &'a str) -> Option<&'a str> {
        let rest = url.strip_prefix(&self.root())?;
        rest.starts_with('/').then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_read_with_its_parts() {
        let plain = Origin::parse("https://Pool.example/").unwrap();
        assert_eq!(plain.url("/healthz"), "https://pool.example/healthz");
        assert_eq!((plain.port(), plain.is_loopback()), (443, false));
        let below = Origin::parse("http://[::1]:8080/llama/").unwrap();
        assert_eq!(below.url("/healthz"), "http://[::1]:8080/llama/healthz");
        assert!(below.is_loopback() && !below.is_tls());
        for wrong in [
            "pool.example",
            "wss://pool.example",
            "https://a@b",
            "https://a/?x=1",
            "",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_of_another_origin_is_not_below() {
        let origin = Origin::parse("https://pool.example").unwrap();

        assert_eq!(origin.below("https://pool.example/a?b"), Some("/a?b"));
        for other in [
            "http://pool.example/a",
            "https://pool.example.evil/a",
            "https://pool.example:8443/a",
            "https://pool.example",
            "/a",
        ] {
            assert_eq!(origin.below(other), None, "{other}");
        }
    }
}
