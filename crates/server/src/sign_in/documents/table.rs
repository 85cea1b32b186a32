//! What is remembered of documents: the good ones, the failures of late, and the fetches that run.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::WeakShared;
use llamapool_identity::{Client, ClientId};
use lru::LruCache;
use tokio::time::Instant;

use super::{ClientDocumentError, DocumentClient, Fetched, Flight};
use crate::fetch::Freshness;

/// The good documents that are remembered; the one that was not used for the longest time gives way.
/// Each has 5 KiB at most and its URL 1 KiB.
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
/// The failures that are remembered. They have a table of their own, so that they drive out no good
/// document.
const MAX_FAILED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
/// How long a document is remembered.
#[derive(Debug, Clone, Copy)]
pub struct DocumentLives {
    /// The shortest time that it is used without being fetched anew.
    pub min_fresh: Duration,
    /// The longest such time.
    pub max_fresh: Duration,
    /// That time, if its sender has said nothing about it.
    pub unsaid_fresh: Duration,
    /// How much longer it is used if it cannot be fetched anew.
    pub outdated: Duration,
    /// How long a failure is the answer to all who ask for the document.
    pub failed: Duration,
}

type WeakFlight = WeakShared<std::pin::Pin<Box<dyn Future<Output = Fetched> + Send>>>;

/// A document that was fetched and is one of its client.
#[derive(Debug, Clone)]
pub(super) struct KnownDocument {
    client: Arc<Client>,
    fetched_at: Instant,
    fresh_until: Instant,
}

/// What is remembered of a document.
pub(super) enum Remembered {
    Known(KnownDocument),
    Failed(Arc<ClientDocumentError>),
}

/// The table. Its sums are bounded: of documents and failures by their number, of fetches by their
/// places.
pub(super) struct Table {
    lives: DocumentLives,
    known: LruCache<ClientId, KnownDocument>,
    failed: LruCache<ClientId, (Arc<ClientDocumentError>, Instant)>,
    flights: HashMap<ClientId, WeakFlight>,
}

impl KnownDocument {
    /// Returns a document that was fetched just now.
    fn new(client: Client, freshness: Freshness, lives: &DocumentLives) -> Self {
        let fresh = match freshness {
            Freshness::For(time) => time.min(lives.max_fresh).max(lives.min_fresh),
            Freshness::No => lives.min_fresh,
            Freshness::Unsaid => lives.unsaid_fresh,
        };
        let fetched_at = Instant::now();
        Self {
            client: Arc::new(client),
            fetched_at,
            fresh_until: fetched_at + fresh,
        }
    }

    /// Returns its client.
    pub(super) fn fresh(self) -> DocumentClient {
        DocumentClient {
            client: self.client,
            outdated: None,
        }
    }
}

impl Default for DocumentLives {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            min_fresh: Duration::from_secs(60),
            max_fresh: DAY,
            unsaid_fresh: Duration::from_secs(10 * 60),
            outdated: DAY,
            failed: Duration::from_secs(30),
        }
    }
}

impl Table {
    pub(super) fn new(lives: DocumentLives) -> Self {
        Self {
            lives,
            known: LruCache::new(MAX_KNOWN),
            failed: LruCache::new(MAX_FAILED),
            flights: HashMap::new(),
        }
    }

    /// Returns what is remembered of a document, if that still holds.
    pub(super) fn remembered(&mut self, id: &ClientId, now: Instant) -> Option<Remembered> {
        let fresh = self.known.get(id).filter(|known| now < known.fresh_until);
        if let Some(known) = fresh {
            return Some(Remembered::Known(known.clone()));
        }
        let failed = self.failed.get(id);
        let failed = failed.filter(|(_, until)| now < *until);
        failed.map(|(failure, _)| Remembered::Failed(failure.clone()))
    }

    /// Returns a document that should be fetched anew, and may still be used as that failed.
    pub(super) fn outdated(&mut self, id: &ClientId, now: Instant) -> Option<DocumentClient> {
        let known = self.known.get(id)?;
        (now < known.fresh_until + self.lives.outdated).then(|| DocumentClient {
            client: known.client.clone(),
            outdated: Some(now.duration_since(known.fetched_at)),
        })
    }

    /// Returns the fetch of a document that runs.
    pub(super) fn flight(&self, id: &ClientId) -> Option<Flight> {
        self.flights.get(id)?.upgrade()
    }

    /// Notes that a fetch runs, and forgets those that all have left.
    pub(super) fn begin_flight(&mut self, id: &ClientId, flight: &Flight) {
        self.flights.retain(|_, flight| flight.upgrade().is_some());
        let weak = flight.downgrade();
        weak.map(|weak| self.flights.insert(id.clone(), weak));
    }

    /// Remembers how a fetch ended, and returns it.
    pub(super) fn end_flight(
        &mut self,
        id: &ClientId,
        outcome: Result<(Client, Freshness), ClientDocumentError>,
    ) -> Fetched {
        self.flights.remove(id);
        match outcome {
            Ok((client, freshness)) => {
                let known = KnownDocument::new(client, freshness, &self.lives);
                self.failed.pop(id);
                self.known.put(id.clone(), known.clone());
                Ok(known)
            }
            Err(failure) => {
                if failure.is_withdrawal() {
                    self.known.pop(id);
                }
                let failure = Arc::new(failure);
                let until = Instant::now() + self.lives.failed;
                self.failed.put(id.clone(), (failure.clone(), until));
                Err(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use llamapool_identity::{ClientAuthMethod, ClientOrigin, DocumentError};

    use super::*;
    use crate::fetch::{AnswerError, FetchError};

    fn id(number: usize) -> ClientId {
        let url = format!("https://{number}.example/client");
        url.parse().unwrap()
    }

    fn table() -> Table {
        Table::new(DocumentLives::default())
    }

    /// Ends the fetch of a document with a good one.
    fn succeed(table: &mut Table, id: &ClientId, freshness: Freshness) {
        let now = std::time::SystemTime::UNIX_EPOCH;
        let new = Client::known("app", Vec::new(), ClientAuthMethod::None, now);
        let client = Client {
            id: id.clone(),
            origin: ClientOrigin::Document,
            ..new.client
        };
        assert!(table.end_flight(id, Ok((client, freshness))).is_ok());
    }

    fn fail(table: &mut Table, id: &ClientId, failure: impl Into<ClientDocumentError>) {
        assert!(table.end_flight(id, Err(failure.into())).is_err());
    }

    fn slow() -> FetchError {
        FetchError::TooSlow("a.example".to_owned())
    }

    fn status(status: u16) -> FetchError {
        let status = axum::http::StatusCode::from_u16(status);
        FetchError::Answer(AnswerError::Status(status.unwrap()))
    }

    /// Returns how many seconds a document with such a freshness is used.
    fn fresh_for(freshness: Freshness) -> u64 {
        let mut table = table();
        let id = id(0);
        succeed(&mut table, &id, freshness);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let steps = (0..).step_by(30);
        let mut steps = steps.skip_while(|seconds| table.remembered(&id, at(*seconds)).is_some());
        steps.next().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_used_for_a_minute_to_a_day() {
        let said = |seconds| Freshness::For(Duration::from_secs(seconds));

        assert_eq!(fresh_for(said(0)), 60);
        assert_eq!(fresh_for(said(300)), 300);
        assert_eq!(fresh_for(said(u64::MAX)), 24 * 3600);
        assert_eq!(fresh_for(Freshness::No), 60);
        assert_eq!(fresh_for(Freshness::Unsaid), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_uses_the_document_of_before_for_a_day() {
        for outage in [slow(), status(502)] {
            let mut table = table();
            let id = id(0);
            succeed(&mut table, &id, Freshness::No);

            fail(&mut table, &id, outage);
            let hour = Duration::from_secs(3600);
            let used = table.outdated(&id, Instant::now() + hour).unwrap();

            assert_eq!(used.outdated, Some(hour));
            let day = Duration::from_secs(60 + 24 * 3600);
            assert!(table.outdated(&id, Instant::now() + day).is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_withdrawn_document_is_used_no_more() {
        for failure in [
            ClientDocumentError::from(DocumentError::OtherClient),
            status(404).into(),
            status(410).into(),
        ] {
            let mut table = table();
            let id = id(0);
            succeed(&mut table, &id, Freshness::No);

            fail(&mut table, &id, failure);

            assert!(table.outdated(&id, Instant::now()).is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_remembered_and_drive_out_no_good_document() {
        let mut table = table();
        let good = id(0);
        succeed(&mut table, &good, Freshness::Unsaid);

        for number in 1..10_000 {
            fail(&mut table, &id(number), slow());
        }

        let now = Instant::now();
        assert!(table.failed.len() <= 1000);
        let remembered = table.remembered(&good, now);
        assert!(matches!(remembered, Some(Remembered::Known(_))));
        let last = id(9999);
        let remembered = table.remembered(&last, now);
        assert!(matches!(remembered, Some(Remembered::Failed(_))));
        let later = now + Duration::from_secs(30);
        assert!(table.remembered(&last, later).is_none());
        for number in 1..10_000 {
            succeed(&mut table, &id(number), Freshness::Unsaid);
        }
        assert!(table.known.len() <= 1000);
    }
}
