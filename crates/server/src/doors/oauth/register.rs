//! The registration endpoint (RFC 7591): a client says what it is called and where answers to it go.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use llamapool_identity::{
    ClientOrigin, MAX_REGISTRATION_BYTES, NewClient, OAuthCode, OAuthError, Registration,
};
use tokio::time::Instant;

use super::OAuthDoor;
use super::intake::{ApiRequest, exposed};
use super::token::not_written;
use crate::error;

/// Any request to the registration endpoint.
pub(super) async fn register(
    State(door): State<Arc<OAuthDoor>>,
    request: Request,
) -> Response<Body> {
    let answer = match door.api_request(request, MAX_REGISTRATION_BYTES).await {
        Ok(request) => match door.registered(&request).await {
            Ok(new) => error::oauth_answer(StatusCode::CREATED, &new.to_json()),
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
    async fn registered(&self, request: &ApiRequest) -> Result<NewClient, OAuthError> {
        if !self.sign_in.admits(ClientOrigin::Registered) {
            let message = "clients cannot register here; the operator adds them";
            return Err(OAuthError::new(OAuthCode::AccessDenied, message));
        }
        let registration = Registration::parse(&request.body, &self.sign_in.config.redirects)?;
        let [_, address] = request.caller.owners.claims();
        self.registrations
            .lock()
            .count(address.owner, Instant::now())?;

        let now = self.identity.now();
        let new = registration.into_client(now);
        let client = new.client.clone();
        let stored = self
            .writer
            .write(move |store| store.add_client(&client, now));
        let stored = stored.await.and_then(|stored| Ok(stored?));
        stored.map_err(|error| not_written(&error))?;
        tracing::debug!(client = %new.client.id, name = new.client.name, "client registered");
        Ok(new)
    }
}
