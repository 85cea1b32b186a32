//! Calls to LLM runtimes: the APIs of OpenAI, Anthropic and Ollama over all workers.
//!
//! The request is taken whole, placed at a worker that has the model, and sent there; the answer
//! goes through as it comes. A call may be sent to another worker until its first content.

mod admission;
mod answer;
mod attempt;
mod call;
mod content_coding;
mod context;
mod dispatch;
mod embeddings;
mod error;
mod failed_attempt;
mod headers;
mod intake;
mod lists;
mod live_body;
mod prepare;
mod signs_of_life;
mod stored;
mod stored_responses;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use llamapool_dialect::{Endpoint, LlmErrorKind, Route, dialect_of};
use llamapool_http::discard;
use llamapool_pool::{KeyId, WorkerId};
use llamapool_wire::CallError;
use llamapool_wire::llm::ResponseForm;

use self::admission::{Admission, AdmittedCall};
use self::call::Call;
use self::dispatch::Prepared;
use self::headers::QueueWishes;
use self::lists::ListRequest;
use self::prepare::{Party, ReadRequest};
use self::signs_of_life::is_codex;
use self::stored::Kept;
use crate::auth::{AllowedOrigin, LlmCaller, cors};
use crate::error::failed_llm_call;
use crate::listen::{Peer, RequestId};

pub use context::{AffinityScope, LlmConfig, ModelAlias};
pub(crate) use context::{LlmDoor, SharedBounds};
pub(crate) use error::LlmError;
pub(crate) use stored_responses::StoredResponses;

impl LlmDoor {
    /// Answers one request to a path of the LLM API. `origin` is the verdict of `auth` about the
    /// page that it comes from.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        origin: Result<Option<AllowedOrigin>, CallError>,
        peer: Peer,
        req_id: &RequestId,
        request: Request,
    ) -> Response<Body> {
        let dialect = dialect_of(request.uri().path());
        let origin = match origin {
            Ok(origin) => origin,
            Err(failure) => {
                let error = refused_origin(&failure);
                self.pool.metrics().refused(failure.cause.word());
                discard(request).await;
                let mut answer = failed_llm_call(&error, dialect, req_id.as_str());
                headers::mark(answer.headers_mut(), dialect, req_id.as_str());
                return answer;
            }
        };
        let preflight = origin
            .as_ref()
            .and_then(|origin| cors::preflight(request.method(), request.headers(), origin));
        if let Some(answer) = preflight {
            return answer;
        }

        let answer = self.respond(peer, req_id, request).await;
        let mut answer = answer.unwrap_or_else(|error| {
            self.pool.metrics().refused(error.kind.word());
            let cause = error.kind.word();
            let message = error.log_message();
            tracing::debug!(
                req_id = req_id.as_str(),
                cause,
                error = message,
                "call refused"
            );
            failed_llm_call(&error, dialect, req_id.as_str())
        });
        headers::mark(answer.headers_mut(), dialect, req_id.as_str());
        if let Some(origin) = &origin {
            cors::expose_llm(answer.headers_mut(), origin);
        }
        answer
    }

    /// Answers a request, or returns why it is refused before it is a call.
    async fn respond(
        self: &Arc<Self>,
        peer: Peer,
        req_id: &RequestId,
        request: Request,
    ) -> Result<Response<Body>, LlmError> {
        let admitted = match self.admit(peer, req_id, &request) {
            Ok(Admission::Call(admitted)) => *admitted,
            Ok(Admission::List(route, key)) => {
                let answer = self.list(&route, key, &request);
                if answer.is_err() {
                    discard(request).await;
                }
                return answer;
            }
            Err(error) => {
                discard(request).await;
                return Err(error);
            }
        };

        let AdmittedCall {
            route,
            caller,
            begin,
        } = admitted;
        let key = caller.principal.key_use().cloned();
        let call = Call::begin(self.clone(), begin);
        // Boxed here, where it is made: what it is awaited in would be as large, and copied each time.
        let answer = Box::pin(self.run(call, caller, route, request));
        let Some(key) = key else {
            return Ok(answer.await);
        };
        tokio::select! {
            // Biased towards the end of the key: nothing is answered after it.
            biased;
            () = key.ended() => Err(LlmError::key_ended()),
            answer = answer => Ok(answer),
        }
    }

    /// Answers a request that needs no worker.
    fn list(
        &self,
        route: &Route,
        key: KeyId,
        request: &Request,
    ) -> Result<Response<Body>, LlmError> {
        let list = ListRequest {
            route,
            method: request.method(),
            query: request.uri().query(),
            headers: request.headers(),
        };
        lists::answer(self, key, &list)
    }

    /// Runs a call: every end of it is counted.
    async fn run(
        self: &Arc<Self>,
        mut call: Call,
        caller: LlmCaller,
        route: Route,
        request: Request,
    ) -> Response<Body> {
        if route.endpoint == Endpoint::StoredResponse {
            return stored::answer(call, caller, route, request).await;
        }
        let prepared = self.prepare(&mut call, caller, route, request).await;
        let ready = match prepared {
            Ok(prepared) => prepared.with(call),
            Err(error) => return self.not_placed(call, error),
        };
        match ready.prepared.request.form {
            ResponseForm::Stream => answer::streamed(ready).await,
            ResponseForm::Whole => answer::whole(ready).await,
        }
    }

    /// Reads a request, and finds what it is placed by.
    async fn prepare(
        &self,
        call: &mut Call,
        caller: LlmCaller,
        route: Route,
        request: Request,
    ) -> Result<Box<Prepared>, LlmError> {
        let memory = self.account(&caller);
        let wishes = match QueueWishes::read(request.headers()) {
            Ok(wishes) => wishes,
            Err(error) => {
                discard(request).await;
                return Err(error);
            }
        };
        let (mut head, body) = request.into_parts();
        let body = intake::take(self, &head.headers, body, &memory).await?;
        call.bytes_in = body.len() as u64;

        let content_type = answer::content_type(&head.headers);
        let query = head.uri.query().map(str::to_owned);
        let request = ReadRequest::read(route, query, content_type, body).await?;
        request.check_rights(self, caller.party)?;
        call.set_requested_model(request.info.model.as_deref());
        let model = request.resolve(self, call.key)?;
        call.set_model(model.name.clone());

        let (spending, prompt_tokens) = request.reserve(self, call.key, &model)?;
        let party = Party {
            key: call.key,
            party: caller.party,
            memory,
            wishes,
        };
        let mut ask = request.ask(self, &party, model, prompt_tokens);
        ask.only = self.bound_worker(&request, call.key)?;
        let is_codex = is_codex(&head.headers);
        headers::to_worker(&mut head.headers, request.endpoint().takes_json());
        Ok(Box::new(Prepared {
            request,
            party,
            headers: head.headers,
            ask,
            spending,
            is_codex,
        }))
    }

    /// Returns the worker that a request is bound to: the one that keeps the response before it, or
    /// its conversation.
    fn bound_worker(
        &self,
        request: &ReadRequest,
        key: KeyId,
    ) -> Result<Option<WorkerId>, LlmError> {
        let info = &request.info;
        let response = info.previous_response.as_deref();
        let conversation = info.conversation.as_deref();
        let kept = response
            .map(|id| (Kept::Response, id))
            .or(conversation.map(|id| (Kept::Conversation, id)));
        let worker = kept
            .map(|kept| stored::worker(self, kept, key))
            .transpose()?;
        Ok(worker.map(|worker| worker.id))
    }

    /// Answers a call that cannot be placed.
    fn not_placed(&self, mut call: Call, error: LlmError) -> Response<Body> {
        let is_show = call.endpoint == Endpoint::OllamaShow;
        if is_show && error.kind == LlmErrorKind::UnsupportedEndpoint {
            // The model is there, though at no worker with Ollama.
            let name = call.requested_model();
            if let Ok(shown) = lists::show(self, call.key, name) {
                call.complete(shown.status().as_u16());
                return shown;
            }
        }
        call.fail(&error);
        let mut response = failed_llm_call(&error, call.dialect(), &call.req_id);
        headers::add_limits(response.headers_mut(), self, call.key, call.dialect());
        response
    }
}

/// Returns the failure of a request whose `Host` or `Origin` is refused.
fn refused_origin(failure: &CallError) -> LlmError {
    LlmError::new(LlmErrorKind::NotOffered, failure.message.clone())
}
