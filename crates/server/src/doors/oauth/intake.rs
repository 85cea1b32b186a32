//! The way of a request to an endpoint that programs use: any page may call it, with POST, and with a
//! small body.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use llamapool_identity::{OAuthCode, OAuthError};
use llamapool_limits::{Claim, MemoryAccount, Owner};

use super::OAuthDoor;
use super::parameters::body_of;
use crate::auth::Caller;
use crate::error;
use crate::listen::{Peer, RequestId};

/// The time for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const FORM: &str = "application/x-www-form-urlencoded";

/// A request with its body.
pub(super) struct ApiRequest {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) req_id: RequestId,
    /// Where it comes from.
    pub(super) caller: Caller,
}

impl OAuthDoor {
    /// Reads a request of a program.
    ///
    /// # Errors
    ///
    /// With the answer, if it is a preflight, or another method than POST, addresses another host, or
    /// has a body that is too large or too slow.
    pub(super) async fn api_request(
        &self,
        request: Request,
        max_bytes: usize,
    ) -> Result<ApiRequest, Box<Response<Body>>> {
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => return Err(Box::new(preflight(request.headers()))),
            _ => return Err(Box::new(error::only_post())),
        }
        let read = self.with_body(request, max_bytes).await;
        read.map_err(|failure| Box::new(error::failed_oauth(&failure)))
    }

    /// Reads the body of a request, within its bounds.
    pub(super) async fn with_body(
        &self,
        request: Request,
        max_bytes: usize,
    ) -> Result<ApiRequest, OAuthError> {
        let invalid = |text: String| OAuthError::new(OAuthCode::InvalidRequest, text);
        let req_id = RequestId::of_routed(request.extensions());
        let peer = Peer::of(request.extensions());
        let (head, body) = request.into_parts();
        let caller = self.auth.public_reader(&head.headers, &head.uri, peer);
        let caller = caller.map_err(|failure| {
            self.refused(failure.cause.word(), req_id.as_str(), &failure.message);
            invalid(failure.message)
        })?;

        let memory = self.account(&caller);
        let body = tokio::time::timeout(BODY_TIMEOUT, body_of(body, max_bytes, &memory));
        let body = body.await;
        let body =
            body.map_err(|_| invalid(format!("the body took more than {BODY_TIMEOUT:?}")))??;
        Ok(ApiRequest {
            headers: head.headers,
            body,
            req_id,
            caller,
        })
    }

    fn account(&self, caller: &Caller) -> MemoryAccount {
        let server = Claim {
            owner: Owner::of(&"sign-in"),
            factor: usize::MAX,
        };
        let [caller, address] = caller.owners.claims();
        self.memory.account([caller, address, server])
    }
}

impl ApiRequest {
    /// Checks that the body is a form.
    pub(super) fn check_form(&self) -> Result<(), OAuthError> {
        let sent = self.headers.get(header::CONTENT_TYPE);
        let media_type = sent.and_then(|sent| sent.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default();
        if essence.trim().eq_ignore_ascii_case(FORM) {
            return Ok(());
        }
        let message = format!("expected Content-Type: {FORM}");
        Err(OAuthError::new(OAuthCode::InvalidRequest, message))
    }

    /// Returns the only value of `Authorization`.
    pub(super) fn authorization(&self) -> Result<Option<&str>, OAuthError> {
        let mut values = self.headers.get_all(header::AUTHORIZATION).into_iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let value = value.to_str().ok().filter(|_| values.next().is_none());
        let invalid = || {
            let message = "expected one Authorization header";
            OAuthError::new(OAuthCode::InvalidClient, message)
        };
        value.map(Some).ok_or_else(invalid)
    }
}

/// Lets every page read an answer. There are no cookies, so a page learns what its program would.
pub(super) fn exposed(mut answer: Response<Body>) -> Response<Body> {
    let headers = answer.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("WWW-Authenticate, Retry-After, X-Request-Id"),
    );
    answer
}

fn preflight(headers: &HeaderMap) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;

    let allowed = answer.headers_mut();
    allowed.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, OPTIONS"),
    );
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    answer
}
