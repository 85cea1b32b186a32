//! The paths of the HTTP requests between server and relay.

use crate::RelayId;

/// Public: relays of MCP providers connect here (WebSocket).
pub const MCP_CONNECT: &str = "/api/mcp/connect";
/// Public: workers, the relays of LLM runtimes, connect here (WebSocket).
pub const WORKER_CONNECT: &str = "/api/workers/connect";
/// Public: the beginning of the path of an MCP provider; the id follows.
pub const MCP_BY_ID: &str = "/api/mcp/id/";
/// Below an id, in the public URL and inside the tunnel: a path from the provider's root follows that
/// the provider itself named (MCP 2024-11-05, HTTP with SSE: the `endpoint` event).
pub const ANNOUNCED: &str = "/~announced";
/// Below an id, in the public URL and inside the tunnel: the last of the paths where clients look for
/// the metadata of an authorization server, in the form of OpenID Connect.
pub const OPENID_BELOW: &str = "/.well-known/openid-configuration";
/// Below an id, in the public URL alone: the sealed name of one of the relays follows that share the
/// id.
pub const AT: &str = "/~at/";

const EVENTS: &str = "/llamapool/events/";
const CALL: &str = "/mcp/";
const LLM_CALL: &str = "/llm/";
const DOCUMENTS: [(OAuthDocument, &str); 3] = [
    (OAuthDocument::Resource, "/mcp-resource-metadata/"),
    (OAuthDocument::Server, "/mcp-server-metadata/"),
    (OAuthDocument::OpenId, "/mcp-openid-metadata/"),
];

/// An OAuth document of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthDocument {
    /// Its metadata as a protected resource (RFC 9728).
    Resource,
    /// The metadata of the authorization server on its own origin (RFC 8414).
    Server,
    /// The same in the form of OpenID Connect (OpenID Connect Discovery 1.0).
    OpenId,
}

/// The purpose of a request inside the tunnel, as its path names it. The id selects one of the relay's
/// providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelPath<'a> {
    /// The stream of events of this id.
    Events(&'a str),
    /// A call to the provider of this id.
    Call {
        /// The id.
        id: &'a str,
        /// The part of the caller's path behind the id: empty, or a `/` and the rest.
        below: &'a str,
    },
    /// A call to the LLM runtime of this id.
    LlmCall {
        /// The id.
        id: &'a str,
        /// The path at the runtime, with its `/`, such as `/v1/chat/completions`.
        at_runtime: &'a str,
    },
    /// A document of the provider of this id.
    Document {
        /// The document.
        which: OAuthDocument,
        /// The id.
        id: &'a str,
    },
}

impl<'a> TunnelPath<'a> {
    /// Parses a path without a query. `None` if no request between server and relay has such a path.
    pub fn parse(path: &'a str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix(CALL) {
            let (id, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            return Some(Self::Call { id, below });
        }
        if let Some(rest) = path.strip_prefix(LLM_CALL) {
            let (id, at_runtime) = rest.split_at(rest.find('/')?);
            return Some(Self::LlmCall { id, at_runtime });
        }

        let document = DOCUMENTS
            .iter()
            .find_map(|&(which, start)| Some((which, path.strip_prefix(start)?)));
        let document = document.map(|(which, id)| Self::Document { which, id });
        document.or_else(|| path.strip_prefix(EVENTS).map(Self::Events))
    }

    /// Returns the id of the provider.
    pub fn id(self) -> &'a str {
        match self {
            Self::Events(id)
            | Self::Call { id, .. }
            | Self::LlmCall { id, .. }
            | Self::Document { id, .. } => id,
        }
    }
}

/// Returns the path, inside the tunnel, of the stream of events of an id.
pub fn events(id: &RelayId) -> String {
    format!("{EVENTS}{id}")
}

/// Returns the path, inside the tunnel, of a call. `below` is the part of the caller's path behind the
/// id: empty, or a `/` and the rest.
pub fn call(id: &RelayId, below: &str) -> String {
    format!("{CALL}{id}{below}")
}

/// Returns the path, inside the tunnel, of a call to an LLM runtime. `at_runtime` is the path there,
/// with its `/`.
pub fn llm_call(id: &RelayId, at_runtime: &str) -> String {
    format!("{LLM_CALL}{id}{at_runtime}")
}

/// Returns the path, inside the tunnel, of a document of an id's provider.
pub fn document(which: OAuthDocument, id: &RelayId) -> String {
    let start = DOCUMENTS
        .iter()
        .find(|(known, _)| *known == which)
        .map_or("", |(_, start)| start);
    format!("{start}{id}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_inside_the_tunnel_are_exactly_these() {
        let id: RelayId = "mcp-1234".parse().unwrap();

        assert_eq!(events(&id), "/llamapool/events/mcp-1234");
        assert_eq!(call(&id, ""), "/mcp/mcp-1234");
        assert_eq!(call(&id, "/sse/"), "/mcp/mcp-1234/sse/");
        assert_eq!(
            document(OAuthDocument::Resource, &id),
            "/mcp-resource-metadata/mcp-1234"
        );
        assert_eq!(
            document(OAuthDocument::Server, &id),
            "/mcp-server-metadata/mcp-1234"
        );
        assert_eq!(
            document(OAuthDocument::OpenId, &id),
            "/mcp-openid-metadata/mcp-1234"
        );
        for unknown in [
            "/",
            "/mcp",
            "/llamapool/events",
            "/mcp-resource-metadata",
            "/mcpx/a",
            "/llm/a",
            "",
        ] {
            assert_eq!(TunnelPath::parse(unknown), None, "{unknown}");
        }
    }

    proptest! {
        #[test]
        fn every_path_is_parsed_to_its_parts(id in "[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,20}", below in "(/[ -~]{0,20})?") {
            let id: RelayId = id.parse().unwrap();
            let call = call(&id, &below);
            let events = events(&id);
            prop_assert_eq!(TunnelPath::parse(&call), Some(TunnelPath::Call { id: id.as_str(), below: &below }));
            prop_assert_eq!(TunnelPath::parse(&events), Some(TunnelPath::Events(id.as_str())));
            let at_runtime = format!("/v1{below}");
            let llm_call = llm_call(&id, &at_runtime);
            let parsed = TunnelPath::LlmCall { id: id.as_str(), at_runtime: &at_runtime };
            prop_assert_eq!(TunnelPath::parse(&llm_call), Some(parsed));
            for which in [OAuthDocument::Resource, OAuthDocument::Server, OAuthDocument::OpenId] {
                let asked = TunnelPath::Document { which, id: id.as_str() };
                let path = document(which, &id);
                prop_assert_eq!(TunnelPath::parse(&path), Some(asked));
            }
        }
    }
}
