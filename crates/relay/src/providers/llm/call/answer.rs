//! What the runtime answers, and what the server gets of it.

use bytes::Bytes;
use http::{Response, StatusCode, response};
use llamapool_dialect::{
    AnswerMeaning, Assembler, Endpoint, Framing, LlmErrorKind, Usage, WholeAnswer, read_answer,
};
use llamapool_http::{CollectError, collect};
use llamapool_wire::llm::{CallEnd, ResponseForm};

use super::LlmCall;
use super::refusal::Refused;
use crate::error::error_chain;
use crate::providers::llm::error::{LlmError, whole_body};
use crate::providers::llm::headers::{JSON, LINES, clean_response, content_type, replace_body};
use crate::providers::llm::meter::CallMeter;
use crate::providers::llm::passed_body::PassedBody;
use crate::providers::llm::patience::{Patience, WaitFor};
use crate::providers::llm::plan::Plan;
use crate::providers::llm::stream_answer::{Beginning, StreamAnswer, StreamParts, not_assembled};
use crate::providers::llm::translation;
use crate::providers::llm::upstream_events::UpstreamEvents;
use crate::providers::pool::ProviderBody;
use crate::response_body::ResponseBody;

/// The largest event of a stream. One with an image in it may be as large as an answer.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// What came of sending a call.
pub(super) enum Answered {
    /// A response for the server.
    With(Response<ResponseBody>),
    /// The runtime refused it with a status.
    Refused(Box<Refused>),
}

/// Returns what the head of an answer comes with.
pub(super) fn awaited(plan: &Plan) -> WaitFor {
    if plan.streams() {
        WaitFor::FirstContent
    } else {
        WaitFor::WholeAnswer
    }
}

/// Ends the attempt as one that failed, and returns its error.
pub(super) fn failed(meter: &mut CallMeter, error: LlmError) -> LlmError {
    meter.end(CallEnd::Failed);
    error
}

/// Reads an answer up to the point at which its head can be sent.
pub(super) async fn read(
    call: &LlmCall<'_>,
    plan: &Plan,
    response: Response<ProviderBody>,
    patience: Patience,
    mut meter: CallMeter,
) -> Result<Answered, LlmError> {
    let (mut head, body) = response.into_parts();
    let max_header_bytes = call.runtime.max_header_bytes;
    if let Err(error) = clean_response(&mut head.headers, max_header_bytes) {
        return Err(failed(&mut meter, error));
    }

    let framing = Framing::of(content_type(&head.headers));
    let is_ok = head.status.is_success();
    // Boxed, as each future on the way would carry its size along, and move it.
    let reader = Box::new(AnswerReader {
        call,
        head,
        patience,
        meter,
    });
    match framing {
        _ if !is_ok => reader.refused(body).await,
        Some(framing) => reader.events(plan, body, framing).await,
        // Audio, an image, the list of a stored response.
        None if reader.passes() => Ok(Answered::With(reader.pass(body))),
        None => reader.whole(body).await,
    }
}

/// An answer whose head has come.
struct AnswerReader<'a> {
    call: &'a LlmCall<'a>,
    head: response::Parts,
    patience: Patience,
    meter: CallMeter,
}

impl AnswerReader<'_> {
    /// Returns whether the answer is passed on as it comes: it is of any type.
    fn passes(&self) -> bool {
        let endpoint = self.call.endpoint;
        endpoint == Endpoint::Speech || endpoint == Endpoint::StoredResponse
    }

    /// Passes an answer on as it comes.
    fn pass(mut self: Box<Self>, body: ProviderBody) -> Response<ResponseBody> {
        self.meter.first_content();
        self.patience
            .begin(WaitFor::NextEvent, self.call.params.idle);
        let body = PassedBody::new(body, self.patience, self.meter);
        Response::from_parts(self.head, body.into_body())
    }

    /// Reads an answer with events, up to the first content.
    async fn events(
        mut self: Box<Self>,
        plan: &Plan,
        body: ProviderBody,
        framing: Framing,
    ) -> Result<Answered, LlmError> {
        let call = self.call;
        let config = call.runtime.state.config();
        let is_image = call.endpoint.api() == "images";
        let max_event_bytes = if is_image {
            config.max_answer_bytes
        } else {
            MAX_EVENT_BYTES
        };
        // From here on the wait is for content, in both forms.
        self.patience
            .begin(WaitFor::FirstContent, call.params.first_content);
        let parts = StreamParts {
            events: UpstreamEvents::new(body, framing, max_event_bytes),
            endpoint: call.endpoint,
            filter: plan.filter(),
            translator: call.translator.clone(),
            patience: self.patience,
            meter: self.meter,
        };

        let is_whole = call.form == ResponseForm::Whole && call.endpoint.takes_json();
        let assembler = Assembler::new(call.endpoint, config.max_answer_bytes);
        let answer = match assembler.filter(|_| is_whole) {
            Some(assembler) => StreamAnswer::assembling(parts, assembler, &call.runtime.memory),
            None => StreamAnswer::passing(parts),
        };
        match answer.begin(call.params.idle).await? {
            Beginning::Content(answer) => {
                if answer.assembles() {
                    replace_body(&mut self.head.headers, JSON);
                } else if call.translator.is_some() {
                    replace_body(&mut self.head.headers, LINES);
                } else {
                    self.head.headers.remove(http::header::CONTENT_LENGTH);
                }
                let response = Response::from_parts(self.head, answer.into_body());
                Ok(Answered::With(response))
            }
            Beginning::Error(status, data, meter) => {
                replace_body(&mut self.head.headers, JSON);
                Ok(error_instead(self.head, status, data, *meter))
            }
        }
    }

    /// Collects an answer that the caller wants whole.
    async fn whole(mut self: Box<Self>, body: ProviderBody) -> Result<Answered, LlmError> {
        self.patience
            .begin(WaitFor::WholeAnswer, self.call.params.first_content);
        let body = self.collect(body).await?;
        let WholeAnswer { meaning, usage } = read_answer(self.call.endpoint, &body);
        match meaning {
            AnswerMeaning::Answer => {
                let body = self.translated(body, usage)?;
                self.meter.end(CallEnd::Complete);
                Ok(Answered::With(Response::from_parts(
                    self.head,
                    whole_body(body),
                )))
            }
            AnswerMeaning::Error { status, .. } => {
                Ok(error_instead(self.head, status, body, self.meter))
            }
            AnswerMeaning::Garbage => {
                let message = "the runtime's answer is not one of the API that was called";
                let error = LlmError::new(LlmErrorKind::RuntimeGarbage, message);
                Err(failed(&mut self.meter, error))
            }
        }
    }

    /// Counts a whole answer, and returns it as its caller gets it.
    fn translated(&mut self, body: Bytes, usage: Usage) -> Result<Bytes, LlmError> {
        let endpoint = self.call.endpoint;
        self.meter.count(usage);
        let Some(translator) = &self.call.translator else {
            return Ok(body);
        };
        replace_body(&mut self.head.headers, JSON);
        let memory = &self.call.runtime.memory;
        let translated = translator
            .whole(endpoint, &body, translation::times(&self.meter))
            .map_err(not_assembled)
            .and_then(|answer| translation::counted(answer, memory));
        translated.map_err(|error| failed(&mut self.meter, error))
    }

    async fn refused(mut self: Box<Self>, body: ProviderBody) -> Result<Answered, LlmError> {
        let body = self.collect(body).await?;
        Ok(Answered::Refused(Box::new(Refused {
            head: self.head,
            body,
            meter: self.meter,
        })))
    }

    async fn collect(&mut self, body: ProviderBody) -> Result<Bytes, LlmError> {
        let runtime = self.call.runtime;
        let max_bytes = runtime.state.config().max_answer_bytes;
        let collecting = std::pin::pin!(collect(body, max_bytes, &runtime.memory));
        let collected = self.patience.wait(collecting).await;
        let collected = collected.and_then(|collected| collected.map_err(not_collected));
        collected.map_err(|error| failed(&mut self.meter, error))
    }
}

/// Returns the error of a 200 as if it had been the head. Its caller gets the runtime's words.
fn error_instead(
    mut head: response::Parts,
    status: u16,
    body: Bytes,
    meter: CallMeter,
) -> Answered {
    head.status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    Answered::Refused(Box::new(Refused { head, body, meter }))
}

fn not_collected(error: CollectError) -> LlmError {
    let (kind, message) = match error {
        CollectError::TooLarge(_) => (
            LlmErrorKind::AnswerTooLarge,
            "the runtime's answer is larger than the worker collects",
        ),
        CollectError::OutOfMemory(_) => (
            LlmErrorKind::MemoryFull,
            "the worker has no memory for the answer, see MAX_MEMORY",
        ),
        CollectError::Broken => (
            LlmErrorKind::RuntimeClosed,
            "the runtime closed the connection before its answer was complete",
        ),
    };
    LlmError::new(kind, message).with_source(error_chain(&error))
}
