//! The HTTP headers of MCP, each named once.

use http::HeaderName;

/// The beginning of the name of every header of MCP, also of those that a server declares itself
/// (`Mcp-Param-*`, MCP 2026-07-28).
pub const PREFIX: &str = "mcp-";

/// The session of a request or a response (MCP 2025-03-26 to 2025-11-25, session management).
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The revision of a request, on every request after `initialize` (from MCP 2025-06-18 on).
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The method of the request in the body (MCP 2026-07-28, streamable HTTP).
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The tool, prompt, resource or task that the request in the body names (MCP 2026-07-28,
/// streamable HTTP).
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The event after which a client resumes a stream (the HTML standard, server-sent events; MCP
/// 2025-03-26 to 2025-11-25, resumability).
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
