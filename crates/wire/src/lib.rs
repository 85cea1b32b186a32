//! The protocol between server and relay, and the errors that both respond with: ids, paths, header
//! names, the relay's events, the causes of failures.
//!
//! The crate has types and constants, no input or output, and depends on no other crate of
//! llamapool. Everything that is parsed here comes from a peer that may be hostile: it is parsed
//! once, into a type that is valid ever after, and a text that goes into an error or a log is
//! bounded.

mod ask;
mod build;
mod caller_tag;
mod cause;
mod display;
mod event;
pub mod header;
mod id;
mod ids;
mod limit_policy;
pub mod llm;
pub mod path;
mod people;
mod public_base;
mod refusal;
mod secret;

pub use ask::{ASK_PROTOCOL, AskAnswer, IdAnswer, IdStanding};
pub use build::BuildInfo;
pub use caller_tag::CallerTag;
pub use cause::{CallError, Cause, Hop, NOT_FOR_BROWSERS, RETRY_AFTER_SECONDS, error_chain};
pub use display::controls_display;
pub use event::{BridgeLoad, Event, EventError, MAX_EVENT_BYTES, Offer, ProviderHealth};
pub use id::{DisplayName, IdError, InstanceId, NameError, RelayId};
pub use ids::{IdsError, MAX_PROVIDERS, read_ids, write_ids};
pub use limit_policy::{LimitPolicy, LimitUnit};
pub use people::{Mark, PeopleLine, people_line};
pub use public_base::PublicBase;
pub use refusal::{Refusal, RefusalBody};
pub use secret::{Secret, bearer};

/// The WebSocket sub-protocol that a relay requests and the server confirms: the version of
/// everything in this crate.
pub const SUBPROTOCOL: &str = "llamapool.v1";
