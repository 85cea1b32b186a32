//! The client that a person is asked about: known here, or by the document that its id names.

use std::sync::Arc;
use std::time::Duration;

use llamapool_identity::{Client, ClientId, ClientOrigin, PageError};
use llamapool_limits::Owner;

use super::OAuthDoor;
use crate::sign_in::ClientDocumentError;

/// A client that asks a person.
pub(super) struct AskingClient {
    pub(super) client: Arc<Client>,
    /// How old its document is, if it should have been fetched anew and that failed.
    pub(super) outdated: Option<Duration>,
}

/// The reasons why a client cannot ask.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskingError {
    /// There is no such client.
    #[error(transparent)]
    Unknown(#[from] PageError),
    /// Its document cannot be used.
    #[error("{id}: {failure}")]
    Document {
        id: ClientId,
        failure: Arc<ClientDocumentError>,
    },
}

impl OAuthDoor {
    /// Returns a client that may ask a person. One with a document gets it fetched, unless it is
    /// remembered.
    pub(super) async fn asking_client(
        &self,
        id: &ClientId,
        caller: Owner,
    ) -> Result<AskingClient, AskingError> {
        let stored = self.client(id);
        let asks_as_stored = |client: &Arc<Client>| {
            client.origin != ClientOrigin::Document || client.blocked_at.is_some()
        };
        if let Some(client) = stored.filter(asks_as_stored) {
            return Ok(AskingClient {
                client,
                outdated: None,
            });
        }
        let Some(documents) = self.sign_in.documents.as_ref().filter(|_| id.is_document()) else {
            return Err(PageError::UnknownClient(id.clone()).into());
        };

        let found = documents.find(id, caller, self.identity.now()).await;
        let found = found.map_err(|failure| AskingError::Document {
            id: id.clone(),
            failure,
        })?;
        Ok(AskingClient {
            client: found.client,
            outdated: found.outdated,
        })
    }
}
