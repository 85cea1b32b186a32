//! The words of MCP (the Model Context Protocol): its revisions, HTTP headers, methods, JSON-RPC
//! error codes and responses, and the envelope of a message.
//!
//! The crate does no input or output and depends on no other crate of llamapool. Code that moves
//! bytes (`llamapool-tunnel`, `llamapool-http`) never depends on it.

mod call_name;
pub mod error_code;
pub mod header;
mod json_rpc;
mod listening;
mod message;
mod method;
mod revision;
mod rpc_error;
mod server_facts;

pub use call_name::CallName;
pub use json_rpc::{
    AmbiguousMessageError, Message, MessageError, MessageKind, Params, Token, TokenKey,
    UnambiguousMessage, folded_name, parse_messages, parse_messages_tolerant, readable_responses,
};
pub use listening::is_listening;
pub use message::is_response;
pub use method::MethodLabel;
pub use revision::Revision;
pub use rpc_error::RpcError;
pub use server_facts::ServerFacts;
