//! The address of a server, as people type it.

use std::net::IpAddr;

use http::Uri;
use llamapool_wire::{RelayId, path};

/// Scheme, authority and path of a server, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerAddress {
    is_tls: bool,
    /// `host` or `host:port`.
    authority: String,
    path: String,
}

/// A text that is no address of a server. It is not in the error, as a password may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the URL of a server, such as https://pool.example, without user, query and fragment"
)]
pub(super) struct AddressError;

impl ServerAddress {
    /// Reads an address. The URL that a relay dials will do, and a host alone: https, or http on this machine.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("{}://{text}", default_scheme(text))
        };
        let url: Uri = with_scheme.parse().map_err(|_| AddressError)?;
        let is_tls = match url.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(AddressError),
        };
        let authority = url.authority().ok_or(AddressError)?;
        let is_plain = url.query().is_none() && !text.contains('#');
        if authority.host().is_empty() || authority.as_str().contains('@') || !is_plain {
            return Err(AddressError);
        }

        let path = url.path().trim_end_matches('/');
        // Where a relay dials is not where a server is.
        let path = path.strip_suffix(path::MCP_CONNECT).unwrap_or(path);
        let path = path.strip_suffix(path::WORKER_CONNECT).unwrap_or(path);
        Ok(Self {
            is_tls,
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }

    /// Returns the URL of a path of the server.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Returns the URL of an id.
    pub(super) fn url_of(&self, id: &RelayId) -> String {
        self.url(&format!("{}{id}", path::MCP_BY_ID))
    }

    /// Returns whether clients on the internet can reach it, as far as its name says so: https, on port 443, and no
    /// address of a private network.
    pub(super) fn is_public(&self) -> bool {
        let uri: Option<Uri> = self.to_string().parse().ok();
        let Some(uri) = uri else { return false };
        let port = uri.port_u16().unwrap_or(443);
        self.is_tls && port == 443 && !is_local(uri.host().unwrap_or_default())
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// Returns the scheme of an address that has none.
fn default_scheme(text: &str) -> &'static str {
    let authority = text.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if is_local(host) { "http" } else { "https" }
}

/// Returns whether a host is one of this machine or of a private network.
fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_private = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_private)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        ServerAddress::parse(text).unwrap().to_string()
    }

    #[test]
    fn an_address_is_read_as_people_type_it() {
        for (text, url) in [
            ("https://pool.example", "https://pool.example"),
            ("https://pool.example/pool/", "https://pool.example/pool"),
            ("pool.example", "https://pool.example"),
            ("localhost:8080", "http://localhost:8080"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("wss://pool.example/api/mcp/connect", "https://pool.example"),
            ("ws://10.0.0.1:8080", "http://10.0.0.1:8080"),
        ] {
            assert_eq!(parsed(text), url, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_address() {
        for text in [
            "",
            "ftp://pool.example",
            "https://",
            "https://a:b@pool.example",
            "https://pool.example/?x",
            "https://pool.example/#x",
            "pool example",
        ] {
            assert_eq!(ServerAddress::parse(text), Err(AddressError), "{text}");
        }
    }

    #[test]
    fn the_internet_reaches_https_on_443_under_public_names() {
        let is_public = |text| ServerAddress::parse(text).unwrap().is_public();

        assert!(is_public("https://pool.example"));
        for other in [
            "http://pool.example",
            "https://pool.example:8443",
            "https://10.0.0.1",
            "https://localhost",
        ] {
            assert!(!is_public(other), "{other}");
        }
    }
}
