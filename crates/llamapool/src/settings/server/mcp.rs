//! Settings of calls to MCP providers.

use std::time::Duration;

use llamapool_server::{McpConfig, TrustedPages};
use llamapool_settings::value::{
    BYTES, COUNT_OR_ZERO, DURATION, MEMORY, MEMORY_OR_ZERO, POSITIVE_DURATION, expected, items,
};
use llamapool_settings::{
    Setting, SettingsError, Sources, Syntax, TypedSetting, ValueError, ValueType,
};

use crate::settings::group::{ACCESS, LIMITS, TIME};

/// Ids, or `*` for all.
const IDS_OR_ALL: ValueType<TrustedPages> = ValueType {
    syntax: Syntax::List,
    parse: ids_or_all,
};

static MAX_REQUEST_BYTES: TypedSetting<u64> =
    TypedSetting::new("MAX_REQUEST_BYTES", LIMITS, BYTES, "Largest request body.").default("64MiB");
static POLICY_MAX_BYTES: TypedSetting<usize> = TypedSetting::new(
    "POLICY_MAX_BYTES",
    LIMITS,
    MEMORY,
    "Largest message to an id with a policy of messages, which is read whole before it is forwarded; \
     no more than MAX_REQUEST_BYTES.",
)
.default("1MiB");
static POLICY_MAX_MEMORY: TypedSetting<usize> = TypedSetting::new(
    "POLICY_MAX_MEMORY",
    LIMITS,
    MEMORY,
    "Memory for all messages that are read before they are forwarded, as a part of MAX_MEMORY.",
)
.default("256MiB");
static POLICY_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "POLICY_TIMEOUT",
    TIME,
    POSITIVE_DURATION,
    "Longest wait for the whole of a message that is read before it is forwarded.",
)
.default("30s");
static MAX_ANSWER_BYTES: TypedSetting<usize> = TypedSetting::new(
    "MAX_ANSWER_BYTES",
    LIMITS,
    MEMORY,
    "Largest JSON response made of an event stream, for callers that do not accept event streams.",
)
.default("64MiB");
static MAX_CONCURRENCY_PER_CLIENT: TypedSetting<usize> = TypedSetting::new(
    "MAX_CONCURRENCY_PER_CLIENT",
    LIMITS,
    COUNT_OR_ZERO,
    "Most concurrent calls to one id; 0: as many as its relays serve.",
)
.default("0");
static FIRST_BYTE_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "FIRST_BYTE_TIMEOUT",
    TIME,
    POSITIVE_DURATION,
    "Longest wait of a call for the headers of its response.",
)
.default("120s");
static REQUEST_IDLE_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "REQUEST_IDLE_TIMEOUT",
    TIME,
    DURATION,
    "Longest pause of a caller inside a request body; 0: no limit.",
)
.default("30s");
static REQUEST_MIN_RATE: TypedSetting<usize> = TypedSetting::new(
    "REQUEST_MIN_RATE",
    LIMITS,
    MEMORY_OR_ZERO,
    "Least bytes per second of a request body, once REQUEST_IDLE_TIMEOUT was spent waiting for it; \
     0: none.",
)
.default("240");
static STREAM_IDLE_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "STREAM_IDLE_TIMEOUT",
    TIME,
    DURATION,
    "Longest pause between two chunks of a response; 0: no limit.",
)
.default("0");
static STREAM_KEEPALIVE: TypedSetting<Duration> = TypedSetting::new(
    "STREAM_KEEPALIVE",
    TIME,
    DURATION,
    "Sends a comment on an event stream after this long without a byte, so that no proxy closes it; \
     0: never.",
)
.default("15s");
static CALL_TIMEOUT: TypedSetting<Duration> = TypedSetting::new(
    "CALL_TIMEOUT",
    TIME,
    DURATION,
    "Longest duration of a whole call; 0: no limit.",
)
.default("0");
static SESSION_GRACE: TypedSetting<Duration> = TypedSetting::new(
    "SESSION_GRACE",
    TIME,
    DURATION,
    "How long a session of a shared id waits for its lost relay to reconnect before the client must \
     start a new one.",
)
.default("60s");

static TRUSTED_PAGES: TypedSetting<TrustedPages> = TypedSetting::new(
    "TRUSTED_PAGES",
    ACCESS,
    IDS_OR_ALL,
    "Ids whose pages browsers run as pages of the public origin, where they can act for one another, \
     or * for all; pages of other ids run in a sandbox.",
);

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &MAX_REQUEST_BYTES.setting,
    &POLICY_MAX_BYTES.setting,
    &POLICY_MAX_MEMORY.setting,
    &MAX_ANSWER_BYTES.setting,
    &MAX_CONCURRENCY_PER_CLIENT.setting,
    &REQUEST_IDLE_TIMEOUT.setting,
    &REQUEST_MIN_RATE.setting,
    &POLICY_TIMEOUT.setting,
    &FIRST_BYTE_TIMEOUT.setting,
    &STREAM_IDLE_TIMEOUT.setting,
    &STREAM_KEEPALIVE.setting,
    &CALL_TIMEOUT.setting,
    &SESSION_GRACE.setting,
    &TRUSTED_PAGES.setting,
];

/// Returns the configuration of calls.
pub(super) fn resolve(sources: &Sources) -> Result<McpConfig, SettingsError> {
    Ok(McpConfig {
        max_request_bytes: sources.value(&MAX_REQUEST_BYTES)?,
        policy_max_bytes: sources.value(&POLICY_MAX_BYTES)?,
        policy_timeout: sources.value(&POLICY_TIMEOUT)?,
        policy_max_memory: sources.value(&POLICY_MAX_MEMORY)?,
        max_answer_bytes: sources.value(&MAX_ANSWER_BYTES)?,
        max_calls_per_id: sources.value(&MAX_CONCURRENCY_PER_CLIENT)?,
        request_idle_timeout: sources.value(&REQUEST_IDLE_TIMEOUT)?,
        request_min_rate: sources.value(&REQUEST_MIN_RATE)? as u64,
        first_byte_timeout: sources.value(&FIRST_BYTE_TIMEOUT)?,
        stream_idle_timeout: sources.value(&STREAM_IDLE_TIMEOUT)?,
        call_timeout: sources.value(&CALL_TIMEOUT)?,
        stream_keepalive: sources.value(&STREAM_KEEPALIVE)?,
        session_grace: sources.value(&SESSION_GRACE)?,
        trusted_pages: sources.value(&TRUSTED_PAGES)?,
    })
}

fn ids_or_all(text: &str) -> Result<TrustedPages, ValueError> {
    if items(text).any(|item| item == "*") {
        return Ok(TrustedPages::All);
    }
    let ids: Result<_, _> = items(text).map(str::parse).collect();
    ids.map(TrustedPages::Of)
        .or_else(|_| expected("ids of 1 to 128 of A-Z a-z 0-9 - _ . ~, or *"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_pages_are_those_of_ids_or_of_all() {
        let of =
            |ids: &[&str]| TrustedPages::Of(ids.iter().map(|id| id.parse().unwrap()).collect());

        assert_eq!(ids_or_all(""), Ok(of(&[])));
        assert_eq!(ids_or_all("a, b"), Ok(of(&["a", "b"])));
        assert_eq!(ids_or_all("*"), Ok(TrustedPages::All));
        assert!(ids_or_all("a/b").is_err());
    }
}
