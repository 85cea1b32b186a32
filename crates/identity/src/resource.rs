//! Resources (RFC 8707): the URLs of ids, as clients name them. A grant keeps the id, never a text to
//! compare.

use llamapool_wire::RelayId;
use llamapool_wire::path::MCP_BY_ID;

use crate::uri::{UriError, UriParts};

/// The path of the authorization server below the public URL. It is not empty on purpose: parsers of
/// URLs add a slash to a URL without a path, and clients compare issuers byte by byte.
const ISSUER_PATH: &str = "/oauth";

/// The public URL of a server: what its resources and its issuer begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceServer {
    /// Without a slash at its end.
    text: String,
    /// In lower case.
    scheme: String,
    /// In lower case.
    host: String,
    port: Option<u16>,
    /// Without a slash at its end; mostly empty.
    path: String,
}

/// The reasons why a text is no resource of this server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// It is no URI, or one that browsers would change.
    #[error("the resource is not valid: {0}")]
    Uri(#[from] UriError),
    /// It is of another server.
    #[error("the resource is not of this server, expected {0}/api/mcp/id/<id>")]
    OtherServer(String),
    /// It names no id.
    #[error("the resource names no id of this server, expected {0}/api/mcp/id/<id>")]
    NoId(String),
}

impl ResourceServer {
    /// Returns the server of a public URL.
    ///
    /// # Errors
    ///
    /// If it is no `http` or `https` URL with a host, or has a query.
    pub fn new(public_url: &str) -> Result<Self, UriError> {
        let uri = UriParts::parse(public_url)?;
        let scheme = uri.scheme.to_ascii_lowercase();
        let host = uri.host.ok_or(UriError::Host)?.to_ascii_lowercase();
        if !matches!(&*scheme, "http" | "https") {
            return Err(UriError::Scheme);
        }
        if uri.query.is_some() {
            return Err(UriError::Character('?'));
        }
        Ok(Self {
            text: public_url.trim_end_matches('/').to_owned(),
            port: port_of(&scheme, uri.port),
            path: uri.path.trim_end_matches('/').to_owned(),
            scheme,
            host,
        })
    }

    /// Returns the issuer of its authorization server.
    pub fn issuer(&self) -> String {
        format!("{}{ISSUER_PATH}", self.text)
    }

    /// Returns the URL of an id.
    pub fn url_of(&self, id: &RelayId) -> String {
        format!("{}{MCP_BY_ID}{id}", self.text)
    }

    /// Returns the id that a resource names: the case of scheme and host, a default port, a slash at the
    /// end and a path below the id do not matter.
    ///
    /// # Errors
    ///
    /// If it is no URL of an id of this server.
    pub fn id_of(&self, resource: &str) -> Result<RelayId, ResourceError> {
        let uri = UriParts::parse(resource)?;
        let scheme = uri.scheme.to_ascii_lowercase();
        let host = uri.host.unwrap_or_default().to_ascii_lowercase();
        let port = port_of(&scheme, uri.port);
        if scheme != self.scheme || host != self.host || port != self.port {
            return Err(ResourceError::OtherServer(self.text.clone()));
        }

        let no_id = || ResourceError::NoId(self.text.clone());
        let path = uri.path.strip_prefix(&self.path).ok_or_else(no_id)?;
        let path = path.strip_prefix(MCP_BY_ID).ok_or_else(no_id)?;
        if uri.query.is_some() || path.contains('%') {
            return Err(no_id());
        }
        let id = path.split('/').next().unwrap_or_default();
        id.parse().map_err(|_| no_id())
    }
}

/// Returns a port, `None` if it is the default one of the scheme.
fn port_of(scheme: &str, port: Option<u16>) -> Option<u16> {
    let default = match scheme {
        "https" => 443,
        _ => 80,
    };
    port.filter(|port| *port != default)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server() -> ResourceServer {
        ResourceServer::new("https://pool.example/").unwrap()
    }

    #[test]
    fn a_resource_is_an_id_of_this_server() {
        for text in [
            "https://pool.example/api/mcp/id/notes",
            "https://pool.example/api/mcp/id/notes/",
            "https://pool.example/api/mcp/id/notes/mcp",
            "https://pool.example:443/api/mcp/id/notes",
            "HTTPS://Pool.Example/api/mcp/id/notes",
        ] {
            assert_eq!(server().id_of(text).unwrap().as_str(), "notes", "{text}");
        }
        let url = server().url_of(&"notes".parse().unwrap());
        assert_eq!(url, "https://pool.example/api/mcp/id/notes");
        assert_eq!(server().issuer(), "https://pool.example/oauth");
    }

    #[test]
    fn another_resource_is_refused() {
        for text in [
            "",
            "notes",
            "/api/mcp/id/notes",
            "https://pool.example",
            "https://pool.example/",
            "https://pool.example/api/mcp/id",
            "https://pool.example/api/mcp/id/",
            "https://pool.example/api/mcp/id//notes",
            "https://pool.example//api/mcp/id/notes",
            "https://pool.example/API/mcp/id/notes",
            "https://pool.example/api/mcp/id/notes?a=b",
            "https://pool.example/api/mcp/id/notes?",
            "https://pool.example/api/mcp/id/notes#a",
            "https://pool.example/api/mcp/id/%6eotes",
            "https://pool.example/api/mcp/id/notes%2fother",
            "https://pool.example/api/mcp/id/notes/a%20b",
            "https://pool.example/api/mcp/id/notes/../other",
            "https://pool.example/api/mcp/id/../id/notes",
            "https://pool.example/api/mcp/id/notes/.",
            "https://pool.example/api/mcp/id/notes\\",
            "https://pool.example:8443/api/mcp/id/notes",
            "http://pool.example/api/mcp/id/notes",
            "https://pool.example.evil.example/api/mcp/id/notes",
            "https://user@pool.example/api/mcp/id/notes",
            "https://evil.example/https://pool.example/api/mcp/id/notes",
            "https://pool.example/oauth",
        ] {
            assert!(server().id_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_public_url_with_a_path_has_its_ids_below_it() {
        let server = ResourceServer::new("http://127.0.0.1:8080/tools/").unwrap();

        let id = server.id_of("http://127.0.0.1:8080/tools/api/mcp/id/notes");

        assert_eq!(id.unwrap().as_str(), "notes");
        assert!(
            server
                .id_of("http://127.0.0.1:8080/api/mcp/id/notes")
                .is_err()
        );
        assert!(
            server
                .id_of("http://127.0.0.1:8080/tools2/api/mcp/id/notes")
                .is_err()
        );
        assert_eq!(server.issuer(), "http://127.0.0.1:8080/tools/oauth");
        for wrong in [
            "pool.example",
            "ftp://pool.example",
            "https://a.example/?b",
            "https:",
        ] {
            assert!(ResourceServer::new(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_id_survives_its_url(id in "[A-Za-z0-9._~-]{1,128}", below in "(/[a-z0-9]{0,5}){0,3}") {
            let id: Result<RelayId, _> = id.parse();
            prop_assume!(id.is_ok());
            let id = id.unwrap();
            let url = server().url_of(&id) + &below;
            prop_assert_eq!(server().id_of(&url), Ok(id));
        }

        #[test]
        fn any_resource_is_read_without_a_panic(text in "\\PC{0,60}") {
            let _ = server().id_of(&text);
            let _ = server().id_of(&format!("https://pool.example/api/mcp/id/{text}"));
        }
    }
}
