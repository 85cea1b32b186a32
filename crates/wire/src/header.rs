//! The names of llamapool's own headers.
//!
//! All but the request id start with `llamapool-`. Both sides remove such headers from the messages
//! of callers and providers, so that those cannot forge them.

use http::HeaderName;

/// The beginning of the names of llamapool's own headers.
pub const PREFIX: &str = "llamapool-";

/// Relay to server, on the upgrade: the ids that it wants, one line each. Server to relay, on the 101:
/// the ids that it got. See [`crate::read_ids`].
pub const ID: HeaderName = HeaderName::from_static("llamapool-id");
/// Relay to server, on the upgrade: its name for people to read, percent-encoded UTF-8.
pub const NAME: HeaderName = HeaderName::from_static("llamapool-name");
/// Relay to server, on the upgrade: 128 random bits, new in every process, that prove that a relay is
/// the same one as before.
pub const INSTANCE: HeaderName = HeaderName::from_static("llamapool-instance");
/// Relay to server, on the upgrade: the secret that relays which share an id present.
pub const SECRET: HeaderName = HeaderName::from_static("llamapool-secret");
/// Either side: the version of the program that sends it.
pub const VERSION: HeaderName = HeaderName::from_static("llamapool-version");
/// Relay to server, on the upgrade: the commit of its program and the date of that, with a space
/// between them.
pub const BUILD: HeaderName = HeaderName::from_static("llamapool-build");
/// Server to relay, on the 101: the [`crate::PublicBase`] of its public URLs, where one is configured.
pub const PUBLIC_URL: HeaderName = HeaderName::from_static("llamapool-public-url");
/// Server to relay, on a call: the beginning of the path of the public URL of the id.
pub const PUBLIC_PREFIX: HeaderName = HeaderName::from_static("llamapool-public-prefix");
/// Server to relay, on a call: the [`crate::CallerTag`] of its caller. No provider receives it.
pub const CALLER: HeaderName = HeaderName::from_static("llamapool-caller");
/// Server to worker, on a call to an LLM runtime: the number of the attempt, which its
/// [`crate::llm::CallReport`] repeats.
pub const ATTEMPT: HeaderName = HeaderName::from_static("llamapool-attempt");
/// Server to worker, on a call: the worker's own name of the model, percent-encoded UTF-8.
pub const MODEL: HeaderName = HeaderName::from_static("llamapool-model");
/// Server to worker, on a call: the form of the answer that the caller wants, a
/// [`crate::llm::ResponseForm`].
pub const RESPONSE_FORM: HeaderName = HeaderName::from_static("llamapool-response");
/// Server to worker, on a call: the longest wait for the first content, in milliseconds.
pub const FIRST_CONTENT_TIMEOUT: HeaderName =
    HeaderName::from_static("llamapool-first-content-timeout");
/// Server to worker, on a call: the longest wait between two events after the first content, in
/// milliseconds.
pub const IDLE_TIMEOUT: HeaderName = HeaderName::from_static("llamapool-idle-timeout");
/// On a response that llamapool made itself: the [`crate::Cause`] of the failure.
pub const ERROR: HeaderName = HeaderName::from_static("llamapool-error");
/// On every response and on every call to a provider: the id of the call, for finding it in the logs of
/// every hop.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
