//! The revocation endpoint (RFC 7009): an access token and a refresh token end their grant. The
//! answer is the same for a token that is not known.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use llamapool_identity::{ClientCredentials, EndReason, OAuthError};
use serde_json::json;

use super::OAuthDoor;
use super::intake::{ApiRequest, exposed};
use super::parameters::{MAX_FORM_BYTES, Parameters};
use super::token::not_written;
use crate::error;

/// Any request to the revocation endpoint.
pub(super) async fn revoke(State(door): State<Arc<OAuthDoor>>, request: Request) -> Response<Body> {
    let answer = match door.api_request(request, MAX_FORM_BYTES).await {
        Ok(request) => match door.revoked(&request).await {
            Ok(()) => error::oauth_answer(StatusCode::OK, &json!({})),
            Err(failure) => {
                door.refused(failure.code.word(), request.req_id.as_str(), &failure);
                error::failed_oauth(&failure)
            }
        },
        Err(answer) => *answer,
    };
    exposed(answer)
}

impl OAuthDoor {
    async fn revoked(&self, request: &ApiRequest) -> Result<(), OAuthError> {
        request.check_form()?;
        let form = Parameters::parse(&request.body)?;
        let text = |name| form.one(name).map(|value| value.map(str::to_owned));
        let credentials = ClientCredentials::of_form(text("client_id")?, text("client_secret")?);
        let client = self.authenticated(credentials, request)?;

        let token = form.needed("token")?;
        let Some(grant) = self.sign_in.seal.grant_of(token) else {
            return Ok(());
        };
        // That of another client is not known to this one (RFC 7009, 2.1).
        let published = self.identity.published();
        let is_own = published
            .snapshot
            .grant(&grant)
            .is_some_and(|grant| grant.client == client.id);
        if is_own {
            let now = self.identity.now();
            let why = EndReason::Revoked;
            let revoked = self
                .writer
                .write(move |store| store.end_grant(&grant, why, now));
            let revoked = revoked.await.and_then(|revoked| Ok(revoked?));
            revoked.map_err(|error| not_written(&error))?;
        }
        Ok(())
    }
}
