//! Calls to MCP providers: `/api/mcp/id/{id}` and what is below it, with any method.
//!
//! The call goes through as it came; what is added, removed or inspected on the way stands in the
//! files of this folder, one for each stage. Nothing here depends on the content of a body, except
//! where an operator has set rules of messages: `reading` refuses by them.

mod admission;
mod answer_headers;
mod call_headers;
mod context;
mod cookies;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod method_labels;
mod method_sniffer;
mod pages;
mod reading;
mod response;
mod session_seal;
mod sse_to_json;
mod target;
mod upstream_request;

use std::net::IpAddr;
use std::pin::pin;

use axum::http::Method;
use llamapool_head::RequestHead;
use llamapool_mcp::MethodLabel;
use llamapool_wire::{CallError, RelayId};
use tokio::runtime;
use tokio::time::Instant;

use self::admission::Admission;
use self::answer_headers::AnswerOrigin;
use self::error::McpError;
use self::response::{RequestTraits, respond};
use self::session_seal::Scope;
use self::upstream_request::{Destination, UpstreamRequest, prepare};
use crate::audit::{AuditCalls, DeniedCall};
use crate::auth::{Caller, cors};
use crate::calls::{ActiveCall, CallAnswer, CallGuard, CallRequest, failure, log};
use crate::directory::Listing;
use crate::error::{JsonRpc, failed_call};
use crate::listen::RequestId;

pub use context::McpConfig;
pub(crate) use context::McpDoor;
pub(crate) use method_labels::mcp_metrics;
pub use pages::TrustedPages;
pub(crate) use session_seal::SessionSeal;
pub(crate) use target::{Target, TargetMemo};

/// The name of the metadata of a provider as a protected resource (RFC 9728).
pub(crate) const RESOURCE_METADATA: &str = "oauth-protected-resource";

impl McpDoor {
    /// Answers one call of a caller.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would have its arguments twice"
    )]
    pub(crate) fn answer(
        &self,
        targets: &mut TargetMemo,
        caller: Caller,
        req_id: &RequestId,
        request: CallRequest<'_>,
    ) -> impl Future<Output = CallAnswer> + Send {
        async move {
            let origin = caller.origin.clone();
            let head = &request.head;
            if let Some(origin) = &origin
                && let Some(answer) = cors::preflight(&head.method, &head.fields, origin)
            {
                return answer.into();
            }

            let answer = match targets.parse(&head.uri) {
                Ok(target) if self.has_own_pages && pages::is_for_a_page(&head.fields) => {
                    let refused = self.refused(req_id, Some(&target.id), pages::none_here());
                    Err(refused.into())
                }
                Ok(target) => self.run(&target, caller, req_id, request).await,
                Err(failure) => {
                    let failure = self.refused(req_id, None, failure);
                    request.discard().await;
                    Err(failure.into())
                }
            };
            let mut answer = answer.unwrap_or_else(|error| error.into_response(req_id).into());
            if let Some(origin) = &origin {
                cors::expose_fields(&mut answer.head.fields, origin);
            }
            answer
        }
    }

    /// Returns the runtime that the tunnel of the last call lives on. `None` if there is no such tunnel, or several
    /// that the next call may go through.
    pub(crate) fn home(&self, targets: &TargetMemo) -> Option<runtime::Id> {
        let listing = self.directory.find(targets.id()?)?;
        match &*listing.members {
            [only] => Some(only.tunnel.runtime),
            _ => None,
        }
    }

    /// Answers a call that `auth` has refused.
    pub(crate) fn reject(&self, req_id: &RequestId, failure: CallError) -> CallAnswer {
        let failure = self.refused(req_id, None, failure);
        failed_call::<JsonRpc>(&failure, req_id.as_str()).into()
    }

    /// Runs a call to an id: admits it, forwards it, and returns the answer as soon as its head is
    /// there. A call that is not admitted is counted in the metrics alone.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would have its arguments twice"
    )]
    pub(crate) fn run(
        &self,
        target: &Target,
        mut caller: Caller,
        req_id: &RequestId,
        mut request: CallRequest<'_>,
    ) -> impl Future<Output = Result<CallAnswer, McpError>> + Send {
        async move {
            let head = &mut request.head;
            let admitted = self.auth.admit_to(&target.id, &mut caller, head);
            let limited = admitted.and_then(|()| self.auth.limit(&target.id, &caller, head));
            let limited = match limited {
                Ok(limited) => limited,
                Err(failure) => {
                    let failure = self.refused(req_id, Some(&target.id), failure);
                    request.discard().await;
                    return Err(failure.into());
                }
            };
            let refused = |error| self.refused_by(req_id, &target.id, error);
            if !caller.rules.is_empty() {
                // Boxed: only calls to such ids pay for it.
                let address = self.auth.audited_address(&request.head.fields, caller.peer);
                let read = Box::pin(self.read(target, &caller, request));
                request = read.await.map_err(|error| {
                    self.audit_denied(target, &caller, address, (req_id, &error));
                    refused(error)
                })?;
            }
            let key = caller.principal.key_use().cloned();
            let (admission, mut call) = match self.admit(target, caller, req_id, &request.head) {
                Ok(admitted) => admitted,
                Err(error) => {
                    let error = refused(error);
                    request.discard().await;
                    return Err(error);
                }
            };

            call.set_limited(limited);
            let mut forwarded = pin!(self.forward(target, &admission, call, request));
            let answer = match key {
                None => forwarded.await,
                Some(key) => tokio::select! {
                    // Biased towards the end of the key: nothing is answered after it.
                    biased;
                    () = key.ended() => Err(failure::key_ended()),
                    answer = &mut forwarded => answer,
                },
            };
            answer.map_err(McpError::Failed)
        }
    }

    /// Reads the message of a call by the rules of its caller, unless its key ends before.
    async fn read<'c>(
        &self,
        target: &Target,
        caller: &Caller,
        request: CallRequest<'c>,
    ) -> Result<CallRequest<'c>, McpError> {
        // An id without a relay has no use for a message.
        if let Err(failure) = self.listing(&target.id) {
            request.discard().await;
            return Err(failure.into());
        }
        let read = reading::read(self, &target.id, caller, request);
        match caller.principal.key_use() {
            None => read.await,
            Some(key) => tokio::select! {
                biased;
                () = key.ended() => Err(failure::key_ended().into()),
                read = read => read,
            },
        }
    }

    /// Writes a message that a policy denies into the audit log.
    fn audit_denied(
        &self,
        target: &Target,
        caller: &Caller,
        address: Option<IpAddr>,
        (req_id, error): (&RequestId, &McpError),
    ) {
        let (outcome, denied) = match error {
            McpError::Refused { failure, .. } => (failure.cause.word(), failure.log_source()),
            McpError::HeaderMismatch { .. } => (McpError::HEADER_MISMATCH, None),
            McpError::Failed(_) | McpError::SessionGone => return,
        };
        let denied = DeniedCall {
            id: &target.id,
            req_id: req_id.as_str(),
            principal: &caller.principal,
            address,
            outcome,
            denied,
        };
        let audit = self.auth.audit().of_calls(AuditCalls::Denied);
        audit.write(|| denied.event());
    }

    /// Counts and logs a call that is not admitted.
    pub(crate) fn refused(
        &self,
        req_id: &RequestId,
        id: Option<&RelayId>,
        failure: CallError,
    ) -> CallError {
        self.metrics.refused(failure.cause.word());
        log::refused(req_id.as_str(), id, &failure);
        failure
    }

    /// Counts and logs a call that is not admitted, whatever the reason.
    fn refused_by(&self, req_id: &RequestId, id: &RelayId, error: McpError) -> McpError {
        let cause = match &error {
            McpError::Failed(failure) | McpError::Refused { failure, .. } => {
                self.metrics.refused(failure.cause.word());
                log::refused(req_id.as_str(), Some(id), failure);
                return error;
            }
            McpError::SessionGone => McpError::SESSION_GONE,
            McpError::HeaderMismatch { .. } => McpError::HEADER_MISMATCH,
        };
        self.metrics.refused(cause);
        tracing::debug!(
            req_id = req_id.as_str(),
            id = id.as_str(),
            cause,
            "call refused"
        );
        error
    }

    /// Returns the relays of an id that is called at this door.
    fn listing(&self, id: &RelayId) -> Result<Listing, CallError> {
        let listing = self.directory.find(id);
        listing
            .filter(|listing| !listing.is_of_workers())
            .ok_or_else(|| {
                self.directory.count_refused(id);
                failure::offline(id)
            })
    }

    /// Finds a relay for the call, and begins the call there.
    fn admit(
        &self,
        target: &Target,
        caller: Caller,
        req_id: &RequestId,
        request: &RequestHead,
    ) -> Result<(Admission, CallGuard<MethodLabel>), McpError> {
        let listing = self.listing(&target.id)?;
        let (admission, permit) = admission::admit(self, &listing, target, request, &caller)?;
        let memory = admission::account(self, &caller, &admission.member)
            .map_err(|error| failure::no_memory(error, &target.id))?;

        let call = ActiveCall::new(listing.id, req_id.as_str().to_owned(), caller.principal);
        let metrics = self.metrics.clone();
        let call = CallGuard::begin(listing.stats, permit, memory, metrics, call);
        Ok((admission, call))
    }

    /// Forwards an admitted call up to the head of its answer; the rest follows with its body.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would have its arguments twice"
    )]
    fn forward(
        &self,
        target: &Target,
        admission: &Admission,
        mut call: CallGuard<MethodLabel>,
        request: CallRequest<'_>,
    ) -> impl Future<Output = Result<CallAnswer, CallError>> + Send {
        async move {
            let started = Instant::now();
            let head = &request.head;
            let is_head = head.method == Method::HEAD;
            let is_trusted = self.config.trusted_pages.contains(&target.id);
            let is_of_own_script = pages::is_of_own_script(&head.fields);

            let destination = Destination {
                target,
                admission,
                is_trusted,
            };
            let prepared = prepare(self, destination, &mut call, request).await;
            let UpstreamRequest {
                head,
                body,
                wants_single_answer,
                alarm,
            } = prepared.inspect_err(|failure| call.fail(failure))?;

            let tunnel = &admission.member.tunnel.end;
            let sent = self
                .forwarder
                .send(tunnel, (&head, body), (alarm, started), &mut call)
                .await?;
            let (mut head, body) = sent;

            if admission.has_sessions {
                let tag = admission.member.tag;
                let scope = Scope::session(&target.id, admission.key.as_deref());
                self.seal.seal_header(scope, tag, &mut head.fields);
            }

            let address = admission.facts.address.as_ref();
            let public_path = address.map_or("", |address| &address.path);
            let traits = RequestTraits {
                is_head,
                wants_single_answer,
                started,
                origin: AnswerOrigin {
                    id: &target.id,
                    public_path,
                    is_trusted,
                    is_of_own_script,
                },
            };
            respond(self, traits, call, (head, body)).await
        }
    }
}
