//! One of the relay's providers: its id, its token, its state, and its kind.
//!
//! The connection to the server is not here, as all providers share it. An id stays the same for as
//! long as the process lives, also one that the server assigned.

use std::sync::{Arc, OnceLock};

use http::Method;
use llamapool_bridge::BridgeCaller;
use llamapool_head::Fields;
use llamapool_http::ListenerStreams;
use llamapool_limits::{Claim, MemoryAccount, Owner};
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::path::{self, OAuthDocument};
use llamapool_wire::{CallError, Cause, PublicBase, RelayId};
use tokio_util::sync::CancellationToken;

use super::{ProcessSettings, Provider, SharedResources};
use crate::call::{CallRequest, CallResponse};
use crate::config::ProviderConfig;
use crate::shown_calls::ShownCall;
use crate::status::calls::CallGuard;
use crate::status::provider::ProviderStatus;

/// One provider that the relay makes reachable.
pub(crate) struct ProviderEntry {
    identity: EntryIdentity,
    pub(crate) config: ProviderConfig,
    pub(crate) status: ProviderStatus,
    pub(crate) provider: Provider,
    /// The streams on which callers only listen.
    pub(crate) listeners: ListenerStreams,
    memory: MemoryAccount,
    shows_calls: bool,
    retired: CancellationToken,
}

/// What stays the same when a reload replaces a provider by another one.
#[derive(Clone)]
pub(crate) struct EntryIdentity {
    id: Arc<OnceLock<RelayId>>,
    label: Arc<str>,
    place: usize,
}

impl EntryIdentity {
    /// The identity of a provider at a place among those of the relay, counted from 1.
    pub(crate) fn new(place: usize, id: Option<&RelayId>) -> Self {
        // No id contains this sign, so no two providers have the same label.
        let label = id.map_or_else(|| format!("#{place}"), RelayId::to_string);
        Self {
            id: Arc::new(id.cloned().map_or_else(OnceLock::new, OnceLock::from)),
            label: label.into(),
            place,
        }
    }

    /// Returns the identity of a provider, for the one that replaces it.
    pub(crate) fn of(entry: &ProviderEntry) -> Self {
        entry.identity.clone()
    }
}

impl ProviderEntry {
    /// The provider of a configuration.
    pub(crate) fn new(
        identity: EntryIdentity,
        config: ProviderConfig,
        tunnel: &TunnelConfig,
        tls: rustls::ClientConfig,
        shared: &SharedResources,
    ) -> Self {
        let status = ProviderStatus::new(identity.label.clone(), config.auth_token.is_some());
        let account = shared.memory.account_of_id(memory_claim(identity.place));
        let settings = ProcessSettings {
            max_header_bytes: tunnel.max_header_bytes,
            tls,
            memory: &account,
            gate: &shared.gate,
            shows_calls: shared.shows_calls,
        };
        Self {
            identity,
            provider: Provider::new(&config, settings, &status),
            listeners: ListenerStreams::new(),
            memory: account,
            retired: CancellationToken::new(),
            shows_calls: shared.shows_calls,
            status,
            config,
        }
    }

    /// Returns the id, `None` while the server has not assigned one.
    pub(crate) fn id(&self) -> Option<&RelayId> {
        self.identity.id.get()
    }

    /// Returns the id as the slot of the provider has it, which the server may still assign.
    pub(crate) fn shared_id(&self) -> &Arc<OnceLock<RelayId>> {
        &self.identity.id
    }

    /// Waits until nothing but streams on which callers only listen runs, and ends those.
    pub(crate) async fn end_listeners_when_idle(&self) {
        let calls = self.status.calls();
        self.listeners.end_when_idle(|| calls.running()).await;
    }

    /// Ends the provider in order: [`retired`](Self::retired) resolves.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
    }

    /// Waits until the provider is to end in order.
    pub(crate) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Returns the URL under which callers reach the provider, `None` before the first
    /// connection: its own, or for an LLM runtime that of the API.
    pub(crate) fn public_url(&self, base: Option<&PublicBase>) -> Option<String> {
        let (base, id) = base.zip(self.id())?;
        Some(match self.provider.runtime() {
            Some(_) => base.of_llm(),
            None => base.of_mcp(id),
        })
    }

    /// Returns the name of the provider in logs and metrics, where its id may not be assigned yet: the
    /// id from the settings, or its place.
    pub(crate) fn label(&self) -> &str {
        &self.identity.label
    }

    /// Checks the caller's token and responds to one call. `below` is the part of the caller's path
    /// behind the id.
    pub(crate) async fn call(
        &self,
        mut request: CallRequest<'_>,
        below: &str,
    ) -> Result<CallResponse, CallError> {
        let mut call = CallGuard::begin(self.status.calls());
        if !self.shows_calls {
            return self.admit(request, below, call).await;
        }

        let shown = ShownCall::begin(self.status.label(), &mut request);
        call.show(shown.clone());
        // Boxed, so that the future of a call that is not shown has no room for it.
        let answer = Box::pin(self.admit(request, below, call)).await;
        match &answer {
            Ok(response) if response.head.status.is_success() => {}
            Ok(response) => shown.note_answer(response.head.status),
            Err(error) => shown.note_answer(error.cause.word()),
        }
        answer
    }

    async fn admit(
        &self,
        request: CallRequest<'_>,
        below: &str,
        mut call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        let is_openid = below == path::OPENID_BELOW && *request.method == Method::GET;
        if is_openid && self.provider.publishes_openid() {
            let document = OAuthDocument::OpenId;
            return Box::pin(self.provider.document(document, request.fields, call)).await;
        }

        self.check_token(request.fields)
            .and_then(|()| self.cover(&request))
            .inspect_err(|error| call.fail_with(error))?;
        self.provider.call(request, below, call).await
    }

    /// Responds to one call to an LLM runtime. Its callers were admitted by the server.
    pub(crate) async fn llm_call(
        &self,
        request: CallRequest<'_>,
        at_runtime: &str,
    ) -> Result<CallResponse, CallError> {
        let call = CallGuard::begin(self.status.calls());
        self.provider.llm_call(request, at_runtime, call).await
    }

    /// Responds with one of the provider's OAuth documents, which need no token.
    pub(crate) async fn document(
        &self,
        document: OAuthDocument,
        fields: &Fields,
    ) -> Result<CallResponse, CallError> {
        let call = CallGuard::begin(self.status.calls());
        self.provider.document(document, fields, call).await
    }

    /// Takes memory for a request that has not arrived whole, before more of it arrives.
    fn cover(&self, request: &CallRequest<'_>) -> Result<(), CallError> {
        if !request.body.is_arriving() {
            return Ok(());
        }
        let caller = BridgeCaller::of_tagged(request.fields);
        let account = self.memory.of_caller(caller.claims());
        let covered = request.body.cover_window(account);
        covered.map_err(BridgeCaller::out_of_memory)
    }

    /// Checks the relay's own token, `AUTH_TOKEN`, where one is configured.
    fn check_token(&self, fields: &Fields) -> Result<(), CallError> {
        let Some(token) = &self.config.auth_token else {
            return Ok(());
        };
        if token.is_presented_in(fields) {
            return Ok(());
        }
        Err(CallError::new(
            Cause::WrongToken,
            "the token of this id is missing or wrong, expected Authorization: Bearer <AUTH_TOKEN>",
        ))
    }
}

/// The factor of the share that one provider has of the memory: one greedy provider leaves a ninth.
const PROVIDER_MEMORY_FACTOR: usize = 8;

/// Returns the claim of the provider at a place on the memory that all have in common.
fn memory_claim(place: usize) -> Claim {
    Claim {
        owner: Owner::of(&("provider", place)),
        factor: PROVIDER_MEMORY_FACTOR,
    }
}
