//! The base of a server's public URLs, below which callers find every provider.
//!
//! The server sends the one that is configured with the 101 response. A relay that gets none makes
//! one of the address that it dials.

use http::Uri;

use crate::RelayId;
use crate::path;

/// The longest base, in bytes: what common clients take as a URL.
const MAX_BYTES: usize = 2048;

/// The base of a server's public URLs: `http` or `https`, a host, and a path without a slash at its
/// end, which mostly is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicBase(String);

impl PublicBase {
    /// Parses a base that a server has sent. `None` if it is no such URL: a text of a peer is shown
    /// to people, and pasted.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() > MAX_BYTES || !is_plain || text.contains(['#', '?', '"', '\'', '<', '>']) {
            return None;
        }

        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?.as_str();
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host = !uri.host()?.is_empty() && !authority.contains('@');
        (is_http && has_host).then(|| Self(text.trim_end_matches('/').to_owned()))
    }

    /// Returns the base that the address of a server suggests: `https` for `wss`, the same host and
    /// port, and the path before that of the connection.
    pub fn of_server(server: &Uri) -> Option<Self> {
        let scheme = match server.scheme_str() {
            Some("wss" | "https") => "https",
            _ => "http",
        };
        let path = server.path();
        let prefix = [path::MCP_CONNECT, path::WORKER_CONNECT]
            .iter()
            .find_map(|connect| path.strip_suffix(connect))
            .unwrap_or_default();
        let host = server.host()?;
        let port = server.port_u16().map(|port| format!(":{port}"));

        Self::parse(&format!(
            "{scheme}://{host}{}{prefix}",
            port.unwrap_or_default()
        ))
    }

    /// Returns the base itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the URL under which callers reach the MCP provider with an id.
    pub fn of_mcp(&self, id: &RelayId) -> String {
        format!("{}{}{id}", self.0, path::MCP_BY_ID)
    }

    /// Returns the URL of the API for LLMs, as clients of OpenAI's API have it.
    pub fn of_llm(&self) -> String {
        format!("{}/v1", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(server: &str) -> Option<String> {
        let base = PublicBase::of_server(&server.parse().unwrap())?;
        Some(base.as_str().to_owned())
    }

    #[test]
    fn a_base_is_a_plain_url_of_http() {
        let id = "notes".parse().unwrap();
        let base = PublicBase::parse("https://pool.example/llama/").unwrap();

        assert_eq!(
            base.of_mcp(&id),
            "https://pool.example/llama/api/mcp/id/notes"
        );
        assert_eq!(base.of_llm(), "https://pool.example/llama/v1");
        assert!(PublicBase::parse("http://[::1]:8080").is_some());
    }

    #[test]
    fn what_could_deceive_people_or_a_shell_is_no_base() {
        for bad in [
            "",
            "pool.example",
            "javascript:alert(1)",
            "ftp://pool.example",
            "https://",
            "https://me@pool.example",
            "https://pool.example/a b",
            "https://pool.example/\u{1b}[31m",
            "https://pool.example/\u{202e}",
            "https://pool.example/?a=b",
            "https://pool.example/#a",
            "https://pool.example/';rm",
            &format!("https://{}.example", "a".repeat(3000)),
        ] {
            assert_eq!(PublicBase::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_base_is_made_of_the_address_of_the_server() {
        for (server, base) in [
            (
                "ws://localhost:8080/api/mcp/connect",
                "http://localhost:8080",
            ),
            ("wss://pool.example/api/mcp/connect", "https://pool.example"),
            (
                "wss://pool.example/pool/api/workers/connect?a=b",
                "https://pool.example/pool",
            ),
            ("https://pool.example/elsewhere", "https://pool.example"),
        ] {
            assert_eq!(derived(server).as_deref(), Some(base));
        }
    }
}
