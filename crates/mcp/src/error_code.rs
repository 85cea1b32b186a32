//! The JSON-RPC error codes that MCP servers answer with (JSON-RPC 2.0; MCP 2026-07-28, errors).

/// The body is not JSON.
pub const PARSE: i64 = -32700;
/// The body is JSON, but not a request, notification or response.
pub const INVALID_REQUEST: i64 = -32600;
/// The server does not have this method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters of the method are wrong.
pub const INVALID_PARAMS: i64 = -32602;
/// Any other fault of a request: the code that SDKs use where MCP defines none.
pub const BAD_REQUEST: i64 = -32000;
/// The session has ended or never existed. A client that reads it initializes again.
pub const SESSION_NOT_FOUND: i64 = -32001;
/// A header does not repeat the value of the body (MCP 2026-07-28).
pub const HEADER_MISMATCH: i64 = -32020;
/// The client lacks a capability that the request needs (MCP 2026-07-28).
pub const MISSING_CAPABILITY: i64 = -32021;
/// The server does not implement the revision of the request (MCP 2026-07-28).
pub const UNSUPPORTED_VERSION: i64 = -32022;
