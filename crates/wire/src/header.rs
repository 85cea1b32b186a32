//! Names of the headers that llamapool itself speaks.
//!
//! All of them start with `llamapool-`. Both sides strip such headers from what comes in from outside (callers and
//! providers), so none of them can be forged from there.

use http::HeaderName;

/// What the names of llamapool's own headers start with.
pub const PREFIX: &str = "llamapool-";

/// Relay to server, on the upgrade: the ids it wants, one line each. Server to relay, on the 101: the ids it got. See
/// [`crate::read_ids`].
pub const ID: HeaderName = HeaderName::from_static("llamapool-id");
/// Relay to server, on the upgrade: its name for people to read, percent-encoded UTF-8.
pub const NAME: HeaderName = HeaderName::from_static("llamapool-name");
/// Relay to server, on the upgrade: 128 random bits, new in every process, that prove "the same relay again".
pub const INSTANCE: HeaderName = HeaderName::from_static("llamapool-instance");
/// Relay to server, on the upgrade: the secret that relays which share an id present.
pub const SECRET: HeaderName = HeaderName::from_static("llamapool-secret");
/// Either side: the version of the program that speaks.
pub const VERSION: HeaderName = HeaderName::from_static("llamapool-version");
/// Server to relay, on a call: what the public URL of the id starts with.
pub const PUBLIC_PREFIX: HeaderName = HeaderName::from_static("llamapool-public-prefix");
/// On an answer that llamapool made itself: the [`crate::Cause`] of the failure.
pub const ERROR: HeaderName = HeaderName::from_static("llamapool-error");
/// On every answer and on every call to a provider: the id of the call, for finding it in the logs of every hop.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
