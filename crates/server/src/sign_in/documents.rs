//! Clients that are documents: each is fetched when a person is to be asked for it, and remembered
//! within bounds.
//!
//! Nothing is fetched at the endpoints of tokens: a grant keeps its client, so that what was allowed
//! does not end with an outage of the client's web site.

mod table;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use futures_util::FutureExt;
use futures_util::future::Shared;
use llamapool_identity::{Client, ClientId, DocumentError, RedirectPolicy, client_of_document};
use llamapool_limits::Owner;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::fetch::{
    AnswerError, FetchError, FetchLimitError, FetchPlace, FetchPlaces, FetchTarget, GuardedFetch,
    TargetError,
};
use crate::sign_in::SignInConfig;
use table::{KnownDocument, Remembered, Table};

pub use table::DocumentLives;

/// The clients that are documents.
pub(crate) struct ClientDocuments {
    fetch: Arc<GuardedFetch>,
    places: FetchPlaces,
    /// Where a client may send people.
    redirects: RedirectPolicy,
    table: Arc<Mutex<Table>>,
}

/// A client whose document is known.
#[derive(Debug, Clone)]
pub(crate) struct DocumentClient {
    pub(crate) client: Arc<Client>,
    /// How long ago the document was fetched, if it should have been fetched anew and that failed.
    pub(crate) outdated: Option<Duration>,
}

/// The reasons why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientDocumentError {
    /// Its URL is not fetched, wherever it leads.
    #[error("the URL of the document is not fetched: {0}")]
    Target(#[from] TargetError),
    /// There are too many fetches.
    #[error(transparent)]
    Limit(#[from] FetchLimitError),
    /// It was not got.
    #[error("the document was not fetched: {0}")]
    Fetch(#[from] FetchError),
    /// It is not one of the client.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// A fetch that those wait for who need the same document.
type Flight = Shared<Pin<Box<dyn Future<Output = Fetched> + Send>>>;
type Fetched = Result<KnownDocument, Arc<ClientDocumentError>>;

impl ClientDocumentError {
    /// Returns the text for the page, which any visitor can open: nothing of what this server can see of
    /// its network.
    pub(crate) fn for_person(&self) -> String {
        match self {
            Self::Fetch(FetchError::Answer(error)) => error.to_string(),
            Self::Fetch(_) => "it cannot be reached on the public internet".to_owned(),
            Self::Target(error) => error.to_string(),
            Self::Limit(error) => error.to_string(),
            Self::Document(error) => error.to_string(),
        }
    }

    /// Returns whether the client itself has taken the document back or replaced it, so that what it
    /// published before holds no more.
    fn is_withdrawal(&self) -> bool {
        match self {
            Self::Document(_) => true,
            Self::Fetch(FetchError::Answer(AnswerError::Status(status))) => {
                matches!(*status, StatusCode::NOT_FOUND | StatusCode::GONE)
            }
            _ => false,
        }
    }
}

impl ClientDocuments {
    /// Returns the documents of the network; none is known.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub(crate) fn new(config: &SignInConfig) -> Result<Self, rustls::Error> {
        Ok(Self {
            fetch: Arc::new(GuardedFetch::new(config.network.clone())?),
            places: FetchPlaces::new(),
            redirects: config.redirects.clone(),
            table: Arc::new(Mutex::new(Table::new(config.documents))),
        })
    }

    /// Finds the client of a document for a caller.
    ///
    /// # Errors
    ///
    /// If its document cannot be used, and none of before may be used in its place.
    pub(crate) async fn find(
        &self,
        id: &ClientId,
        caller: Owner,
        now: SystemTime,
    ) -> Result<DocumentClient, Arc<ClientDocumentError>> {
        let outcome = match self.begin(id, caller, now) {
            Begun::Known(client) => return Ok(client),
            Begun::Failed(failure) => Err(failure),
            Begun::Flight(flight) => flight.await,
        };
        outcome.map(KnownDocument::fresh).or_else(|failure| {
            let outdated = self.table.lock().outdated(id, Instant::now());
            outdated.ok_or(failure)
        })
    }

    /// Looks at what is remembered, and joins or begins the fetch.
    fn begin(&self, id: &ClientId, caller: Owner, now: SystemTime) -> Begun {
        let mut table = self.table.lock();
        match table.remembered(id, Instant::now()) {
            Some(Remembered::Known(known)) => return Begun::Known(known.fresh()),
            Some(Remembered::Failed(failure)) => return Begun::Failed(failure),
            None => {}
        }
        if let Some(flight) = table.flight(id) {
            return Begun::Flight(flight);
        }

        let place = FetchTarget::parse(id.as_str())
            .map_err(ClientDocumentError::from)
            .and_then(|target| {
                let place = self.places.take(target.host(), caller)?;
                Ok((target, place))
            });
        match place {
            // Neither is remembered: the one costs nothing to find again, the other passes.
            Err(failure) => Begun::Failed(Arc::new(failure)),
            Ok((target, place)) => {
                let flight = self.flight(id.clone(), target, place, now);
                table.begin_flight(id, &flight);
                Begun::Flight(flight)
            }
        }
    }

    /// Returns the fetch of a document, which remembers its outcome. It moves only while a caller waits
    /// for it, and is over with the last of them.
    fn flight(
        &self,
        id: ClientId,
        target: FetchTarget,
        place: FetchPlace,
        now: SystemTime,
    ) -> Flight {
        let fetch = self.fetch.clone();
        let table = self.table.clone();
        let redirects = self.redirects.clone();
        let work = async move {
            let got = fetch.get(&target, place).await;
            let known = got.map_err(ClientDocumentError::from).and_then(|document| {
                let client = client_of_document(&id, &document.body, &redirects, now)?;
                Ok((client, document.freshness))
            });
            table.lock().end_flight(&id, known)
        };
        let work: Pin<Box<dyn Future<Output = Fetched> + Send>> = Box::pin(work);
        work.shared()
    }
}

/// How a search begins.
enum Begun {
    Known(DocumentClient),
    Failed(Arc<ClientDocumentError>),
    Flight(Flight),
}
