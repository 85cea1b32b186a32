//! Extractors: a handler of the router names the identity that it needs as an argument, and is not
//! called without it.
//!
//! Calls do not come by the router; their identity is an argument of `McpDoor::answer`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::http::Response;
use axum::http::request::Parts;
use axum::response::IntoResponse;

use super::{AccessError, Auth, Operator};
use crate::error::{self, JsonRpc};
use crate::listen::RequestId;
use crate::metrics::{Door, Metrics};

/// The dependencies of the extractors: a router's state gives them out.
#[derive(Clone)]
pub(crate) struct AccessControl {
    /// Proves the identities.
    pub(crate) auth: Arc<Auth>,
    /// Counts the refusals.
    pub(crate) metrics: Metrics,
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
            .auth
            .operator(&parts.headers, &parts.uri)
            .map_err(|error| access.reject(error, parts))
    }
}

/// Gives `None` to a request without the API key, and rejects one of another origin.
impl<S> OptionalFromRequestParts<S> for Operator
where
    AccessControl: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        let access = AccessControl::from_ref(state);
        match access.auth.operator(&parts.headers, &parts.uri) {
            Ok(operator) => Ok(Some(operator)),
            Err(AccessError::WrongKey) => Ok(None),
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
    /// Counts and logs a refusal. Any sender can cause it, so it must not fill the log.
    fn reject(&self, error: AccessError, parts: &Parts) -> Rejection {
        let req_id = RequestId::of_routed(&parts.extensions);
        match &error {
            AccessError::WrongKey => self.metrics.refused(Door::State, "wrong_key"),
            AccessError::Origin(failure) => {
                let cause = failure.cause.word();
                let error = failure.log_message();
                self.metrics.refused(Door::State, cause);
                tracing::debug!(req_id = req_id.as_str(), cause, error, "request refused");
            }
        }
        Rejection { error, req_id }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response<Body> {
        match self.error {
            AccessError::WrongKey => error::unauthorized(),
            AccessError::Origin(failure) => {
                error::failed_call::<JsonRpc>(&failure, self.req_id.as_str())
            }
        }
    }
}
