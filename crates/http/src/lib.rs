//! The parts of HTTP that both sides of llamapool need: listeners with bounds, forwarding one request
//! faithfully, event streams, names of hosts, challenges.
//!
//! Server and relay do the same with a request: remove the headers that belong to one hop, send,
//! return the head of the answer as soon as it is there, and its body piece by piece. Nothing is
//! sent twice and nothing is made up: a failure before the head is an error of this crate, a failure
//! after it breaks the body off.
//!
//! The crate has no JSON parser and contains no word of MCP, though both pass through it. A JSON
//! text that it labels ([`json_response`]) comes from its caller, and [`sse::first_event`] is given
//! a predicate for the event that its caller looks for. So a body that is forwarded cannot be
//! interpreted here.

mod alarm;
pub mod challenge;
mod collect;
mod content_length;
mod counted_memory;
mod deadline;
mod dot_segment;
mod forward;
mod forwarded_body;
mod hop_by_hop;
pub mod host;
pub mod http1;
mod json;
mod limited_body;
pub mod listen;
mod listener_streams;
mod method;
mod request_pace;
pub mod reserved;
pub mod sse;

pub use alarm::Alarm;
pub use collect::{CollectError, collect};
pub use content_length::{ContentLengthError, normalize_length_of};
pub use counted_memory::{CountedMemory, UNCOUNTED_BYTES, held_with};
pub use dot_segment::has_dot_segment;
pub use forward::{ForwardError, ForwardTimeouts};
pub use forwarded_body::{BodyEnd, BodyObserver, ForwardedBody, ForwardedBodyError};
pub use hop_by_hop::{remove_headers, strip_fields, strip_hop_by_hop};
pub use json::{MEDIA_TYPE as JSON_TYPE, json_response};
pub use limited_body::{BodyTooLargeError, LimitedBody, RequestMeter, discard, linger};
pub use listener_streams::{ListenerStream, ListenerStreams};
pub use method::is_of_the_connection;
pub use request_pace::{RequestPace, RequestTooSlowError};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
