//! One of the relay's providers: its id, its token, its state, and its kind.
//!
//! The connection to the server is not here, as all providers share it. An id stays the same for as
//! long as the process lives, also one that the server assigned.

use std::sync::OnceLock;

use http::{HeaderMap, Method, Request, Response};
use llamapool_bridge::BridgeCaller;
use llamapool_limits::{Claim, MemoryAccount, Owner};
use llamapool_tunnel::{IncomingBody, TunnelConfig};
use llamapool_wire::path::{self, OAuthDocument};
use llamapool_wire::{CallError, Cause, RelayId};

use super::{ProcessSettings, Provider, SharedResources};
use crate::config::ProviderConfig;
use crate::response_body::ResponseBody;
use crate::status::calls::CallGuard;
use crate::status::provider::ProviderStatus;

/// One provider that the relay makes reachable.
pub(crate) struct ProviderEntry {
    id: OnceLock<RelayId>,
    label: String,
    pub(crate) config: ProviderConfig,
    pub(crate) status: ProviderStatus,
    pub(crate) provider: Provider,
    memory: MemoryAccount,
}

impl ProviderEntry {
    /// The provider at a place among those of the relay, counted from 1.
    pub(crate) fn new(
        place: usize,
        config: ProviderConfig,
        tunnel: &TunnelConfig,
        tls: rustls::ClientConfig,
        shared: &SharedResources,
    ) -> Self {
        // No id contains this sign, so no two providers have the same label.
        let label = config
            .id
            .as_ref()
            .map_or_else(|| format!("#{place}"), RelayId::to_string);
        let status = ProviderStatus::new(label.as_str().into(), config.auth_token.is_some());
        let account = shared.memory.account_of_id(memory_claim(place));
        let settings = ProcessSettings {
            max_header_bytes: tunnel.max_header_bytes,
            tls,
            memory: &account,
            gate: &shared.gate,
        };
        Self {
            id: config.id.clone().map_or_else(OnceLock::new, OnceLock::from),
            label,
            provider: Provider::new(&config, settings, &status),
            memory: account,
            status,
            config,
        }
    }

    /// Returns the id, `None` while the server has not assigned one.
    pub(crate) fn id(&self) -> Option<&RelayId> {
        self.id.get()
    }

    /// Keeps the id that the server assigned. A provider that has an id keeps that: the dialer has
    /// checked that it is the same.
    pub(crate) fn assign_id(&self, id: RelayId) {
        self.id.get_or_init(|| id);
    }

    /// Returns the name of the provider in logs and metrics, where its id may not be assigned yet: the
    /// id from the settings, or its place.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Checks the caller's token and responds to one call. `below` is the part of the caller's path
    /// behind the id.
    pub(crate) async fn call(
        &self,
        request: Request<IncomingBody>,
        below: &str,
    ) -> Result<Response<ResponseBody>, CallError> {
        let mut call = CallGuard::begin(self.status.calls());

        let is_openid = below == path::OPENID_BELOW && request.method() == Method::GET;
        if is_openid && self.provider.publishes_openid() {
            let headers = request.headers();
            let document = self.provider.document(OAuthDocument::OpenId, headers, call);
            return Box::pin(document).await;
        }

        self.check_token(request.headers())
            .and_then(|()| self.cover(&request))
            .inspect_err(|_| call.fail())?;
        self.provider.call(request, below, call).await
    }

    /// Responds to one call to an LLM runtime. Its callers were admitted by the server.
    pub(crate) async fn llm_call(
        &self,
        request: Request<IncomingBody>,
        at_runtime: &str,
    ) -> Result<Response<ResponseBody>, CallError> {
        let call = CallGuard::begin(self.status.calls());
        self.provider.llm_call(request, at_runtime, call).await
    }

    /// Responds with one of the provider's OAuth documents, which need no token.
    pub(crate) async fn document(
        &self,
        document: OAuthDocument,
        headers: &HeaderMap,
    ) -> Result<Response<ResponseBody>, CallError> {
        let call = CallGuard::begin(self.status.calls());
        self.provider.document(document, headers, call).await
    }

    /// Takes memory for a request that has not arrived whole, before more of it arrives.
    fn cover(&self, request: &Request<IncomingBody>) -> Result<(), CallError> {
        let caller = BridgeCaller::of_tagged(request.headers());
        let account = self.memory.of_caller(caller.claims());
        let covered = request.body().cover_window(account);
        covered.map_err(BridgeCaller::out_of_memory)
    }

    /// Checks the relay's own token, `AUTH_TOKEN`, where one is configured.
    fn check_token(&self, headers: &HeaderMap) -> Result<(), CallError> {
        let Some(token) = &self.config.auth_token else {
            return Ok(());
        };
        if token.is_presented_in(headers) {
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
