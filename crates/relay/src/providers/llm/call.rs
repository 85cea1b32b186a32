//! One call to the runtime: read, checked, sent in the form that suits the runtime, and answered.

mod answer;
mod refusal;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, request};
use llamapool_dialect::{
    AnswerTranslator, Endpoint, LlmErrorKind, RequestInfo, Route, read_request, route,
};
use llamapool_http::{CollectError, collect, has_dot_segment};
use llamapool_limits::MemoryAccount;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::llm::ResponseForm;

use self::answer::Answered;
use super::LlmRuntime;
use super::call_params::CallParams;
use super::error::LlmError;
use super::headers::{content_type, prepare_request};
use super::learned::Lesson;
use super::meter::{Attempt, CallMeter};
use super::patience::Patience;
use super::plan::{Plan, PlanInput};
use super::translation::{self, RuntimeRequest};
use crate::config::RuntimeKind;
use crate::error::error_chain;
use crate::providers::pool::PoolError;
use crate::response_body::ResponseBody;

/// Bodies above this many bytes are read on a thread that may block: 10 MiB take up to 30 ms, in which
/// the only other thread would pass no event of any call on.
const BLOCKING_BYTES: usize = 1 << 20;
/// Bytes of a prompt for one token, before anything is learned.
const BYTES_PER_TOKEN: f64 = 4.0;

/// A call that was read.
pub(super) struct LlmCall<'a> {
    runtime: &'a LlmRuntime,
    kind: RuntimeKind,
    /// What the runtime is asked for.
    endpoint: Endpoint,
    method: Method,
    url: Uri,
    headers: HeaderMap,
    body: Bytes,
    info: RequestInfo,
    params: CallParams,
    /// The runtime's name of the model, empty if the call has none.
    model: String,
    form: ResponseForm,
    /// What makes the caller's answer of the runtime's, where the API of the call is made of another.
    translator: Option<AnswerTranslator>,
}

/// Returns the line of the table of methods and paths that a call is, which also the server has
/// looked up: no server may choose what else a worker reaches.
pub(super) fn admitted_route(method: &Method, at_runtime: &str) -> Result<Route, LlmError> {
    let refused = |message: String| LlmError::new(LlmErrorKind::NotOffered, message);
    if has_dot_segment(at_runtime) {
        return Err(refused(
            "the path has a segment that could mean `.` or `..`".to_owned(),
        ));
    }
    let route = route(method, at_runtime, false).map_err(|error| refused(error.to_string()))?;
    if route.endpoint.is_forwarded() && route.at_runtime == at_runtime {
        Ok(route)
    } else {
        Err(refused(
            "a worker does not forward this path to its runtime".to_owned(),
        ))
    }
}

impl<'a> LlmCall<'a> {
    /// Reads a request.
    pub(super) async fn read(
        runtime: &'a LlmRuntime,
        route: &Route,
        request: Request<IncomingBody>,
    ) -> Result<Box<Self>, LlmError> {
        let (head, body) = request.into_parts();
        let endpoint = route.endpoint;
        let kind = runtime.state.kind().unwrap_or(RuntimeKind::OpenAi);
        let body = whole_body(body, &runtime.memory).await?;
        let info = read_info(endpoint, content_type(&head.headers), &body).await?;

        let params = CallParams::of(&head.headers);
        let model = params
            .model
            .clone()
            .or(info.model.clone())
            .unwrap_or_default();
        let streams = info.stream.unwrap_or(endpoint.streams_by_default());
        let of_body = if streams {
            ResponseForm::Stream
        } else {
            ResponseForm::Whole
        };
        let request = RuntimeRequest {
            endpoint,
            path: route.at_runtime.clone(),
            body,
            info,
            translator: None,
        };
        let request = request.for_runtime(kind, &runtime.memory)?;
        let (url, method, headers) = Self::head(runtime, &request.path, head, request.endpoint);
        // Boxed, as each future on the way would carry its size along, and move it.
        Ok(Box::new(Self {
            form: params.form.unwrap_or(of_body),
            runtime,
            kind,
            endpoint: request.endpoint,
            method,
            url,
            headers,
            body: request.body,
            info: request.info,
            params,
            model,
            translator: request.translator,
        }))
    }

    fn head(
        runtime: &LlmRuntime,
        path: &str,
        mut head: request::Parts,
        endpoint: Endpoint,
    ) -> (Uri, Method, HeaderMap) {
        let query = head.uri.query().map(|query| format!("?{query}"));
        let path = format!("{path}{}", query.unwrap_or_default());
        prepare_request(&mut head.headers, &runtime.address, endpoint.takes_json());
        (runtime.address.url(&path), head.method, head.headers)
    }

    /// Sends the call, in another form again if the runtime refuses the first one, and returns the
    /// response.
    pub(super) async fn respond(self: Box<Self>) -> Result<Response<ResponseBody>, LlmError> {
        let api = self.endpoint.api();
        let state = &self.runtime.state;
        if state.learned.holds(Lesson::Lacks, api, &self.model) {
            return Err(refusal::lacking(api));
        }
        let slot = if takes_slot(self.endpoint) {
            let slot = state.gate.enter().await;
            let busy = || {
                LlmError::new(
                    LlmErrorKind::RuntimeBusy,
                    "all slots of the runtime are in use",
                )
            };
            Some(slot.ok_or_else(busy)?)
        } else {
            None
        };
        let attempt = Attempt {
            number: self.params.attempt,
            model: self.model.clone(),
            endpoint: self.endpoint,
            estimated_prompt: self.info.estimated_prompt_tokens(BYTES_PER_TOKEN),
        };
        let abandoned = self.runtime.abandoned.clone();
        let mut meter = CallMeter::new(state.clone(), abandoned, slot, attempt);

        let mut plan = self.plan();
        let mut lesson = None;
        loop {
            // Boxed, so that it is made in its place and not copied into it.
            let answered = Box::pin(self.exchange(&plan, meter)).await?;
            let refused = match answered {
                Answered::Refused(refused) => refused,
                Answered::With(response) => {
                    if let Some(lesson) = lesson {
                        state.learn(lesson, api, &self.model);
                    }
                    return Ok(response);
                }
            };
            match plan.after_refusal(refused.status()) {
                Some((next, learned)) => {
                    plan = next;
                    lesson = Some(learned);
                    meter = refused.meter;
                }
                None => return refused.response(&self),
            }
        }
    }

    fn plan(&self) -> Plan {
        let state = &self.runtime.state;
        Plan::new(&PlanInput {
            kind: self.kind,
            setting: state.config().upstream_stream,
            endpoint: self.endpoint,
            info: &self.info,
            form: self.form,
            learned: &state.learned,
            model: &self.model,
        })
    }

    /// Sends the call once, in the form of a plan.
    async fn exchange(&self, plan: &Plan, mut meter: CallMeter) -> Result<Answered, LlmError> {
        let body = if self.endpoint.takes_json() {
            plan.body(&self.info, &self.body)
        } else {
            self.body.clone()
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();

        let mut patience = Patience::new(
            self.runtime.state.clone(),
            self.runtime.polls.clone(),
            &self.model,
            self.info.has_tools,
        );
        patience.begin(answer::awaited(plan), self.params.first_content);
        meter.send();
        let sending = std::pin::pin!(self.runtime.calls.send_http(request));
        let sent = match patience.wait(sending).await {
            Ok(sent) => sent,
            Err(error) => return Err(answer::failed(&mut meter, error)),
        };
        match sent {
            Ok(response) => {
                self.runtime.health.reachable();
                answer::read(self, plan, response, patience, meter).await
            }
            Err(error) => Err(self.not_answered(&error, meter)),
        }
    }

    fn not_answered(&self, error: &PoolError, mut meter: CallMeter) -> LlmError {
        match error {
            PoolError::Unreachable(error) => {
                meter.was_not_sent();
                let error = error_chain(&**error);
                self.runtime.health.unreachable(error.clone());
                let message = "the worker cannot connect to its runtime";
                LlmError::new(LlmErrorKind::RuntimeUnreachable, message).with_source(error)
            }
            PoolError::Lost(error) => {
                let (kind, message) = if error.is_not_http() {
                    (
                        LlmErrorKind::RuntimeGarbage,
                        "the runtime's answer is not HTTP, or its head is far too large",
                    )
                } else {
                    (
                        LlmErrorKind::RuntimeClosed,
                        "the runtime closed the connection before it answered",
                    )
                };
                let error = LlmError::new(kind, message).with_source(error_chain(error));
                answer::failed(&mut meter, error)
            }
        }
    }
}

/// Returns whether a call of an endpoint computes, so that it takes a slot.
fn takes_slot(endpoint: Endpoint) -> bool {
    !matches!(
        endpoint,
        Endpoint::CountTokens
            | Endpoint::ResponseInputTokens
            | Endpoint::StoredResponse
            | Endpoint::OllamaShow
    )
}

/// Reads what matters of a body.
async fn read_info(
    endpoint: Endpoint,
    content_type: &str,
    body: &Bytes,
) -> Result<RequestInfo, LlmError> {
    let info = if body.len() < BLOCKING_BYTES {
        read_request(endpoint, Some(content_type), body)
    } else {
        let body = body.clone();
        let content_type = content_type.to_owned();
        let read = move || read_request(endpoint, Some(&content_type), &body);
        tokio::task::spawn_blocking(read).await.map_err(|error| {
            LlmError::new(LlmErrorKind::InvalidRequest, "the body cannot be read")
                .with_source(error.to_string())
        })?
    };
    info.map_err(|error| translation::refused(&error))
}

/// Takes the whole body of a request. The server bounds it, and here the memory does.
async fn whole_body(body: IncomingBody, memory: &MemoryAccount) -> Result<Bytes, LlmError> {
    let out_of_memory = |error: String| {
        let message = "the memory of the worker for calls is in use, see MAX_MEMORY";
        LlmError::new(LlmErrorKind::MemoryFull, message).with_source(error)
    };
    body.cover_window(memory.clone())
        .map_err(|error| out_of_memory(error.to_string()))?;
    let capacity = memory.budget().capacity();
    collect(body, capacity, memory)
        .await
        .map_err(|error| match error {
            CollectError::Broken => LlmError::new(
                LlmErrorKind::RequestBroken,
                "the body of the request broke off",
            ),
            error => out_of_memory(error.to_string()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how often another task had its turn on this only thread while a body was read.
    async fn turns_of_others(words: usize) -> usize {
        let text = "llama ".repeat(words);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let body = Bytes::from(body);
        let reading = read_info(Endpoint::ChatCompletions, "application/json", &body);
        tokio::pin!(reading);
        let mut turns = 0;
        loop {
            tokio::select! {
                // Biased, so that the reading has the first turn.
                biased;
                info = &mut reading => {
                    assert_eq!(info.ok().unwrap().model.as_deref(), Some("m"));
                    return turns;
                }
                () = tokio::task::yield_now() => turns += 1,
            }
        }
    }

    #[tokio::test]
    async fn a_large_body_is_read_beside_other_tasks() {
        assert!(turns_of_others(BLOCKING_BYTES).await > 0);
        assert_eq!(turns_of_others(10).await, 0);
    }
}
