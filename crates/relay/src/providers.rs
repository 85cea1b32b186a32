//! The kinds of providers that a relay makes reachable.

mod mcp_http;

pub(crate) use mcp_http::McpHttp;
