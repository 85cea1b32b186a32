//! The admission of a request: its path, its caller, the limits of its key, and the gate of the server.
//! Nothing of its body is read, and no model is looked up.

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use llamapool_dialect::{Endpoint, LlmErrorKind, Route, route};
use llamapool_pool::KeyId;

use super::call::Begin;
use super::context::LlmDoor;
use super::error::LlmError;
use super::headers;
use crate::auth::{LlmCaller, LlmKeyError, TOO_MANY_WRONG_KEYS};
use crate::listen::{Peer, RequestId};
use crate::pool::WorkerPool;

/// A request that is admitted.
pub(super) enum Admission {
    /// The server answers it by itself, with what this key may see.
    List(Route, KeyId),
    /// It is a call to a runtime.
    Call(Box<AdmittedCall>),
}

/// A call that is admitted.
pub(super) struct AdmittedCall {
    pub(super) route: Route,
    pub(super) caller: LlmCaller,
    pub(super) begin: Begin,
}

impl LlmDoor {
    /// Admits a request, or returns why it is refused before it is a call.
    pub(super) fn admit(
        &self,
        peer: Peer,
        req_id: &RequestId,
        request: &Request,
    ) -> Result<Admission, LlmError> {
        let uri = request.uri();
        let wants_upgrade = request.headers().contains_key(header::UPGRADE);
        let route = route(request.method(), uri.path(), wants_upgrade)?;
        headers::refuse_loop(request.headers())?;
        let is_public = matches!(route.endpoint, Endpoint::Root | Endpoint::OllamaVersion);
        let caller = self.auth.llm_caller(request.headers(), peer);
        if is_public && caller.is_err() {
            // Clients probe it before they have a key, and it reveals nothing of the pool.
            return Ok(Admission::List(route, WorkerPool::OPERATOR));
        }
        let caller = caller.map_err(|error| self.refused_key(error, request.headers(), peer))?;
        let limited = self
            .auth
            .limit_llm(&caller.principal, request.headers(), peer)
            .map_err(LlmError::limited)?;
        let key = self.key_of(&caller);
        if !route.endpoint.is_forwarded() {
            return Ok(Admission::List(route, key));
        }

        let pass = self
            .gate
            .enter()
            .ok_or_else(|| LlmError::new(LlmErrorKind::ServerDraining, "the server is draining"))?;
        let begin = Begin {
            req_id: req_id.as_str().to_owned(),
            endpoint: route.endpoint,
            key,
            principal: caller.principal.clone(),
            limited,
            pass,
        };
        Ok(Admission::Call(Box::new(AdmittedCall {
            route,
            caller,
            begin,
        })))
    }

    /// Returns the failure of a request without a key that is good here.
    fn refused_key(&self, error: LlmKeyError, headers: &HeaderMap, peer: Peer) -> LlmError {
        let kind = match error {
            LlmKeyError::NotCovered(_) => LlmErrorKind::NotOffered,
            _ => LlmErrorKind::Unauthorized,
        };
        // Other errors have the right secret of a key, or no key.
        let is_wrong = error == LlmKeyError::Unknown;
        let wait = is_wrong.then(|| self.auth.count_wrong_key(headers, peer));
        match wait.flatten() {
            Some(wait) => LlmError {
                retry_after: Some(wait),
                ..LlmError::new(LlmErrorKind::RateLimited, TOO_MANY_WRONG_KEYS)
            },
            None => LlmError::new(kind, error.to_string()),
        }
    }
}
