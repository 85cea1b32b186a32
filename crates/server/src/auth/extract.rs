//! Extractors: a handler of the router names the identity that it needs as an argument, and is not
//! called without it.
//!
//! Calls do not come by the router; their identity is an argument of `McpDoor::answer`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{Response, header};
use axum::response::IntoResponse;

use llamapool_identity::AdminRight;
use llamapool_wire::Cause;

use super::{AccessError, Auth, Operator};
use crate::error::{self, JsonRpc};
use crate::listen::{Peer, RequestId};
use crate::metrics::{Door, Metrics};

/// The dependencies of the extractors: a router's state gives them out.
#[derive(Clone)]
pub(crate) struct AccessControl {
    /// Proves the identities.
    pub(crate) auth: Arc<Auth>,
    /// Counts the refusals.
    pub(crate) metrics: Metrics,
    /// What an admin key must be allowed to do.
    pub(crate) right: AdminRight,
}

/// A health probe, under any name of the server; but from no page of another origin.
pub(crate) struct Prober;

/// The answer to a request without the identity that its handler needs.
pub(crate) struct Rejection {
    error: AccessError,
    req_id: RequestId,
}

impl<S> FromRequestParts<S> for Operator
where
    AccessControl: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let access = AccessControl::from_ref(state);
        access
            .operator(parts)
            .map_err(|error| access.reject(access.counted(error, parts), parts))
    }
}

/// Gives `None` to a request without a key that opens the route, and rejects one of another origin.
impl<S> OptionalFromRequestParts<S> for Operator
where
    AccessControl: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        let access = AccessControl::from_ref(state);
        match access.operator(parts) {
            Ok(operator) => Ok(Some(operator)),
            Err(AccessError::WrongKey | AccessError::NoAdminKey | AccessError::NotAllowed) => {
                Ok(None)
            }
            Err(error) => Err(access.reject(error, parts)),
        }
    }
}

impl<S> FromRequestParts<S> for Prober
where
    AccessControl: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let access = AccessControl::from_ref(state);
        access
            .auth
            .prober(&parts.headers)
            .map_err(|error| access.reject(AccessError::Origin(error), parts))
    }
}

impl AccessControl {
    fn operator(&self, parts: &Parts) -> Result<Operator, AccessError> {
        let peer = Peer::of(&parts.extensions);
        self.auth
            .operator(&parts.headers, &parts.uri, peer, self.right)
    }

    /// Counts a wrong key for the address that it came from.
    fn counted(&self, error: AccessError, parts: &Parts) -> AccessError {
        let is_wrong = matches!(error, AccessError::WrongKey)
            && parts.headers.contains_key(header::AUTHORIZATION);
        if !is_wrong {
            return error;
        }
        let peer = Peer::of(&parts.extensions);
        let wait = self.auth.count_wrong_key(&parts.headers, peer);
        wait.map_or(error, AccessError::TooManyWrongKeys)
    }

    /// Counts and logs a refusal. Any sender can cause it, so it must not fill the log.
    fn reject(&self, error: AccessError, parts: &Parts) -> Rejection {
        let req_id = RequestId::of_routed(&parts.extensions);
        self.metrics.refused(Door::State, error.word());
        if let AccessError::Origin(failure) = &error {
            let cause = failure.cause.word();
            let error = failure.log_message();
            tracing::debug!(req_id = req_id.as_str(), cause, error, "request refused");
        }
        Rejection { error, req_id }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response<Body> {
        self.error.into_response(self.req_id.as_str())
    }
}

impl AccessError {
    /// Returns the word for it, for programs and metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Origin(failure) => failure.cause.word(),
            Self::WrongKey | Self::NoAdminKey => "wrong_key",
            Self::NotAllowed | Self::Page => Cause::NotAllowed.word(),
            Self::TooManyWrongKeys(_) => Cause::RateLimited.word(),
        }
    }

    /// Returns the answer.
    pub(crate) fn into_response(self, req_id: &str) -> Response<Body> {
        match self {
            Self::Origin(failure) => error::failed_call::<JsonRpc>(&failure, req_id),
            Self::WrongKey | Self::NoAdminKey => error::unauthorized(),
            Self::NotAllowed | Self::Page => error::not_allowed(),
            Self::TooManyWrongKeys(wait) => error::too_many_wrong_keys(wait),
        }
    }
}
