//! HTTP/1.1 (RFC 9112) as the hot path reads and writes it: heads are read into slices of the bytes that
//! they came in and written from them, bodies are slices of what was read.
//!
//! On the side of a server these are messages whose framing leaves nothing to interpret; what is not
//! among them goes to hyper, which decides. On the side of a client, [`ClientConnection`] reads every
//! response: what is ambiguous is an error, as two programs that disagree about where a message ends
//! would take one caller's bytes for another's.

mod body_decoder;
mod chunks;
mod client;
mod received_head;
mod request;
mod request_head;
mod response_head;
mod write_queue;

pub use self::body_decoder::{BodyDecoder, BodyError, Decoded};
pub use self::client::{ClientConnection, ClientError};
pub use self::received_head::ResponseHeadError;
pub use self::request::{OutgoingRequest, RequestBody};
pub(crate) use self::request_head::{HeadParser, Parsed, PlainHead};
pub(crate) use self::response_head::{BodyFraming, DateText, ResponseFraming};
pub(crate) use self::write_queue::WriteQueue;
