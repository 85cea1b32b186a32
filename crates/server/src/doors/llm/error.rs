//! The failures of calls to the LLM API, in words for the caller. `error` makes responses of them.

use std::time::Duration;

use llamapool_dialect::{Endpoint, LlmErrorKind, RequestError, RouteError};
use llamapool_limits::ShareError;
use llamapool_pool::{BudgetError, BudgetKind, RefusedError};
use llamapool_wire::{CallError, Cause};

use super::content_coding::{DecodeError, UnsupportedCodingError};

/// A call that llamapool answers with an error of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct LlmError {
    /// The kind, which has the status and the word.
    pub(crate) kind: LlmErrorKind,
    /// The sentence for the caller.
    pub(crate) message: String,
    /// The member of the request that is wrong.
    pub(crate) param: Option<&'static str>,
    /// When the call may work, if there is a time.
    pub(crate) retry_after: Option<Duration>,
    /// The methods of the path, if the method is wrong.
    pub(crate) allow: Option<&'static str>,
    /// The reason for the log, where it is more than the message.
    pub(crate) cause: Option<String>,
}

impl LlmError {
    /// Returns a failure with its sentence.
    pub(crate) fn new(kind: LlmErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            retry_after: None,
            allow: None,
            cause: None,
        }
    }

    /// Names the member of the request that is wrong.
    pub(super) fn about(self, param: &'static str) -> Self {
        Self {
            param: Some(param),
            ..self
        }
    }

    /// Adds the reason for the log.
    pub(super) fn because(self, cause: impl ToString) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..self
        }
    }

    /// Returns the text for the log.
    pub(super) fn log_message(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}: {cause}", self.message),
            None => self.message.clone(),
        }
    }

    /// Returns the failure of a request for a model that is not there.
    pub(super) fn model_not_found(name: &str, endpoint: Endpoint) -> Self {
        let message = match endpoint.dialect() {
            llamapool_dialect::Dialect::Ollama => format!("model '{name}' not found"),
            _ => format!("the model `{name}` does not exist, or this key may not use it"),
        };
        Self::new(LlmErrorKind::ModelNotFound, message).about("model")
    }

    /// Returns the failure of a request for an API that no worker with the model has.
    pub(super) fn unsupported(name: &str, api: &str) -> Self {
        let message = format!("no worker with the model `{name}` has the API {api}");
        Self::new(LlmErrorKind::UnsupportedEndpoint, message)
    }

    /// Returns the failure of a request for which no memory is left, in all or for one party.
    pub(super) fn no_memory(error: ShareError) -> Self {
        let message = match error {
            ShareError::Full => "the memory for requests is in use, see MAX_MEMORY",
            ShareError::Owner(0) => "requests of this caller use up its share of MAX_MEMORY",
            ShareError::Owner(1) => "requests from this address use up its share of MAX_MEMORY",
            ShareError::Owner(_) => "requests to the LLM API use up their share of MAX_MEMORY",
        };
        Self::new(LlmErrorKind::MemoryFull, message)
    }

    /// Returns the failure of a request that exceeds a limit of its key.
    pub(super) fn limited(failure: CallError) -> Self {
        let kind = match failure.cause {
            Cause::NotAllowed => LlmErrorKind::NotOffered,
            Cause::QuotaUsedUp => LlmErrorKind::BudgetExhausted,
            Cause::TooManyCalls => LlmErrorKind::TooManyWaiting,
            _ => LlmErrorKind::RateLimited,
        };
        let seconds = failure.retry_after_seconds();
        Self {
            retry_after: seconds.map(Duration::from_secs),
            ..Self::new(kind, failure.message)
        }
    }

    /// Returns the failure of a call whose key has ended, or has other rights, while it ran.
    pub(super) fn key_ended() -> Self {
        let message = "the API key has ended or has other rights now; the call was ended with it";
        Self::new(LlmErrorKind::Unauthorized, message)
    }

    /// Returns the failure of a request with too large a body.
    pub(super) fn too_large(max_bytes: u64) -> Self {
        let message = format!("the request body exceeds {max_bytes} bytes, see MAX_REQUEST_BYTES");
        Self::new(LlmErrorKind::RequestTooLarge, message)
    }
}

impl From<RouteError> for LlmError {
    fn from(error: RouteError) -> Self {
        let allow = match error {
            RouteError::WrongMethod { allow } => Some(allow),
            RouteError::NotFound | RouteError::WebSocket => None,
        };
        Self {
            allow,
            ..Self::new(error.kind(), error.to_string())
        }
    }
}

impl From<RequestError> for LlmError {
    fn from(error: RequestError) -> Self {
        Self {
            param: error.param(),
            ..Self::new(error.kind(), error.to_string())
        }
    }
}

impl From<UnsupportedCodingError> for LlmError {
    fn from(error: UnsupportedCodingError) -> Self {
        Self::new(LlmErrorKind::ContentEncoding, error.to_string())
    }
}

impl From<DecodeError> for LlmError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Invalid(_) => Self::new(LlmErrorKind::InvalidRequest, error.to_string()),
            DecodeError::TooLarge(_) => Self::new(LlmErrorKind::RequestTooLarge, error.to_string()),
            DecodeError::OutOfMemory(error) => Self::no_memory(error),
        }
    }
}

impl From<BudgetError> for LlmError {
    fn from(error: BudgetError) -> Self {
        let kind = match error.kind {
            BudgetKind::RequestsPerMinute | BudgetKind::TokensPerMinute => {
                LlmErrorKind::RateLimited
            }
            BudgetKind::TokensPerDay => LlmErrorKind::BudgetExhausted,
        };
        Self {
            retry_after: Some(Duration::from_micros(error.retry_after)),
            ..Self::new(kind, format!("the {error} for this key"))
        }
    }
}

impl From<RefusedError> for LlmError {
    fn from(error: RefusedError) -> Self {
        let kind = match error {
            RefusedError::ModelGone | RefusedError::NoWorker => LlmErrorKind::NoWorker,
            RefusedError::WorkerOffline => LlmErrorKind::WorkerOffline,
            RefusedError::Busy => LlmErrorKind::QueueFull,
            RefusedError::QueueFull { .. } => LlmErrorKind::QueueFull,
            RefusedError::TooManyWaiting { .. } | RefusedError::KeyBusy { .. } => {
                LlmErrorKind::TooManyWaiting
            }
            RefusedError::QueueTimeout => LlmErrorKind::QueueTimeout,
            RefusedError::ContextExceeded { tokens, context } => {
                let message = format!("prompt is too long: {tokens} tokens > {context} maximum");
                return Self::new(LlmErrorKind::ContextLengthExceeded, message);
            }
            // Numbers are given once, so the pool has every call that it is asked about.
            RefusedError::Duplicate(_) | RefusedError::Unknown(_) => LlmErrorKind::WorkerLost,
        };
        Self::new(kind, error.to_string())
    }
}
