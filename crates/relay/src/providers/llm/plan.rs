//! The form in which a runtime is asked, and the edits of the request that it takes.
//!
//! A runtime that streams notices a caller that has left, and llama.cpp notices it in no other way.
//! Where a runtime aborts by itself, a call stays as it was asked: parsers of tool calls lose more
//! in streams.

use bytes::Bytes;
use http::StatusCode;
use llamapool_dialect::{Edits, Endpoint, RequestInfo, StreamFilter};
use llamapool_wire::llm::ResponseForm;

use super::learned::{Learned, Lesson};
use crate::config::{RuntimeKind, UpstreamStream};

/// The form in which a runtime is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The answer is asked for as a stream although the caller wants it whole.
    pub(super) assembles: bool,
    /// Usage is asked for although the caller did not.
    asks_usage: bool,
    /// Progress is asked for although the caller did not (llama.cpp).
    asks_progress: bool,
    /// The caller gets the answer as a stream.
    is_stream: bool,
}

/// What a plan depends on.
pub(super) struct PlanInput<'a> {
    pub(super) kind: RuntimeKind,
    pub(super) setting: UpstreamStream,
    pub(super) endpoint: Endpoint,
    pub(super) info: &'a RequestInfo,
    pub(super) form: ResponseForm,
    pub(super) learned: &'a Learned,
    pub(super) model: &'a str,
}

impl Plan {
    /// Returns the plan for a call.
    pub(super) fn new(input: &PlanInput<'_>) -> Self {
        let PlanInput {
            kind,
            endpoint,
            info,
            form,
            ..
        } = *input;
        let assembles = form == ResponseForm::Whole && input.assembles();
        let is_stream = form == ResponseForm::Stream;
        // Where an API always reports its counts, nothing is asked for.
        let has_options = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        let streams = (is_stream || assembles) && has_options && !info.must_stay_as_asked;

        let is_llama_cpp = kind == RuntimeKind::LlamaCpp;
        let refuses = input
            .learned
            .holds(Lesson::NoStreamOptions, endpoint.api(), input.model);
        // A whole answer has usage, which llama.cpp reports in a stream of chat only if asked. In
        // every stream it reports its timings, which asking would move.
        let misses_usage = !is_llama_cpp || assembles;
        Self {
            assembles,
            asks_usage: streams && misses_usage && !info.wants_usage && !refuses,
            asks_progress: streams && is_llama_cpp && !info.wants_progress,
            is_stream,
        }
    }

    /// Returns the body for the runtime.
    pub(super) fn body(&self, info: &RequestInfo, body: &Bytes) -> Bytes {
        let mut edits = Edits::new();
        if self.assembles {
            edits.set_stream(info, true);
        }
        if self.asks_usage {
            edits.include_usage(info);
        }
        if self.asks_progress {
            edits.return_progress(info);
        }
        edits.apply(body)
    }

    /// Returns what is taken out of a stream again: the caller had not asked for it.
    pub(super) fn filter(&self) -> StreamFilter {
        StreamFilter {
            strip_usage: self.asks_usage && self.is_stream,
            strip_progress: self.asks_progress,
        }
    }

    /// Returns whether the runtime is asked for a stream.
    pub(super) fn streams(&self) -> bool {
        self.is_stream || self.assembles
    }

    /// Returns the plan to try after a refusal, and the lesson if it goes well. `None` if the
    /// refusal is the answer. Nothing was executed.
    pub(super) fn after_refusal(&self, status: StatusCode) -> Option<(Self, Lesson)> {
        let may_be_the_form = matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::UNPROCESSABLE_ENTITY
                | StatusCode::NOT_IMPLEMENTED
        );
        if !may_be_the_form {
            return None;
        }
        if self.assembles {
            return Some((Self::default(), Lesson::AsAsked));
        }
        let without = Self {
            asks_usage: false,
            ..*self
        };
        self.asks_usage
            .then_some((without, Lesson::NoStreamOptions))
    }
}

impl PlanInput<'_> {
    /// Returns whether an answer that the caller wants whole is asked for as a stream.
    fn assembles(&self) -> bool {
        let can = self.endpoint.can_stream()
            && self.endpoint.takes_json()
            && self.endpoint != Endpoint::ImageGenerations
            && !self.info.must_stay_as_asked
            && !self.info.is_background;
        let is_refused = self
            .learned
            .holds(Lesson::AsAsked, self.endpoint.api(), self.model);
        can && !is_refused
            && match (self.setting, self.kind) {
                (UpstreamStream::Always, _) => true,
                (UpstreamStream::AsAsked, _) => false,
                (UpstreamStream::Auto, RuntimeKind::LlamaCpp) => true,
                (UpstreamStream::Auto, RuntimeKind::LmStudio | RuntimeKind::OpenAi) => {
                    // A lost tool call is worse than a busy slot.
                    !self.info.has_tools
                }
                (
                    UpstreamStream::Auto,
                    RuntimeKind::Ollama | RuntimeKind::Vllm | RuntimeKind::Sglang,
                ) => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use llamapool_dialect::read_request;

    use super::*;

    fn plan(kind: RuntimeKind, form: ResponseForm, body: &'static str) -> (Plan, String) {
        plan_of(
            Endpoint::ChatCompletions,
            kind,
            form,
            body,
            &Learned::default(),
        )
    }

    fn plan_of(
        endpoint: Endpoint,
        kind: RuntimeKind,
        form: ResponseForm,
        body: &'static str,
        learned: &Learned,
    ) -> (Plan, String) {
        let body = Bytes::from_static(body.as_bytes());
        let info = read_request(endpoint, Some("application/json"), &body).unwrap();
        let plan = Plan::new(&PlanInput {
            kind,
            setting: UpstreamStream::Auto,
            endpoint,
            info: &info,
            form,
            learned,
            model: "m",
        });
        let edited = plan.body(&info, &body);
        (plan, String::from_utf8(edited.to_vec()).unwrap())
    }

    #[test]
    fn whole_answers_are_streamed_where_runtimes_do_not_abort() {
        let body = r#"{"model":"m","messages":[]}"#;
        let with_tools = r#"{"model":"m","messages":[],"tools":[{"type":"function"}]}"#;
        let assembles = |kind, body| plan(kind, ResponseForm::Whole, body).0.assembles;

        for (kind, plain, tools) in [
            (RuntimeKind::LlamaCpp, true, true),
            (RuntimeKind::Ollama, false, false),
            (RuntimeKind::Vllm, false, false),
            (RuntimeKind::Sglang, false, false),
            (RuntimeKind::LmStudio, true, false),
            (RuntimeKind::OpenAi, true, false),
        ] {
            assert_eq!(assembles(kind, body), plain, "{kind:?}");
            assert_eq!(assembles(kind, with_tools), tools, "{kind:?}");
        }
    }

    #[test]
    fn a_stream_is_asked_for_counts_where_they_do_not_come() {
        let body = r#"{"model":"m","stream":true,"messages":[]}"#;

        let (on_vllm, sent_to_vllm) = plan(RuntimeKind::Vllm, ResponseForm::Stream, body);
        let (on_llama, sent_to_llama) = plan(RuntimeKind::LlamaCpp, ResponseForm::Stream, body);

        assert!(
            sent_to_vllm.contains(r#""include_usage":true"#),
            "{sent_to_vllm}"
        );
        assert!(on_vllm.filter().strip_usage && !on_vllm.filter().strip_progress);
        assert!(!sent_to_llama.contains("include_usage"), "{sent_to_llama}");
        assert!(
            sent_to_llama.contains(r#""return_progress":true"#),
            "{sent_to_llama}"
        );
        assert!(on_llama.filter().strip_progress && !on_llama.filter().strip_usage);
    }

    #[test]
    fn what_the_caller_asked_for_stays_in_its_stream() {
        let body = r#"{"model":"m","stream":true,"return_progress":true,
            "stream_options":{"include_usage":true},"messages":[]}"#;

        for kind in RuntimeKind::ALL {
            let (plan, sent) = plan(kind, ResponseForm::Stream, body);

            assert_eq!(plan.filter(), StreamFilter::default(), "{kind:?}");
            assert_eq!(sent, body, "{kind:?}");
        }
    }

    #[test]
    fn an_assembled_answer_keeps_its_usage() {
        let body = r#"{"model":"m","messages":[]}"#;

        let (plan, sent) = plan(RuntimeKind::LlamaCpp, ResponseForm::Whole, body);

        assert!(sent.contains(r#""stream":true"#) && sent.contains(r#""include_usage":true"#));
        assert!(!plan.filter().strip_usage);
    }

    #[test]
    fn a_refused_form_is_asked_as_asked_and_then_left_out() {
        let body = r#"{"model":"m","messages":[]}"#;
        let (whole, _) = plan(RuntimeKind::LlamaCpp, ResponseForm::Whole, body);
        let (stream, _) = plan(RuntimeKind::Vllm, ResponseForm::Stream, body);

        let (as_asked, lesson) = whole.after_refusal(StatusCode::BAD_REQUEST).unwrap();
        assert_eq!((as_asked, lesson), (Plan::default(), Lesson::AsAsked));
        assert!(as_asked.after_refusal(StatusCode::BAD_REQUEST).is_none());
        assert!(whole.after_refusal(StatusCode::NOT_FOUND).is_none());
        let (without, lesson) = stream.after_refusal(StatusCode::BAD_REQUEST).unwrap();
        assert_eq!(lesson, Lesson::NoStreamOptions);
        assert!(!without.asks_usage && without.is_stream);

        let learned = Learned::default();
        let chat = Endpoint::ChatCompletions;
        learned.note(Lesson::AsAsked, chat.api(), "m");
        let (again, sent) = plan_of(
            chat,
            RuntimeKind::LlamaCpp,
            ResponseForm::Whole,
            body,
            &learned,
        );
        assert!(!again.assembles);
        assert_eq!(sent, body);
    }
}
