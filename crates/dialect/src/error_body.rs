//! The errors of the LLM API: their words, their statuses in each dialect, their bodies, the last
//! event of a stream that fails after its head, and the signs of life between events.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::content::StreamPosition;
use crate::endpoint::{Dialect, Endpoint};

/// Whether a call that ended with an error was executed.
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
    /// The pool does not offer this to the key, or to anybody.
    NotOffered = "not_offered",
    /// No worker ever had the model, or the key may not use it.
    ModelNotFound = "model_not_found",
    /// The path does not exist, or no worker with the model has the endpoint.
    UnsupportedEndpoint = "unsupported_endpoint",
    /// The path takes other methods.
    MethodNotAllowed = "method_not_allowed",
    /// A WebSocket was asked for.
    WebSocketNotSupported = "websocket_not_supported",
    /// No runtime is known to keep this response.
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
    /// The model is known, and none of its workers takes calls.
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

/// Returns the last event of a stream that fails after its head. The stream is broken off after it,
/// so that no reader takes the answer for a complete one.
///
/// `position` is how far the stream has gone down to the caller. Where no event of `responses` has,
/// the caller of this function puts an id of its own there.
pub fn late_error(
    endpoint: Endpoint,
    kind: LlmErrorKind,
    message: &str,
    position: &StreamPosition,
) -> Bytes {
    let event = match endpoint.dialect() {
        Dialect::Anthropic => {
            let error = anthropic_error(kind, message, None);
            format!("event: error\ndata: {error}\n\n")
        }
        Dialect::Ollama => format!("{}\n", json!({ "error": message })),
        Dialect::OpenAi if endpoint == Endpoint::Responses => {
            response_failed(kind, message, position)
        }
        Dialect::OpenAi => format!("data: {}\n\n", openai_error(kind, message, None)),
    };
    event.into()
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
/// `responses` to Codex alone: other clients stop at events that they do not know.
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
fn response_failed(kind: LlmErrorKind, message: &str, position: &StreamPosition) -> String {
    let failed = json!({
        "type": "response.failed",
        "sequence_number": position.sequence_number.map_or(0, |last| last.saturating_add(1)),
        "response": {
            "id": position.response_id.as_deref().unwrap_or("resp_llamapool"),
            "object": "response",
            "status": "failed",
            "error": {
                "code": response_code(kind),
                "message": format!("{message} ({})", kind.word()),
            },
        },
    });
    format!("event: response.failed\ndata: {failed}\n\n")
}

/// Returns the code of a failed response. Agents send a call again after `server_error` and
/// `rate_limit_exceeded`, and end with the message after `invalid_prompt`.
fn response_code(kind: LlmErrorKind) -> &'static str {
    match kind {
        LlmErrorKind::RateLimited | LlmErrorKind::TooManyWaiting => "rate_limit_exceeded",
        LlmErrorKind::AnswerTooLarge => "invalid_prompt",
        _ if kind.should_retry() || kind.executed() == Executed::Perhaps => "server_error",
        _ => "invalid_prompt",
    }
}
