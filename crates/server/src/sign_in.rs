//! Sign-in: the configuration of the own authorization server, and what it is made of.
//!
//! Its endpoints are in `doors/oauth`; what a grant is and who may have one is decided in the crate
//! `identity`.

mod documents;
mod issuer;

use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use llamapool_identity::{ClientOrigin, RedirectPolicy, ReusePolicy, TokenSeal};
use llamapool_wire::Secret;

use crate::fetch::{FetchNetwork, Internet};

pub use documents::DocumentLives;
pub(crate) use documents::{ClientDocumentError, ClientDocuments};
pub(crate) use issuer::Issuer;
pub use issuer::IssuerError;

/// The own authorization server.
#[derive(Debug, Clone)]
pub struct SignInConfig {
    /// The life of an access token.
    pub access_ttl: Duration,
    /// What is done with a refresh token that was replaced long ago.
    pub refresh_reuse: ReusePolicy,
    /// The clients that may sign in.
    pub clients: Vec<ClientOrigin>,
    /// Where the answer to a sign-in may go.
    pub redirects: RedirectPolicy,
    /// The network by which documents of clients are fetched.
    pub network: Arc<dyn FetchNetwork>,
    /// How long documents of clients are remembered.
    pub documents: DocumentLives,
}

/// The parts of the authorization server that callers, documents and endpoints share.
pub(crate) struct SignIn {
    pub(crate) config: SignInConfig,
    pub(crate) issuer: Issuer,
    /// Makes and opens codes, tokens and the requests in forms.
    pub(crate) seal: TokenSeal,
    /// The clients that are documents; `None`: they cannot sign in.
    pub(crate) documents: Option<ClientDocuments>,
}

/// The reasons why there is no authorization server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// Its URL cannot be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// Documents of clients cannot be fetched.
    #[error("documents of clients cannot be fetched: {0}")]
    Tls(#[from] rustls::Error),
}

/// Checks that a public URL can be that of an authorization server.
///
/// # Errors
///
/// If it is missing, or has no TLS and is not on loopback.
pub fn check_public_url(public_url: Option<&Uri>) -> Result<(), IssuerError> {
    Issuer::new(public_url).map(drop)
}

impl SignIn {
    /// Returns the authorization server of a public URL.
    pub(crate) fn new(
        config: SignInConfig,
        public_url: Option<&Uri>,
        key: &Secret,
    ) -> Result<Self, SignInError> {
        let issuer = Issuer::new(public_url)?;
        let seal = TokenSeal::new(key, &issuer.identifier());
        let documents = if config.clients.contains(&ClientOrigin::Document) {
            Some(ClientDocuments::new(&config)?)
        } else {
            None
        };
        Ok(Self {
            config,
            issuer,
            seal,
            documents,
        })
    }

    /// Returns whether clients of an origin may sign in.
    pub(crate) fn admits(&self, origin: ClientOrigin) -> bool {
        self.config.clients.contains(&origin)
    }
}

impl SignInConfig {
    /// The default of [`SignInConfig::access_ttl`]. Some clients do not refresh while a conversation
    /// runs; what a short life buys elsewhere, a revocation does here at once.
    pub const ACCESS_TTL: Duration = Duration::from_secs(8 * 60 * 60);
    /// The longest [`SignInConfig::access_ttl`].
    pub const MAX_ACCESS_TTL: Duration = Duration::from_secs(24 * 60 * 60);
}

impl Default for SignInConfig {
    fn default() -> Self {
        Self {
            access_ttl: Self::ACCESS_TTL,
            refresh_reuse: ReusePolicy::default(),
            clients: vec![
                ClientOrigin::Document,
                ClientOrigin::Registered,
                ClientOrigin::Known,
            ],
            redirects: RedirectPolicy::default(),
            network: Arc::new(Internet::default()),
            documents: DocumentLives::default(),
        }
    }
}
