//! The errors of the LLM API: their words, their statuses in each dialect, their bodies, the last
//! event of a stream that fails after its head, and the signs of life between events.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::content::StreamPosition;
use crate::endpoint::{Dialect, Endpoint};
use crate::request::{MAX_MODEL_NAME_CHARS, escaped};

/// The possibility that a call that ended with an error was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// It certainly was not.
    No,
    /// It may have been, in part or as a whole.
    Perhaps,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The kinds of errors that llamapool answers by itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum LlmErrorKind {
            $($(#[$doc])* $name,)*
        }

        impl LlmErrorKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the word that stands in `Llamapool-Error` and as `code` in OpenAI's bodies.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// The body cannot be read, or a member of it has a wrong value.
    InvalidRequest = "invalid_request",
    /// The key is missing or wrong.
    Unauthorized = "unauthorized",
    /// The pool does not offer this, or not to this key.
    NotOffered = "not_offered",
    /// No worker ever had the model, or the key may not use it.
    ModelNotFound = "model_not_found",
    /// The path does not exist, or no worker with the model has the endpoint.
    UnsupportedEndpoint = "unsupported_endpoint",
    /// The path takes other methods.
    MethodNotAllowed = "method_not_allowed",
    /// A WebSocket was asked for.
    WebSocketNotSupported = "websocket_not_supported",
    /// The server remembers no worker for this response.
    PreviousResponseNotFound = "previous_response_not_found",
    /// The body of the request did not arrive in time.
    RequestBroken = "request_broken",
    /// The body of the request is too large.
    RequestTooLarge = "request_too_large",
    /// The body of the request has a coding that is not supported.
    ContentEncoding = "content_encoding",
    /// The body of the request is a form where JSON is expected, or the other way round.
    UnsupportedMediaType = "unsupported_media_type",
    /// The key's bound on requests or tokens in a minute.
    RateLimited = "rate_limited",
    /// The key's bound on waiting calls.
    TooManyWaiting = "too_many_waiting",
    /// The key's budget of tokens.
    BudgetExhausted = "budget_exhausted",
    /// The queue is full.
    QueueFull = "queue_full",
    /// The call waited for as long as it may.
    QueueTimeout = "queue_timeout",
    /// The memory for bodies of requests is used up.
    MemoryFull = "memory_full",
    /// All workers with the model are away, or drain.
    NoWorker = "no_worker",
    /// The one worker that can answer is away.
    WorkerOffline = "worker_offline",
    /// The server drains.
    ServerDraining = "server_draining",
    /// The runtime does not accept connections.
    RuntimeUnreachable = "runtime_unreachable",
    /// The runtime has no free slot.
    RuntimeBusy = "runtime_busy",
    /// The worker's tunnel broke.
    WorkerLost = "worker_lost",
    /// The runtime closed its connection before the end of its answer.
    RuntimeClosed = "runtime_closed",
    /// The runtime sent what is no answer of its API.
    RuntimeGarbage = "runtime_garbage",
    /// The answer is larger than can be assembled.
    AnswerTooLarge = "answer_too_large",
    /// The runtime stopped in the middle of its answer.
    Stalled = "stalled",
    /// The runtime sent no content in time.
    FirstTokenTimeout = "first_token_timeout",
    /// The call ran for as long as it may.
    CallTimeout = "call_timeout",
    /// The call went through llamapool too often.
    Loop = "loop",
    /// The prompt is longer than the context of any worker.
    ContextLengthExceeded = "context_length_exceeded",
}

/// The row of a kind in the table of errors.
struct Row {
    status: u16,
    openai_type: &'static str,
    anthropic_status: u16,
    anthropic_type: &'static str,
    executed: Executed,
    should_retry: bool,
}

impl LlmErrorKind {
    /// Returns the kind of a word, `None` for a word that is not in the table.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.word() == word)
    }

    /// Returns the status in a dialect.
    pub fn status(self, dialect: Dialect) -> StatusCode {
        let row = self.row();
        let status = match dialect {
            Dialect::Anthropic => row.anthropic_status,
            Dialect::OpenAi | Dialect::Ollama => row.status,
        };
        // Both columns of the table have statuses alone.
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns whether the call may have been executed.
    pub fn executed(self) -> Executed {
        self.row().executed
    }

    /// Returns the value of `x-should-retry`, which SDKs obey: sending the call again may help, and
    /// executes nothing twice.
    pub fn should_retry(self) -> bool {
        self.row().should_retry
    }

    fn row(self) -> Row {
        const INVALID: &str = "invalid_request_error";
        use LlmErrorKind::{
            AnswerTooLarge, BudgetExhausted, CallTimeout, ContentEncoding, ContextLengthExceeded,
            FirstTokenTimeout, InvalidRequest, Loop, MemoryFull, MethodNotAllowed, ModelNotFound,
            NoWorker, NotOffered, PreviousResponseNotFound, QueueFull, QueueTimeout, RateLimited,
            RequestBroken, RequestTooLarge, RuntimeBusy, RuntimeClosed, RuntimeGarbage,
            RuntimeUnreachable, ServerDraining, Stalled, TooManyWaiting, Unauthorized,
            UnsupportedEndpoint, UnsupportedMediaType, WebSocketNotSupported, WorkerLost,
            WorkerOffline,
        };
        match self {
            InvalidRequest | ContextLengthExceeded => refused(400, INVALID, 400, INVALID),
            Unauthorized => refused(401, INVALID, 401, "authentication_error"),
            NotOffered => refused(403, "permission_error", 403, "permission_error"),
            ModelNotFound | UnsupportedEndpoint | PreviousResponseNotFound => {
                refused(404, INVALID, 404, "not_found_error")
            }
            MethodNotAllowed => refused(405, INVALID, 405, INVALID),
            WebSocketNotSupported => refused(426, INVALID, 426, INVALID),
            RequestBroken => refused(408, INVALID, 408, INVALID).retry(),
            RequestTooLarge => refused(413, INVALID, 413, "request_too_large"),
            ContentEncoding | UnsupportedMediaType => refused(415, INVALID, 400, INVALID),
            RateLimited | TooManyWaiting => {
                refused(429, "rate_limit_error", 429, "rate_limit_error").retry()
            }
            BudgetExhausted => refused(429, "insufficient_quota", 429, "rate_limit_error"),
            QueueFull | QueueTimeout | MemoryFull | NoWorker | WorkerOffline | ServerDraining
            | RuntimeUnreachable | RuntimeBusy => {
                refused(503, "server_error", 529, "overloaded_error").retry()
            }
            WorkerLost | RuntimeClosed | RuntimeGarbage | AnswerTooLarge | Stalled => {
                broken(502, 500, "api_error")
            }
            FirstTokenTimeout | CallTimeout => broken(504, 504, "timeout_error"),
            Loop => refused(508, "server_error", 500, "api_error"),
        }
    }
}

impl Row {
    fn retry(self) -> Self {
        Self {
            should_retry: true,
            ..self
        }
    }
}

/// A row for calls that were not executed.
fn refused(
    status: u16,
    openai_type: &'static str,
    anthropic_status: u16,
    anthropic_type: &'static str,
) -> Row {
    Row {
        status,
        openai_type,
        anthropic_status,
        anthropic_type,
        executed: Executed::No,
        should_retry: false,
    }
}

/// A row for calls that may have been executed.
fn broken(status: u16, anthropic_status: u16, anthropic_type: &'static str) -> Row {
    Row {
        executed: Executed::Perhaps,
        ..refused(status, "server_error", anthropic_status, anthropic_type)
    }
}

/// Returns the body of an error, as JSON. `param` is the name of the member that is wrong, and
/// `request_id` the value of `X-Request-Id`.
pub fn error_body(
    dialect: Dialect,
    kind: LlmErrorKind,
    message: &str,
    param: Option<&str>,
    request_id: &str,
) -> String {
    let body = match dialect {
        Dialect::OpenAi => openai_error(kind, message, param),
        Dialect::Anthropic => anthropic_error(kind, message, Some(request_id)),
        Dialect::Ollama => json!({ "error": message }),
    };
    body.to_string()
}

/// Returns the message of [`LlmErrorKind::ModelNotFound`], which Ollama's clients read.
pub fn model_not_found_message(dialect: Dialect, model: &str) -> String {
    let model = escaped(model, MAX_MODEL_NAME_CHARS);
    match dialect {
        Dialect::Ollama => format!("model '{model}' not found"),
        Dialect::OpenAi | Dialect::Anthropic => format!("the model `{model}` does not exist"),
    }
}

/// Returns the message of [`LlmErrorKind::ContextLengthExceeded`]: agents shorten their conversation
/// when they read these words. Both numbers are tokens.
pub fn context_length_message(prompt: u64, maximum: u64) -> String {
    format!("prompt is too long: {prompt} tokens > {maximum} maximum")
}

/// Returns the last event of a stream that fails after its head. Unless [`ends_in_order`], the
/// stream is broken off after it, so that no reader takes the answer for a complete one.
///
/// `position` is how far the stream has gone down to the caller. Where no event of `responses` has,
/// the caller of this function puts an id of its own there. `is_repeatable` is whether the call may
/// be executed twice, which decides whether agents send it again.
pub fn late_error(
    endpoint: Endpoint,
    kind: LlmErrorKind,
    message: &str,
    position: &StreamPosition,
    is_repeatable: bool,
) -> Bytes {
    let event = match endpoint.dialect() {
        Dialect::Anthropic => {
            let error = anthropic_error(kind, message, None);
            format!("event: error\ndata: {error}\n\n")
        }
        Dialect::Ollama => format!("{}\n", json!({ "error": message })),
        Dialect::OpenAi if endpoint == Endpoint::Responses => {
            response_failed(response_code(kind, is_repeatable), kind, message, position)
        }
        Dialect::OpenAi => format!("data: {}\n\n", openai_error(kind, message, None)),
    };
    event.into()
}

/// Returns whether a stream that failed ends in order after its last event.
///
/// `response.failed` is an end of the API itself. Codex reports a broken connection instead of the
/// failure before it, and sends the call again whatever the failure was.
pub fn ends_in_order(endpoint: Endpoint) -> bool {
    endpoint == Endpoint::Responses
}

/// Returns the sign of life that is sent between two events. Empty for endpoints whose streams have
/// no place for one.
///
/// `text` is for people who read the stream: a place in the queue, or the share of the prompt that
/// was read. Ollama's streams have no comments, so there it is left out.
pub fn keep_alive(endpoint: Endpoint, text: Option<&str>) -> Bytes {
    let comment = text.map(|text| format!(": {}\n", text.replace(['\r', '\n'], " ")));
    match endpoint.dialect() {
        _ if !endpoint.can_stream() => Bytes::new(),
        Dialect::Ollama => Bytes::from_static(b" "),
        Dialect::Anthropic => {
            let comment = comment.unwrap_or_default();
            format!("{comment}event: ping\ndata: {{\"type\":\"ping\"}}\n\n").into()
        }
        Dialect::OpenAi => {
            let comment = comment.unwrap_or_else(|| ":\n".to_owned());
            format!("{comment}\n").into()
        }
    }
}

/// Returns the sign of life that resets Codex's idle timer, which comments do not. For streams of
/// `responses` to Codex alone: other clients stop at events of unknown types.
pub fn codex_keep_alive() -> Bytes {
    Bytes::from_static(b"event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n")
}

fn openai_error(kind: LlmErrorKind, message: &str, param: Option<&str>) -> Value {
    let code = match kind {
        LlmErrorKind::Unauthorized => "invalid_api_key",
        _ => kind.word(),
    };
    json!({ "error": {
        "message": message,
        "type": kind.row().openai_type,
        "param": param,
        "code": code,
    } })
}

/// Anthropic's errors have no code, so the word is at the end of the message.
fn anthropic_error(kind: LlmErrorKind, message: &str, request_id: Option<&str>) -> Value {
    let mut body = json!({ "type": "error", "error": {
        "type": kind.row().anthropic_type,
        "message": format!("{message} ({})", kind.word()),
    } });
    if let Some(request_id) = request_id {
        body["request_id"] = request_id.into();
    }
    body
}

/// Codex passes over `event: error` and sends the call again, up to five times.
fn response_failed(
    code: &str,
    kind: LlmErrorKind,
    message: &str,
    position: &StreamPosition,
) -> String {
    let failed = json!({
        "type": "response.failed",
        "sequence_number": position.sequence_number.map_or(0, |last| last.saturating_add(1)),
        "response": {
            "id": position.response_id.as_deref().unwrap_or("resp_llamapool"),
            "object": "response",
            "status": "failed",
            "error": {
                "code": code,
                "message": format!("{message} ({})", kind.word()),
            },
        },
    });
    format!("event: response.failed\ndata: {failed}\n\n")
}

/// Returns the code of a failed response. Codex 0.171.0 sends a call again, five times, after
/// `server_error`, `rate_limit_exceeded` and every word that it does not know. It ends after
/// `invalid_prompt`, with the message, and after `context_length_exceeded` and
/// `insufficient_quota`, with messages of its own.
fn response_code(kind: LlmErrorKind, is_repeatable: bool) -> &'static str {
    match kind {
        LlmErrorKind::RateLimited | LlmErrorKind::TooManyWaiting => "rate_limit_exceeded",
        LlmErrorKind::BudgetExhausted => "insufficient_quota",
        LlmErrorKind::ContextLengthExceeded => "context_length_exceeded",
        // The same call would end in the same way.
        LlmErrorKind::AnswerTooLarge | LlmErrorKind::CallTimeout => "invalid_prompt",
        _ if kind.should_retry() => "server_error",
        _ if kind.executed() == Executed::Perhaps && is_repeatable => "server_error",
        _ => "invalid_prompt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVALID: &str = "invalid_request_error";

    /// The table of errors: word, status, OpenAI's type, Anthropic's status and type, whether the call
    /// may have been executed, and whether it should be sent again.
    #[rustfmt::skip]
    const TABLE: [(&str, u16, &str, u16, &str, Executed, bool); 32] = [
        ("invalid_request", 400, INVALID, 400, INVALID, Executed::No, false),
        ("context_length_exceeded", 400, INVALID, 400, INVALID, Executed::No, false),
        ("unauthorized", 401, INVALID, 401, "authentication_error", Executed::No, false),
        ("not_offered", 403, "permission_error", 403, "permission_error", Executed::No, false),
        ("model_not_found", 404, INVALID, 404, "not_found_error", Executed::No, false),
        ("unsupported_endpoint", 404, INVALID, 404, "not_found_error", Executed::No, false),
        ("previous_response_not_found", 404, INVALID, 404, "not_found_error", Executed::No, false),
        ("method_not_allowed", 405, INVALID, 405, INVALID, Executed::No, false),
        ("request_broken", 408, INVALID, 408, INVALID, Executed::No, true),
        ("request_too_large", 413, INVALID, 413, "request_too_large", Executed::No, false),
        ("content_encoding", 415, INVALID, 400, INVALID, Executed::No, false),
        ("unsupported_media_type", 415, INVALID, 400, INVALID, Executed::No, false),
        ("websocket_not_supported", 426, INVALID, 426, INVALID, Executed::No, false),
        ("rate_limited", 429, "rate_limit_error", 429, "rate_limit_error", Executed::No, true),
        ("too_many_waiting", 429, "rate_limit_error", 429, "rate_limit_error", Executed::No, true),
        ("budget_exhausted", 429, "insufficient_quota", 429, "rate_limit_error", Executed::No, false),
        ("queue_full", 503, "server_error", 529, "overloaded_error", Executed::No, true),
        ("queue_timeout", 503, "server_error", 529, "overloaded_error", Executed::No, true),
        ("memory_full", 503, "server_error", 529, "overloaded_error", Executed::No, true),
        ("no_worker", 503, "server_error", 529, "overloaded_error", Executed::No, true),
        ("worker_offline", 503, "server_error", 529, "overloaded_error", Executed::No, true),
        ("server_draining", 503, "server_error", 529, "overloaded_error", Executed::No, true),
        ("runtime_unreachable", 503, "server_error", 529, "overloaded_error", Executed::No, true),
        ("runtime_busy", 503, "server_error", 529, "overloaded_error", Executed::No, true),
        ("worker_lost", 502, "server_error", 500, "api_error", Executed::Perhaps, false),
        ("runtime_closed", 502, "server_error", 500, "api_error", Executed::Perhaps, false),
        ("runtime_garbage", 502, "server_error", 500, "api_error", Executed::Perhaps, false),
        ("answer_too_large", 502, "server_error", 500, "api_error", Executed::Perhaps, false),
        ("stalled", 502, "server_error", 500, "api_error", Executed::Perhaps, false),
        ("first_token_timeout", 504, "server_error", 504, "timeout_error", Executed::Perhaps, false),
        ("call_timeout", 504, "server_error", 504, "timeout_error", Executed::Perhaps, false),
        ("loop", 508, "server_error", 500, "api_error", Executed::No, false),
    ];

    #[test]
    fn each_kind_has_its_row() {
        assert_eq!(LlmErrorKind::ALL.len(), TABLE.len());
        for (word, status, openai, anthropic_status, anthropic, executed, retry) in TABLE {
            let kind = LlmErrorKind::from_word(word).unwrap_or_else(|| panic!("{word}"));

            assert_eq!(kind.word(), word);
            assert_eq!(kind.status(Dialect::OpenAi), status, "{word}");
            assert_eq!(kind.status(Dialect::Ollama), status, "{word}");
            assert_eq!(kind.status(Dialect::Anthropic), anthropic_status, "{word}");
            assert_eq!(
                (kind.executed(), kind.should_retry()),
                (executed, retry),
                "{word}"
            );

            let body = |dialect| -> Value {
                let body = error_body(dialect, kind, "m", None, "r");
                serde_json::from_str(&body).unwrap()
            };
            assert_eq!(body(Dialect::OpenAi)["error"]["type"], openai, "{word}");
            assert_eq!(
                body(Dialect::Anthropic)["error"]["type"],
                anthropic,
                "{word}"
            );
        }
        assert_eq!(LlmErrorKind::from_word("other"), None);
    }

    /// SDKs send a call again by themselves. Nothing may run twice by that.
    #[test]
    fn only_what_was_not_executed_is_to_be_sent_again() {
        for kind in LlmErrorKind::ALL {
            let may_retry = kind.should_retry();
            assert!(!may_retry || kind.executed() == Executed::No, "{kind:?}");

            let status = kind.status(Dialect::OpenAi).as_u16();
            let is_promise = matches!(status, 429 | 503);
            assert!(!is_promise || kind.executed() == Executed::No, "{kind:?}");
        }
    }

    #[test]
    fn bodies_have_exactly_these_bytes() {
        let kind = LlmErrorKind::ModelNotFound;
        let body = |dialect, param| error_body(dialect, kind, "no \"m\"", param, "req_1");

        assert_eq!(
            body(Dialect::OpenAi, Some("model")),
            r#"{"error":{"code":"model_not_found","message":"no \"m\"","param":"model","type":"invalid_request_error"}}"#
        );
        assert_eq!(
            body(Dialect::Anthropic, Some("model")),
            r#"{"error":{"message":"no \"m\" (model_not_found)","type":"not_found_error"},"request_id":"req_1","type":"error"}"#
        );
        assert_eq!(body(Dialect::Ollama, None), r#"{"error":"no \"m\""}"#);
        let unauthorized = error_body(
            Dialect::OpenAi,
            LlmErrorKind::Unauthorized,
            "a key is missing",
            None,
            "",
        );
        assert_eq!(
            unauthorized,
            r#"{"error":{"code":"invalid_api_key","message":"a key is missing","param":null,"type":"invalid_request_error"}}"#
        );
    }

    #[test]
    fn messages_that_clients_read_have_their_words() {
        let not_found = |dialect| model_not_found_message(dialect, "x\n");
        let body = error_body(
            Dialect::Anthropic,
            LlmErrorKind::ContextLengthExceeded,
            &context_length_message(5000, 4096),
            None,
            "r",
        );

        assert_eq!(not_found(Dialect::Ollama), r"model 'x\n' not found");
        assert_eq!(
            not_found(Dialect::OpenAi),
            r"the model `x\n` does not exist"
        );
        assert!(body.contains(r#""prompt is too long: 5000 tokens > 4096 maximum (context_"#));
    }

    #[test]
    fn streams_end_with_an_error_of_their_dialect() {
        let late = |endpoint| {
            let position = StreamPosition::default();
            late_error(endpoint, LlmErrorKind::WorkerLost, "a\nb", &position, true)
        };

        assert_eq!(
            late(Endpoint::ChatCompletions),
            "data: {\"error\":{\"code\":\"worker_lost\",\"message\":\"a\\nb\",\"param\":null,\"type\":\"server_error\"}}\n\n"
        );
        assert_eq!(late(Endpoint::Completions), late(Endpoint::ChatCompletions));
        assert_eq!(
            late(Endpoint::Messages),
            "event: error\ndata: {\"error\":{\"message\":\"a\\nb (worker_lost)\",\"type\":\"api_error\"},\"type\":\"error\"}\n\n"
        );
        assert_eq!(late(Endpoint::OllamaChat), "{\"error\":\"a\\nb\"}\n");
    }

    /// Codex passes over `event: error`, takes the stream for a broken one, and asks again.
    #[test]
    fn a_response_that_fails_goes_on_where_it_was() {
        let position = StreamPosition {
            response_id: Some("r1".to_owned()),
            sequence_number: Some(1),
            conversation_id: None,
        };
        let event = late_error(
            Endpoint::Responses,
            LlmErrorKind::WorkerLost,
            "gone",
            &position,
            true,
        );

        assert_eq!(
            event,
            concat!(
                "event: response.failed\n",
                r#"data: {"response":{"error":{"code":"server_error","message":"gone (worker_lost)"},"#,
                r#""id":"r1","object":"response","status":"failed"},"sequence_number":2,"#,
                r#""type":"response.failed"}"#,
                "\n\n"
            )
        );
        let first = late_error(
            Endpoint::Responses,
            LlmErrorKind::QueueTimeout,
            "late",
            &StreamPosition::default(),
            true,
        );
        let first = String::from_utf8(first.to_vec()).unwrap();
        assert!(first.contains(r#""sequence_number":0,"#), "{first}");
    }

    #[test]
    fn agents_ask_again_only_where_that_may_help() {
        use LlmErrorKind::{
            AnswerTooLarge, BudgetExhausted, CallTimeout, ContextLengthExceeded, FirstTokenTimeout,
            ModelNotFound, QueueTimeout, RateLimited, Stalled, WorkerLost,
        };

        for (kind, code, code_if_not_repeatable) in [
            (WorkerLost, "server_error", "invalid_prompt"),
            (Stalled, "server_error", "invalid_prompt"),
            (FirstTokenTimeout, "server_error", "invalid_prompt"),
            (QueueTimeout, "server_error", "server_error"),
            (RateLimited, "rate_limit_exceeded", "rate_limit_exceeded"),
            (
                ContextLengthExceeded,
                "context_length_exceeded",
                "context_length_exceeded",
            ),
            (BudgetExhausted, "insufficient_quota", "insufficient_quota"),
            (ModelNotFound, "invalid_prompt", "invalid_prompt"),
            (AnswerTooLarge, "invalid_prompt", "invalid_prompt"),
            (CallTimeout, "invalid_prompt", "invalid_prompt"),
        ] {
            assert_eq!(response_code(kind, true), code, "{kind:?}");
            assert_eq!(
                response_code(kind, false),
                code_if_not_repeatable,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn signs_of_life_are_those_of_the_dialect() {
        let text = Some("queue position=3\nof=12");

        for endpoint in [
            Endpoint::ChatCompletions,
            Endpoint::Responses,
            Endpoint::Transcriptions,
        ] {
            assert_eq!(keep_alive(endpoint, None), ":\n\n");
            assert_eq!(keep_alive(endpoint, text), ": queue position=3 of=12\n\n");
        }
        assert_eq!(
            keep_alive(Endpoint::Messages, None),
            "event: ping\ndata: {\"type\":\"ping\"}\n\n"
        );
        assert_eq!(
            keep_alive(Endpoint::Messages, text),
            ": queue position=3 of=12\nevent: ping\ndata: {\"type\":\"ping\"}\n\n"
        );
        assert_eq!(keep_alive(Endpoint::OllamaChat, text), " ");
        assert_eq!(keep_alive(Endpoint::Speech, text), "");
        assert_eq!(
            codex_keep_alive(),
            "event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n"
        );
    }
}
