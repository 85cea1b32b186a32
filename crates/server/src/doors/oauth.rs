//! The endpoints of the own authorization server: `authorize`, `consent`, `token`, `register` and
//! `revoke` below `/oauth`, and the first, third and fourth at the root as well, where clients look
//! that have lost the metadata.
//!
//! A handler reads its parameters, asks the crate `identity`, and makes the answer. Nothing is stored
//! before a person has allowed a client: the request travels sealed in the form of the page.

mod asking;
mod authorize;
mod consent;
mod documents;
mod intake;
mod pages;
mod parameters;
mod register;
mod registration_rate;
mod revoke;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use llamapool_identity::{Client, ClientId};
use llamapool_limits::MemoryBudget;
use parking_lot::Mutex;

use crate::auth::Auth;
use crate::identity::{Identity, StoreWriter};
use crate::metrics::{Door, Metrics};
use crate::sign_in::SignIn;

pub(crate) use documents::{resource, server};
pub(crate) use registration_rate::RegistrationRate;

/// The path of the form of the consent page.
const CONSENT: &str = "/oauth/consent";

/// The context of the endpoints.
pub(crate) struct OAuthDoor {
    pub(crate) auth: Arc<Auth>,
    pub(crate) identity: Identity,
    /// Writes clients and grants.
    pub(crate) writer: StoreWriter,
    pub(crate) sign_in: Arc<SignIn>,
    pub(crate) memory: MemoryBudget,
    pub(crate) metrics: Metrics,
    /// The registrations of the present hour.
    pub(crate) registrations: Mutex<RegistrationRate>,
}

/// Returns the routes of the endpoints.
pub(crate) fn routes(door: Arc<OAuthDoor>) -> Router {
    Router::new()
        .route("/oauth/authorize", any(authorize::authorize))
        .route("/authorize", any(authorize::authorize))
        .route(CONSENT, any(consent::consent))
        .route("/oauth/token", any(token::token))
        .route("/token", any(token::token))
        .route("/oauth/register", any(register::register))
        .route("/register", any(register::register))
        .route("/oauth/revoke", any(revoke::revoke))
        .with_state(door)
}

impl OAuthDoor {
    /// Returns a client that may sign in. One with a document is here since its first grant.
    fn client(&self, id: &ClientId) -> Option<Arc<Client>> {
        let published = self.identity.published();
        let client = published.snapshot.client(id).cloned();
        client.filter(|client| self.sign_in.admits(client.origin))
    }

    /// Counts and logs a request that was refused. Any sender can cause it, so it must not fill the log.
    fn refused(&self, reason: &'static str, req_id: &str, error: &dyn std::fmt::Display) {
        self.metrics.refused(Door::SignIn, reason);
        tracing::debug!(req_id, reason, %error, "sign-in refused");
    }
}
