//! The URL of a fetch.

use std::net::Ipv4Addr;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use rustls::pki_types::ServerName;

use super::HTTPS_PORT;

/// A URL that may be got: https, the name of a host, its usual port, a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchTarget {
    host: String,
    name: ServerName<'static>,
    path: PathAndQuery,
}

/// A URL that is not got, wherever it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// It is not what a browser would take for a URL.
    #[error("it is no https URL")]
    Url,
    /// It has a port.
    #[error("it has another port than 443")]
    Port,
    /// Its host is an address, or a name that only a local network has.
    #[error("its host is no name with a dot in it")]
    Host,
}

impl FetchTarget {
    /// Reads a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        let url: Uri = url.parse().map_err(|_| TargetError::Url)?;
        let authority = url.authority().ok_or(TargetError::Url)?;
        if url.scheme_str() != Some("https") || authority.as_str().contains('@') {
            return Err(TargetError::Url);
        }
        let has_port = authority.as_str() != authority.host();
        if has_port && authority.port_u16() != Some(HTTPS_PORT) {
            return Err(TargetError::Port);
        }

        let host = authority.host().to_ascii_lowercase();
        let last = host.rsplit('.').next().unwrap_or_default();
        let is_number = last.starts_with(|c: char| c.is_ascii_digit());
        let is_address = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
        if is_address || is_number || last.is_empty() || !host.contains('.') {
            return Err(TargetError::Host);
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| TargetError::Host)?;
        let path = url.path_and_query().cloned().ok_or(TargetError::Url)?;
        Ok(Self { host, name, path })
    }

    /// Returns the name of the host, in lower case.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the name that its certificate must have.
    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    pub(super) fn path(&self) -> &PathAndQuery {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_name_and_the_usual_port_is_a_target() {
        for url in [
            "https://claude.ai/oauth/metadata",
            "https://Claude.ai:443/oauth/metadata",
            "https://a.b-c.example/x?y=z",
        ] {
            assert!(FetchTarget::parse(url).is_ok(), "{url}");
        }
        let target = FetchTarget::parse("https://Claude.AI/a?b=c").unwrap();
        assert_eq!(target.host(), "claude.ai");
        assert_eq!(target.path().as_str(), "/a?b=c");
    }

    #[test]
    fn other_urls_are_not() {
        for (url, error) in [
            ("http://claude.ai/a", TargetError::Url),
            ("ftp://claude.ai/a", TargetError::Url),
            ("/a", TargetError::Url),
            ("https://me@claude.ai/a", TargetError::Url),
            ("https://claude.ai@evil.example/a", TargetError::Url),
            ("https://claude.ai:8443/a", TargetError::Port),
            ("https://claude.ai:80/a", TargetError::Port),
            ("https://claude.ai:/a", TargetError::Port),
            ("https://127.0.0.1/a", TargetError::Host),
            ("https://1.1.1.1/a", TargetError::Host),
            ("https://169.254.169.254/latest", TargetError::Host),
            ("https://127.1/a", TargetError::Host),
            ("https://2130706433/a", TargetError::Host),
            ("https://0x7f.0x1/a", TargetError::Host),
            ("https://0177.0.0.01/a", TargetError::Host),
            ("https://[::1]/a", TargetError::Host),
            ("https://[::ffff:127.0.0.1]/a", TargetError::Host),
            ("https://[64:ff9b::7f00:1]/a", TargetError::Host),
            ("https://localhost/a", TargetError::Host),
            ("https://metadata/a", TargetError::Host),
            ("https://claude.ai./a", TargetError::Host),
        ] {
            assert_eq!(FetchTarget::parse(url), Err(error), "{url}");
        }
    }
}
