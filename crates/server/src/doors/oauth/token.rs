//! The token endpoint: a code or a refresh token becomes an access token and the next refresh token.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use llamapool_identity::{
    Client, ClientCredentials, GrantStepError, IssuedTokens, MAX_TOKEN_REQUEST_BYTES, OAuthCode,
    OAuthError, TokenRequest, TokenStep,
};
use serde_json::json;

use super::OAuthDoor;
use super::intake::{ApiRequest, exposed};
use crate::error;
use crate::identity::WriteError;

/// Any request to the token endpoint.
pub(super) async fn token(State(door): State<Arc<OAuthDoor>>, request: Request) -> Response<Body> {
    let answer = match door.api_request(request, MAX_TOKEN_REQUEST_BYTES).await {
        Ok(request) => match door.tokens(&request).await {
            Ok(tokens) => answer(&tokens),
            Err(failure) => {
                door.refused(failure.code.word(), request.req_id.as_str(), &failure);
                refusal(&failure, &request)
            }
        },
        Err(answer) => *answer,
    };
    exposed(answer)
}

impl OAuthDoor {
    async fn tokens(&self, request: &ApiRequest) -> Result<IssuedTokens, OAuthError> {
        request.check_form()?;
        let asked = TokenRequest::parse(&request.body, self.sign_in.issuer.resources())?;
        let client = self.authenticated(asked.credentials.clone(), request)?;
        let step = asked.open(&client.id, &self.sign_in.seal)?;

        let now = self.identity.now();
        let published = self.identity.published();
        published.snapshot.check_step(&step, now)?;
        let reuse = self.sign_in.config.refresh_reuse;
        let granted = self.writer.write(move |store| match step {
            TokenStep::Redeem(redemption) => store.redeem_code(&redemption, now),
            TokenStep::Refresh(refresh) => store.refresh_grant(&refresh, reuse, now),
        });
        let granted = granted.await.map_err(|error| not_written(&error))?;
        let granted = granted.map_err(|error| match error {
            GrantStepError::Refused(error) => error.into(),
            GrantStepError::Store(error) => not_written(&error.into()),
        })?;
        let tokens = self
            .sign_in
            .seal
            .issue(&granted, self.sign_in.config.access_ttl, now);
        tokens.ok_or_else(|| OAuthError::new(OAuthCode::ServerError, "the tokens cannot be sealed"))
    }

    /// Returns the client that a request proves to be of. One that is not known gets `invalid_client`,
    /// which makes clients register again.
    pub(super) fn authenticated(
        &self,
        credentials: ClientCredentials,
        request: &ApiRequest,
    ) -> Result<Arc<Client>, OAuthError> {
        let invalid = |text: String| OAuthError::new(OAuthCode::InvalidClient, text);
        let credentials = match request.authorization()? {
            Some(header) => credentials.with_basic(header)?,
            None => credentials,
        };
        let id = credentials.client_id()?;
        let client = self.client(&id);
        let client = client.ok_or_else(|| invalid(format!("the client {id} is not known")))?;
        let authenticated = client.authenticate(&credentials);
        authenticated.map_err(|error| invalid(error.to_string()))?;
        Ok(client)
    }
}

/// Logs that the store could not be written. Returns the error for the client.
pub(super) fn not_written(error: &WriteError) -> OAuthError {
    tracing::error!(%error, "a client or a grant was not stored");
    let message = "the server cannot store it now";
    OAuthError::new(OAuthCode::TemporarilyUnavailable, message)
}

/// Returns the answer with tokens (RFC 6749, 5.1).
fn answer(tokens: &IssuedTokens) -> Response<Body> {
    let body = json!({
        "access_token": tokens.access.expose(),
        "token_type": "Bearer",
        "expires_in": tokens.expires_in.as_secs(),
        "refresh_token": tokens.refresh.expose(),
        "scope": tokens.scope.word(),
    });
    error::oauth_answer(StatusCode::OK, &body)
}

/// Returns the answer to a refused request, with a challenge if the client used `Authorization` (RFC
/// 6749, 5.2).
fn refusal(failure: &OAuthError, request: &ApiRequest) -> Response<Body> {
    let mut answer = error::failed_oauth(failure);
    let used_header = request.headers.contains_key(header::AUTHORIZATION);
    if failure.code == OAuthCode::InvalidClient && used_header {
        let challenge = HeaderValue::from_static("Basic realm=\"token endpoint\"");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    answer
}
