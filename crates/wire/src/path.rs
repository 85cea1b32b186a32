//! Paths of the HTTP requests that server and relay exchange.

/// Public: where relays of MCP providers connect (WebSocket).
pub const MCP_CONNECT: &str = "/api/mcp/connect";
/// Public: what the URL of an MCP provider starts with; the relay's id follows.
pub const MCP_BY_ID: &str = "/api/mcp/id/";
/// Inside the tunnel: the reserved path whose answer is the relay's stream of events.
pub const EVENTS: &str = "/llamapool/events";
/// Inside the tunnel: what the path of a call to an MCP provider starts with. What follows is what the caller's URL
/// had behind the id: nothing, or a `/` and the rest, then the query.
pub const MCP_CALL: &str = "/mcp";
/// Inside the tunnel: the path of a request for the provider's metadata as an OAuth protected resource (RFC 9728).
pub const RESOURCE_METADATA: &str = "/mcp-resource-metadata";
/// Below an id, in the public URL and inside the tunnel: a path from the provider's root that the provider itself
/// announced follows (MCP 2024-11-05, HTTP with SSE: the `endpoint` event).
pub const ANNOUNCED: &str = "/~announced";
/// Below an id, in the public URL alone: the sealed name of one of the relays that share the id follows.
pub const AT: &str = "/~at/";
