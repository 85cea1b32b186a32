//! An attempt that did not lead to an answer: what is to be done, and what goes to the caller if
//! nothing can be.

use axum::http::{Response, StatusCode};
use bytes::Bytes;
use llamapool_dialect::{Executed, LlmErrorKind};
use llamapool_pool::Retry;
use llamapool_tunnel::SendError;
use serde::Deserialize;

use super::error::LlmError;

/// The most attempts of a call. Those that found a model still loading do not count.
const MAX_ATTEMPTS: u32 = 3;
/// The same for a part of a call.
const MAX_PART_ATTEMPTS: u32 = 2;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct FailedAttempt {
    pub(super) answer: FailedAnswer,
    pub(super) next: Next,
    /// Whether it is evidence against the worker. 500 and 4xx are not: they may be the caller's
    /// fault, and one caller must not empty the pool.
    pub(super) is_evidence: bool,
    /// The word for it in the metrics.
    pub(super) cause: &'static str,
}

/// What goes to the caller if no attempt follows.
#[derive(Debug)]
pub(super) enum FailedAnswer {
    /// An error of llamapool's own.
    Own(LlmError),
    /// The runtime's own answer, as it is.
    OfRuntime(Response<Bytes>),
}

/// What may follow a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The answer is the call's.
    Final,
    /// Another worker: nothing was executed.
    OtherWorker,
    /// Another worker, if the call may be executed twice.
    OtherIfRepeatable,
    /// The same, but once only: another runtime would mostly fail as well.
    OnceIfRepeatable,
    /// The same worker once it is ready, or another.
    WhenLoaded,
    /// A worker with a larger context.
    LargerContext,
}

/// The attempts of a call so far.
#[derive(Debug)]
pub(super) struct Attempts {
    /// Those that count.
    pub(super) count: u32,
    /// The most of them.
    most: u32,
    /// Those that ended with an error of the runtime after which one more may follow.
    errors: u32,
    /// The answer to the last one that a runtime may have executed.
    executed: Option<FailedAnswer>,
}

/// The members of an error's body that name its subject.
#[derive(Default, Deserialize)]
struct ErrorText {
    #[serde(default)]
    message: Option<serde_json::Value>,
    #[serde(default, rename = "type")]
    kind: Option<serde_json::Value>,
    #[serde(default)]
    code: Option<serde_json::Value>,
    #[serde(default)]
    param: Option<serde_json::Value>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            count: 0,
            most: MAX_ATTEMPTS,
            errors: 0,
            executed: None,
        }
    }
}

impl Attempts {
    /// Returns no attempts so far, of a part of a call.
    pub(super) fn of_part() -> Self {
        Self {
            most: MAX_PART_ATTEMPTS,
            ..Self::default()
        }
    }

    /// Counts a failed attempt. Returns how the call goes on, `None` if it does not.
    pub(super) fn after(&mut self, failed: &FailedAttempt, is_repeatable: bool) -> Option<Retry> {
        if failed.next == Next::WhenLoaded {
            return Some(Retry::Loading);
        }
        self.count += 1;
        if self.count >= self.most {
            return None;
        }
        match failed.next {
            Next::OtherWorker => Some(Retry::OtherWorker),
            Next::OtherIfRepeatable if is_repeatable => Some(Retry::OtherWorker),
            Next::OnceIfRepeatable if is_repeatable && self.errors == 0 => {
                self.errors += 1;
                Some(Retry::OtherWorker)
            }
            Next::LargerContext => Some(Retry::LargerContext),
            _ => None,
        }
    }
}

impl Attempts {
    /// Keeps the answer to an attempt after which another follows, if it may have been executed.
    pub(super) fn remember(&mut self, failed: FailedAttempt) {
        if failed.may_have_run() {
            self.executed = Some(failed.answer);
        }
    }

    /// Returns the answer to the call after its last attempt. One that promises that nothing was
    /// executed would not be true of the call where an earlier attempt may have been.
    pub(super) fn answer(self, last: FailedAttempt) -> FailedAnswer {
        match self.executed {
            Some(executed) if last.promises_no_execution() => executed,
            _ => last.answer,
        }
    }
}

impl FailedAttempt {
    /// Returns whether a runtime may have executed the call.
    fn may_have_run(&self) -> bool {
        match &self.answer {
            FailedAnswer::Own(error) => error.kind.executed() == Executed::Perhaps,
            FailedAnswer::OfRuntime(answer) => {
                answer.status().is_server_error() && !self.promises_no_execution()
            }
        }
    }

    /// Returns whether the answer invites its caller to send the call again, as nothing was executed.
    fn promises_no_execution(&self) -> bool {
        match &self.answer {
            FailedAnswer::Own(error) => error.kind.should_retry(),
            FailedAnswer::OfRuntime(answer) => matches!(answer.status().as_u16(), 429 | 503 | 529),
        }
    }

    /// Returns the failure of an attempt that ended with an error of llamapool's own, here or at
    /// the worker.
    pub(super) fn own(error: LlmError) -> Self {
        use LlmErrorKind::{
            AnswerTooLarge, ContextLengthExceeded, FirstTokenTimeout, ModelNotFound, RuntimeClosed,
            RuntimeGarbage, RuntimeUnreachable, Stalled, UnsupportedEndpoint,
        };
        let kind = error.kind;
        let next = match kind {
            AnswerTooLarge | FirstTokenTimeout | LlmErrorKind::CallTimeout => Next::Final,
            ContextLengthExceeded => Next::LargerContext,
            ModelNotFound | UnsupportedEndpoint => Next::OtherWorker,
            _ if kind.executed() == Executed::Perhaps => Next::OtherIfRepeatable,
            _ if kind.should_retry() => Next::OtherWorker,
            _ => Next::Final,
        };
        Self {
            next,
            is_evidence: matches!(
                kind,
                RuntimeUnreachable | RuntimeClosed | RuntimeGarbage | Stalled | FirstTokenTimeout
            ),
            cause: kind.word(),
            answer: FailedAnswer::Own(error),
        }
    }

    /// Returns the failure of an attempt without the head of an answer.
    pub(super) fn unsent(error: SendError) -> Self {
        let (kind, message) = match &error {
            SendError::NotAccepted(_) => (
                LlmErrorKind::WorkerOffline,
                "the worker left before it took the call",
            ),
            SendError::TunnelLost(_) => (
                LlmErrorKind::WorkerLost,
                "the connection to the worker was lost; it may have executed the call",
            ),
            SendError::GivenUp(_) => (
                LlmErrorKind::RuntimeClosed,
                "the worker ended the call without an answer",
            ),
            SendError::HeadTooLarge(_) => (
                LlmErrorKind::RequestTooLarge,
                "the headers of the request are too large, see TUNNEL_MAX_HEADER_BYTES",
            ),
            SendError::RequestBody(_) | SendError::Malformed(_) => (
                LlmErrorKind::InvalidRequest,
                "the request cannot be sent to a worker",
            ),
        };
        Self::own(LlmError::new(kind, message).because(error))
    }

    /// Returns the failure of an attempt that a runtime answered with an error.
    pub(super) fn of_runtime(answer: Response<Bytes>) -> Self {
        let status = answer.status();
        let text = error_text(answer.body());
        let next = match status.as_u16() {
            503 if text.is_loading() => Next::WhenLoaded,
            429 | 503 | 529 => Next::OtherWorker,
            500 | 502 | 504 => Next::OnceIfRepeatable,
            400 | 413 if text.is_about_context() => Next::LargerContext,
            400 if text.is_about_loading_a_model() => Next::OtherWorker,
            404 | 405 | 501 => Next::OtherWorker,
            _ => Next::Final,
        };
        let is_evidence = matches!(status.as_u16(), 502..=504) && next != Next::WhenLoaded;
        Self {
            answer: FailedAnswer::OfRuntime(answer),
            next,
            is_evidence,
            cause: cause_of(status),
        }
    }
}

impl ErrorText {
    fn message(&self) -> String {
        let text = self.message.as_ref().and_then(serde_json::Value::as_str);
        text.unwrap_or_default().to_ascii_lowercase()
    }

    fn has_word(&self, word: &str) -> bool {
        [&self.kind, &self.code, &self.param]
            .into_iter()
            .flatten()
            .any(|value| value.as_str() == Some(word))
    }

    /// A runtime that still loads the model answers 503 so (llama.cpp, vLLM).
    fn is_loading(&self) -> bool {
        let message = self.message();
        self.has_word("unavailable_error")
            || message.contains("loading model")
            || message.contains("model is loading")
    }

    fn is_about_context(&self) -> bool {
        const WORDS: [&str; 5] = [
            "context length",
            "context size",
            "context window",
            "maximum context",
            "prompt is too long",
        ];
        let message = self.message();
        self.has_word("context_length_exceeded")
            || self.has_word("exceed_context_size_error")
            || WORDS.iter().any(|words| message.contains(words))
    }

    fn is_about_loading_a_model(&self) -> bool {
        let message = self.message();
        message.contains("failed to load model") || message.contains("no models loaded")
    }
}

/// Reads what an error is about. Nothing if it is not JSON: `{"error":{…}}`, `{"error":"…"}` or
/// the members themselves.
fn error_text(body: &[u8]) -> ErrorText {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return ErrorText::default();
    };
    match body.get("error") {
        Some(message @ serde_json::Value::String(_)) => ErrorText {
            message: Some(message.clone()),
            ..ErrorText::default()
        },
        Some(error) => ErrorText::deserialize(error).unwrap_or_default(),
        None => ErrorText::deserialize(&body).unwrap_or_default(),
    }
}

fn cause_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "status_429",
        500 => "status_500",
        502 => "status_502",
        503 => "status_503",
        504 => "status_504",
        400..=499 => "status_4xx",
        _ => "status_other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &'static str) -> FailedAttempt {
        let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        FailedAttempt::of_runtime(answer)
    }

    fn own(kind: LlmErrorKind) -> FailedAttempt {
        FailedAttempt::own(LlmError::new(kind, "x"))
    }

    #[test]
    fn errors_of_runtimes_decide_whether_a_call_goes_on() {
        let loading =
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
        let overflow = r#"{"error":{"code":400,"message":"request (5000 tokens) exceeds the available context size (4096 tokens)","type":"exceed_context_size_error"}}"#;
        let unloaded =
            r#"{"error":{"message":"Failed to load model \"x\"","type":"invalid_request_error"}}"#;

        for (status, body, next, is_evidence) in [
            (503, loading, Next::WhenLoaded, false),
            (503, "busy", Next::OtherWorker, true),
            (429, "{}", Next::OtherWorker, false),
            (500, "{}", Next::OnceIfRepeatable, false),
            (502, "{}", Next::OnceIfRepeatable, true),
            (504, "{}", Next::OnceIfRepeatable, true),
            (400, overflow, Next::LargerContext, false),
            (400, unloaded, Next::OtherWorker, false),
            (400, r#"{"error":"bad"}"#, Next::Final, false),
            (
                404,
                r#"{"error":"model 'x' not found"}"#,
                Next::OtherWorker,
                false,
            ),
            (401, "{}", Next::Final, false),
            (422, "{}", Next::Final, false),
        ] {
            let failed = answered(status, body);
            assert_eq!(failed.next, next, "{status} {body}");
            assert_eq!(failed.is_evidence, is_evidence, "{status} {body}");
        }
    }

    #[test]
    fn own_errors_decide_whether_a_call_goes_on() {
        for (kind, next, is_evidence) in [
            (LlmErrorKind::RuntimeUnreachable, Next::OtherWorker, true),
            (LlmErrorKind::RuntimeBusy, Next::OtherWorker, false),
            (LlmErrorKind::WorkerOffline, Next::OtherWorker, false),
            (LlmErrorKind::WorkerLost, Next::OtherIfRepeatable, false),
            (LlmErrorKind::RuntimeClosed, Next::OtherIfRepeatable, true),
            (LlmErrorKind::Stalled, Next::OtherIfRepeatable, true),
            (LlmErrorKind::FirstTokenTimeout, Next::Final, true),
            (LlmErrorKind::UnsupportedEndpoint, Next::OtherWorker, false),
            (LlmErrorKind::InvalidRequest, Next::Final, false),
        ] {
            let failed = own(kind);
            assert_eq!(failed.next, next, "{kind:?}");
            assert_eq!(failed.is_evidence, is_evidence, "{kind:?}");
        }
    }

    #[test]
    fn three_attempts_are_made_at_most_and_loading_does_not_count() {
        let busy = own(LlmErrorKind::RuntimeBusy);
        let loading = answered(503, r#"{"error":{"message":"Loading model"}}"#);
        let mut attempts = Attempts::default();

        for _ in 0..10 {
            assert_eq!(attempts.after(&loading, true), Some(Retry::Loading));
        }
        assert_eq!(attempts.after(&busy, true), Some(Retry::OtherWorker));
        assert_eq!(attempts.after(&busy, true), Some(Retry::OtherWorker));
        assert_eq!(attempts.after(&busy, true), None);
    }

    #[test]
    fn no_answer_denies_what_an_earlier_attempt_executed() {
        let after = |earlier: Vec<FailedAttempt>, last| {
            let mut attempts = Attempts::default();
            earlier.into_iter().for_each(|one| attempts.remember(one));
            match attempts.answer(last) {
                FailedAnswer::Own(error) => error.kind.word().to_owned(),
                FailedAnswer::OfRuntime(answer) => answer.status().as_str().to_owned(),
            }
        };
        let lost = || own(LlmErrorKind::WorkerLost);
        let offline = || own(LlmErrorKind::WorkerOffline);

        assert_eq!(after(vec![lost()], answered(503, "busy")), "worker_lost");
        assert_eq!(after(vec![lost(), offline()], offline()), "worker_lost");
        assert_eq!(after(vec![answered(500, "{}")], offline()), "500");
        assert_eq!(after(vec![lost()], answered(400, "{}")), "400");
        assert_eq!(
            after(vec![answered(503, "busy")], offline()),
            "worker_offline"
        );
        assert_eq!(after(vec![], answered(503, "busy")), "503");
    }

    #[test]
    fn what_may_have_been_executed_is_repeated_only_if_it_may_be() {
        let lost = own(LlmErrorKind::WorkerLost);
        let error = answered(500, "{}");

        assert_eq!(Attempts::default().after(&lost, false), None);
        assert_eq!(Attempts::default().after(&error, false), None);
        let mut attempts = Attempts::default();
        assert_eq!(attempts.after(&error, true), Some(Retry::OtherWorker));
        assert_eq!(attempts.after(&error, true), None, "once is enough");
    }
}
