//! Forwards one HTTP request faithfully: from a caller into the tunnel, and from the tunnel to a provider.
//!
//! Both hops do the same: take away what belongs to the hop alone, send, hand the answer's head down as soon as it
//! is there, and its body piece by piece. This crate does it once, for both. It knows no MCP, no LLM and no JSON.
//!
//! The one rule: nothing is sent twice, nothing is made up. A failure before the head is an error of this crate; a
//! failure after it breaks the body off.

mod forward;
mod forwarded_body;
mod hop_by_hop;
mod limited_body;

pub use forward::{ForwardError, ForwardTimeouts, Upstream, forward};
pub use forwarded_body::{BodyEnd, BodyObserver, ForwardedBody, ForwardedBodyError};
pub use hop_by_hop::strip_hop_by_hop;
pub use limited_body::{BodyTooLargeError, LimitedBody, RequestMeter, linger};

/// An error of a body, whatever it is.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
