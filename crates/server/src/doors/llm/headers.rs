//! The headers of requests on their way to a worker, and of answers on their way to the caller.

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use llamapool_http::{remove_headers, reserved, strip_hop_by_hop};
use llamapool_pool::{BudgetKind, Class, KeyId};
use llamapool_wire::header as wire;

use llamapool_dialect::{Dialect, LlmErrorKind};

use super::context::LlmDoor;
use super::error::LlmError;
use crate::auth::remove_keys;

/// Caller to server: `low` lowers the class of the call.
const CLASS: HeaderName = HeaderName::from_static("llamapool-class");
/// Caller to server: `refuse` for a call that does not wait, `show` for one whose place is shown at
/// once.
const QUEUE: HeaderName = HeaderName::from_static("llamapool-queue");
/// Caller to server: the longest wait, in seconds.
const QUEUE_TIMEOUT: HeaderName = HeaderName::from_static("llamapool-queue-timeout");
/// Server to caller: the worker of an answer, and why it was chosen.
pub(super) const ROUTE: HeaderName = HeaderName::from_static("llamapool-route");
/// The name of llamapool in `Via`.
const VIA: HeaderValue = HeaderValue::from_static("1.1 llamapool");
/// Room for the route of a call with names of usual length.
const ROUTE_BYTES: usize = 192;
/// The entries of llamapool in `Via` that show that a pool feeds itself.
const MAX_VIA: usize = 3;

/// Headers that end here, besides those of one hop, keys, and what is reserved everywhere.
const ENDS_HERE: [HeaderName; 11] = [
    header::HOST,
    header::EXPECT,
    header::COOKIE,
    header::ORIGIN,
    header::REFERER,
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    wire::REQUEST_ID,
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
];

/// What a caller wishes of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueWishes {
    pub(super) class: Option<Class>,
    pub(super) may_wait: bool,
    /// Set if the place in the queue is shown from the start.
    pub(super) shows_place: bool,
    pub(super) timeout: Option<Duration>,
}

impl QueueWishes {
    /// Reads the wishes of a request.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, LlmError> {
        let text = |name: &HeaderName| {
            let value = headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        };
        let wrong = |name: &HeaderName, value: &str, expected: &str| {
            let message = format!("the header {name} is {value:?}, expected {expected}");
            LlmError::new(LlmErrorKind::InvalidRequest, message)
        };

        let mut wishes = Self {
            class: None,
            may_wait: true,
            shows_place: false,
            timeout: None,
        };
        if let Some(value) = text(&CLASS) {
            let class = Class::parse(&value);
            let class = class.ok_or_else(|| wrong(&CLASS, &value, "low, normal or high"))?;
            wishes.class = Some(class);
        }
        match text(&QUEUE).as_deref() {
            None | Some("wait") => {}
            Some("refuse") => wishes.may_wait = false,
            Some("show") => wishes.shows_place = true,
            Some(value) => return Err(wrong(&QUEUE, value, "wait, refuse or show")),
        }
        if let Some(value) = text(&QUEUE_TIMEOUT) {
            let seconds: f64 = value.parse().unwrap_or(-1.0);
            let timeout = Duration::try_from_secs_f64(seconds);
            let timeout =
                timeout.map_err(|_| wrong(&QUEUE_TIMEOUT, &value, "a number of seconds"))?;
            wishes.timeout = Some(timeout);
        }
        Ok(wishes)
    }
}

/// Refuses a request that went through llamapool so often that a pool must be feeding itself.
pub(super) fn refuse_loop(headers: &HeaderMap) -> Result<(), LlmError> {
    let values = headers.get_all(header::VIA).into_iter();
    let entries = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|entry| entry.trim().ends_with(" llamapool"))
        .count();
    if entries < MAX_VIA {
        return Ok(());
    }
    let message = format!(
        "the request went through llamapool {entries} times: a worker of this pool asks the pool itself"
    );
    Err(LlmError::new(LlmErrorKind::Loop, message))
}

/// Makes a caller's headers those that go to a worker.
pub(super) fn to_worker(headers: &mut HeaderMap, takes_json: bool) {
    strip_hop_by_hop(headers, |name| name == header::CONTENT_TYPE);
    remove_keys(headers);
    remove_headers(headers, |name| {
        ENDS_HERE.contains(name)
            || is_own_or_of_browsers(name)
            || reserved::is_reserved_in_request(name)
    });
    let identity = HeaderValue::from_static("identity");
    headers.insert(header::ACCEPT_ENCODING, identity);
    if takes_json {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
}

/// Makes the headers of a runtime's answer those of the caller's.
pub(super) fn to_caller(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers, |name| name == header::CONTENT_TYPE);
    remove_headers(headers, |name| {
        let is_own = name.as_str().starts_with(wire::PREFIX);
        let is_about_origins = name.as_str().starts_with("access-control-");
        is_own
            || is_about_origins
            || *name == wire::REQUEST_ID
            || *name == header::SET_COOKIE
            || reserved::is_reserved_in_response(name)
    });
    let is_vary_of_origin = headers
        .get(header::VARY)
        .is_some_and(|vary| vary.as_bytes().eq_ignore_ascii_case(b"origin"));
    if is_vary_of_origin {
        headers.remove(header::VARY);
    }
}

/// Adds what every answer of this door has.
pub(super) fn mark(headers: &mut HeaderMap, dialect: Dialect, req_id: &str) {
    headers.append(header::VIA, VIA);
    if dialect == Dialect::Anthropic
        && let Ok(value) = HeaderValue::from_str(req_id)
    {
        headers.insert(HeaderName::from_static("request-id"), value);
    }
}

/// Makes proxies hand a stream on as it comes.
pub(super) fn mark_stream(headers: &mut HeaderMap) {
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.remove(header::CONTENT_LENGTH);
}

/// Adds what is left in the buckets of a key, in the words of a dialect.
pub(super) fn add_limits(headers: &mut HeaderMap, door: &LlmDoor, key: KeyId, dialect: Dialect) {
    let limits = door.pool.limits(key);
    let kinds = [
        (
            "requests",
            BudgetKind::RequestsPerMinute,
            limits.requests_per_minute,
        ),
        (
            "tokens",
            BudgetKind::TokensPerMinute,
            limits.tokens_per_minute,
        ),
    ];
    for (what, kind, limit) in kinds {
        let Some(limit) = limit else {
            continue;
        };
        let Some((left, full_in)) = door.pool.remaining(key, kind) else {
            continue;
        };
        let reset = match dialect {
            Dialect::Anthropic => {
                let at = std::time::SystemTime::now() + full_in;
                humantime::format_rfc3339_seconds(at).to_string()
            }
            Dialect::OpenAi | Dialect::Ollama => format!("{:.3}s", full_in.as_secs_f64()),
        };
        let values = [
            ("limit", limit.to_string()),
            ("remaining", left.to_string()),
            ("reset", reset),
        ];
        for (field, value) in values {
            let name = match dialect {
                Dialect::Anthropic => format!("anthropic-ratelimit-{what}-{field}"),
                Dialect::OpenAi | Dialect::Ollama => format!("x-ratelimit-{field}-{what}"),
            };
            let name = HeaderName::try_from(name);
            let value = HeaderValue::try_from(value);
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.insert(name, value);
            }
        }
    }
}

/// The way of a call to its answer, for `Llamapool-Route`.
#[derive(Debug, Clone)]
pub(super) struct RouteOfCall {
    pub(super) worker: String,
    pub(super) model: String,
    pub(super) reason: &'static str,
    pub(super) waited: Duration,
    pub(super) attempts: u32,
    pub(super) prefix: u64,
}

impl RouteOfCall {
    /// Returns the value of the header (RFC 9651, dictionaries).
    pub(super) fn to_header(&self) -> Option<HeaderValue> {
        let mut text = String::with_capacity(ROUTE_BYTES);
        text.push_str("worker=");
        push_quoted(&mut text, &self.worker);
        text.push_str(", model=");
        push_quoted(&mut text, &self.model);
        text.push_str(", reason=");
        text.push_str(self.reason);
        // Most calls do not wait, and a number with a point takes as long to write as all the rest.
        let milliseconds = (self.waited.as_secs_f64() * 1000.0).round();
        let written = if milliseconds == 0.0 {
            text.push_str(", waited=0.000");
            Ok(())
        } else {
            write!(text, ", waited={:.3}", self.waited.as_secs_f64())
        };
        written.ok()?;
        write!(text, ", attempts={}, prefix={}", self.attempts, self.prefix).ok()?;
        HeaderValue::try_from(text).ok()
    }
}

/// Appends a string of RFC 9651, with `?` in place of what it cannot have.
fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

/// Returns whether a header is one of llamapool's own, or of browsers about themselves.
fn is_own_or_of_browsers(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("access-control-request-")
        || name.starts_with("sec-")
        || (name.starts_with('l') && name.replace('_', "-").starts_with(wire::PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn a_runtime_gets_no_key_and_nothing_of_a_browser() {
        let mut sent = headers(&[
            ("authorization", "Bearer k"),
            ("x-api-key", "k"),
            ("api-key", "k"),
            ("cookie", "a=b"),
            ("origin", "https://chat.example"),
            ("referer", "https://chat.example/"),
            ("sec-fetch-mode", "cors"),
            ("openai-organization", "o"),
            ("llamapool-class", "low"),
            ("x-forwarded-for", "1.2.3.4"),
            ("content-encoding", "gzip"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "x"),
            ("user-agent", "codex"),
            ("content-type", "application/x-www-form-urlencoded"),
        ]);

        to_worker(&mut sent, true);

        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept-encoding",
                "anthropic-beta",
                "anthropic-version",
                "content-type",
                "user-agent"
            ]
        );
        assert_eq!(sent["content-type"], "application/json");
    }

    #[test]
    fn an_answer_keeps_the_runtimes_own_headers() {
        let mut answer = headers(&[
            ("content-type", "text/event-stream"),
            ("openai-processing-ms", "12"),
            ("access-control-allow-origin", "*"),
            ("vary", "Origin"),
            ("llamapool-error", "forged"),
            ("x-request-id", "of the runtime"),
            ("connection", "close"),
        ]);

        to_caller(&mut answer);

        let mut names: Vec<_> = answer.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "openai-processing-ms"]);
    }

    #[test]
    fn wishes_of_the_queue_are_read_or_refused() {
        let wishes = QueueWishes::read(&headers(&[
            ("llamapool-class", "low"),
            ("llamapool-queue", "refuse"),
            ("llamapool-queue-timeout", "1.5"),
        ]))
        .unwrap();

        assert_eq!(wishes.class, Some(Class::Low));
        assert!(!wishes.may_wait);
        assert_eq!(wishes.timeout, Some(Duration::from_millis(1500)));
        for wrong in [
            ("llamapool-class", "urgent"),
            ("llamapool-queue", "later"),
            ("llamapool-queue-timeout", "-1"),
        ] {
            let refused = QueueWishes::read(&headers(&[wrong])).unwrap_err();
            assert!(refused.message.contains(wrong.1), "{}", refused.message);
        }
    }

    #[test]
    fn a_pool_that_feeds_itself_is_noticed() {
        let once = headers(&[("via", "1.1 llamapool, 1.1 nginx")]);
        let often = headers(&[("via", "1.1 llamapool, 1.1 llamapool, 1.1 llamapool")]);

        assert!(refuse_loop(&once).is_ok());
        assert_eq!(refuse_loop(&often).unwrap_err().kind, LlmErrorKind::Loop);
    }

    #[test]
    fn a_route_is_a_dictionary_of_structured_fields() {
        let route = RouteOfCall {
            worker: "al\"ph\u{e9}".to_owned(),
            model: "qwen3:8b".to_owned(),
            reason: "warm",
            waited: Duration::from_millis(1200),
            attempts: 2,
            prefix: 812,
        };

        assert_eq!(
            route.to_header().unwrap(),
            r#"worker="al\"ph?", model="qwen3:8b", reason=warm, waited=1.200, attempts=2, prefix=812"#
        );
    }
}
