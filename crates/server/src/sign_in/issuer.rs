//! The names of the authorization server: its issuer, its endpoints, and the ids as its resources.
//!
//! All of them come from `PUBLIC_URL`. A request's `Host` chooses nothing. The issuer has a path on
//! purpose: types of URLs make `https://host` into `https://host/`, and clients compare issuers byte
//! by byte.

use std::net::IpAddr;

use axum::http::{HeaderValue, Uri};
use llamapool_http::has_dot_segment;
use llamapool_identity::{ResourceServer, UriError};
use llamapool_wire::{RelayId, path};

/// The path of the issuer, below the public path.
const ISSUER: &str = "/oauth";
/// The metadata of a protected resource (RFC 9728, 3).
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";
/// The longest path below an id that is echoed in a challenge, in bytes.
const MAX_BELOW_BYTES: usize = 256;

/// The reason why a public URL cannot be that of an authorization server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// It is not set.
    #[error("SIGN_IN needs PUBLIC_URL: clients compare it byte by byte")]
    Missing,
    /// It has no TLS, and is no loopback address.
    #[error(
        "SIGN_IN needs a PUBLIC_URL that begins with https, or with http and a loopback host: \
         keys and tokens would go in the clear"
    )]
    Plain,
    /// Browsers would spell it otherwise.
    #[error("PUBLIC_URL cannot be that of SIGN_IN: {0}")]
    Url(UriError),
}

/// The authorization server, by its public URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issuer {
    /// Reads what clients name as resources.
    resources: ResourceServer,
    /// Scheme, host and port, as browsers write an origin.
    origin: String,
    /// The public path, without a slash at its end; mostly empty.
    path: String,
}

impl Issuer {
    /// Returns the authorization server of a public URL.
    ///
    /// # Errors
    ///
    /// If there is none, or one without TLS that is not on loopback.
    pub(crate) fn new(public_url: Option<&Uri>) -> Result<Self, IssuerError> {
        let url = public_url.ok_or(IssuerError::Missing)?;
        let origin = origin_of(url).ok_or(IssuerError::Missing)?;
        let is_tls = origin.starts_with("https://");
        if !is_tls && !url.host().is_some_and(is_loopback) {
            return Err(IssuerError::Plain);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let resources = ResourceServer::new(&format!("{origin}{path}"));
        Ok(Self {
            resources: resources.map_err(IssuerError::Url)?,
            origin,
            path,
        })
    }

    /// Returns the reader of resources.
    pub(crate) fn resources(&self) -> &ResourceServer {
        &self.resources
    }

    /// Returns the issuer identifier (RFC 8414, 2).
    pub(crate) fn identifier(&self) -> String {
        self.resources.issuer()
    }

    /// Returns the public URL of a path of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin, self.path)
    }

    /// Returns the public path of a path of this server, for a page on it.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }

    /// Returns whether an `Origin` is that of the public URL.
    pub(crate) fn is_own_origin(&self, origin: &HeaderValue) -> bool {
        origin
            .as_bytes()
            .eq_ignore_ascii_case(self.origin.as_bytes())
    }

    /// Returns the URL of the metadata of an id as a protected resource, for a call to a path.
    pub(crate) fn resource_metadata(&self, id: &RelayId, call_path: &str) -> String {
        let resource = resource_path(id, call_path);
        format!("{}{RESOURCE_METADATA}{}{resource}", self.origin, self.path)
    }

    /// Returns whether the rest of the path of a metadata document, behind its name, is the issuer's, or
    /// that of clients that look at the root.
    pub(crate) fn is_of_issuer(&self, rest: &str) -> bool {
        let own = rest.strip_prefix(self.path.as_str()).unwrap_or(rest);
        [rest, own]
            .iter()
            .any(|rest| matches!(*rest, "" | "/" | ISSUER))
    }
}

/// Returns the path of the resource that a call addresses. A client compares it with the URL that was
/// typed, slash included; what only llamapool puts below an id is left out.
fn resource_path(id: &RelayId, call_path: &str) -> String {
    let plain = format!("{}{id}", path::MCP_BY_ID);
    let Some(below) = call_path.strip_prefix(plain.as_str()) else {
        return plain;
    };
    let is_plain = below
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte));
    let is_echoed = is_plain && below.len() <= MAX_BELOW_BYTES && !has_dot_segment(below);
    if is_echoed { plain + below } else { plain }
}

/// Returns the origin of an absolute URL, in lower case and without a default port.
fn origin_of(url: &Uri) -> Option<String> {
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let host = url.host()?.to_ascii_lowercase();
    Some(match url.port_u16() {
        Some(port) if port != default_port => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(url: &str) -> Issuer {
        Issuer::new(Some(&url.parse().unwrap())).unwrap()
    }

    #[test]
    fn an_issuer_has_tls_or_is_on_loopback() {
        let of = |url: &str| Issuer::new(Some(&url.parse().unwrap()));

        for right in [
            "https://pool.example",
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:1/llama",
        ] {
            assert!(of(right).is_ok(), "{right}");
        }
        for plain in [
            "http://pool.example",
            "http://10.0.0.1",
            "http://localhost.evil.example",
        ] {
            assert_eq!(of(plain), Err(IssuerError::Plain), "{plain}");
        }
        assert_eq!(Issuer::new(None), Err(IssuerError::Missing));
    }

    #[test]
    fn all_names_are_below_the_public_url() {
        let id = "notes".parse().unwrap();
        let root = issuer("https://Pool.example:443/");
        assert_eq!(root.identifier(), "https://pool.example/oauth");
        assert_eq!(
            root.resource_metadata(&id, "/api/mcp/id/notes"),
            "https://pool.example/.well-known/oauth-protected-resource/api/mcp/id/notes"
        );
        let own = HeaderValue::from_static("https://pool.example");
        assert!(root.is_own_origin(&own));
        assert!(!root.is_own_origin(&HeaderValue::from_static("https://pool.example:8443")));

        let below = issuer("https://pool.example/llama/");
        assert_eq!(below.identifier(), "https://pool.example/llama/oauth");
        assert_eq!(
            below.resource_metadata(&id, "/api/mcp/id/notes/"),
            "https://pool.example/.well-known/oauth-protected-resource/llama/api/mcp/id/notes/"
        );
        for rest in ["", "/oauth", "/llama", "/llama/oauth"] {
            assert!(below.is_of_issuer(rest), "{rest}");
        }
        for rest in ["/other", "/api/mcp/id/notes", "/oauth/x"] {
            assert!(!below.is_of_issuer(rest), "{rest}");
        }
    }

    #[test]
    fn a_challenge_echoes_a_plain_path_and_no_other() {
        let issuer = issuer("https://pool.example");
        let id = "notes".parse().unwrap();
        let end = |path: &str| {
            let url = issuer.resource_metadata(&id, path);
            url.rsplit_once("/api/mcp/id/").unwrap().1.to_owned()
        };

        assert_eq!(end("/api/mcp/id/notes/sse"), "notes/sse");
        for other in [
            "/api/mcp/id/notes/~at/x",
            "/api/mcp/id/notes/a\"b",
            "/api/mcp/id/notes/../x",
            "/api/mcp/id/notes/%2e",
        ] {
            assert_eq!(end(other), "notes", "{other}");
        }
    }
}
