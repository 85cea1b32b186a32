//! The words of MCP (the Model Context Protocol): its revisions, HTTP headers, methods, JSON-RPC
//! error codes, and the little that both sides need of a message's envelope.
//!
//! The crate does no input or output and depends on no other crate of llamapool. Code that moves
//! bytes (`llamapool-tunnel`, `llamapool-http`) never depends on it.

pub mod error_code;
pub mod header;
mod message;
mod method;
mod revision;

pub use message::is_response;
pub use method::MethodLabel;
pub use revision::Revision;
