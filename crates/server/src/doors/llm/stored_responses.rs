//! The workers of responses that runtimes keep, and of their conversations, so that later calls about
//! one go to its worker.
//!
//! The ids stay as the runtimes made them: clients compare them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use llamapool_pool::KeyId;
use llamapool_wire::RelayId;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::pool::PoolWorker;

/// How long a response is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// The longest id of a response that is remembered, in bytes.
const MAX_ID_BYTES: usize = 256;

/// The workers of the responses that were made last.
///
/// Clones are the same.
#[derive(Clone)]
pub(crate) struct StoredResponses(Arc<Mutex<LruCache<String, Stored>>>);

/// The caller of a call whose response may be stored.
#[derive(Clone)]
pub(super) struct ResponseOwner {
    pub(super) responses: StoredResponses,
    pub(super) key: KeyId,
    /// Whether the request lets the runtime keep the response.
    pub(super) stores: bool,
}

struct Stored {
    worker: RelayId,
    /// The key of its caller: it is nothing to others.
    key: KeyId,
    since: Instant,
}

impl StoredResponses {
    /// Returns a memory of at most so many responses.
    pub(crate) fn new(most: usize) -> Self {
        let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        let mut responses = LruCache::unbounded();
        responses.resize(most);
        Self(Arc::new(Mutex::new(responses)))
    }

    /// Remembers the worker of a response.
    pub(super) fn remember(&self, id: &str, key: KeyId, worker: &RelayId) {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return;
        }
        let stored = Stored {
            worker: worker.clone(),
            key,
            since: Instant::now(),
        };
        self.0.lock().put(id.to_owned(), stored);
    }

    /// Returns the id of the worker of a response. `None` if it is not remembered, or is another key's.
    pub(super) fn worker(&self, id: &str, key: KeyId) -> Option<RelayId> {
        let mut responses = self.0.lock();
        let stored = responses.get(id)?;
        if stored.since.elapsed() >= REMEMBERED_FOR {
            responses.pop(id);
            return None;
        }
        (stored.key == key).then(|| stored.worker.clone())
    }
}

impl ResponseOwner {
    /// Remembers the worker of a response, if the runtime there keeps it.
    pub(super) fn remember(&self, id: &str, worker: &PoolWorker) {
        if self.stores && worker.keeps_responses() {
            let worker = &worker.member.id;
            self.responses.remember(id, self.key, worker);
        }
    }

    /// Remembers the worker of a whole answer that is a response.
    pub(super) fn remember_answer(&self, answer: &[u8], worker: &PoolWorker) {
        #[derive(serde::Deserialize)]
        struct Response {
            id: String,
            #[serde(default)]
            conversation: Option<serde_json::Value>,
        }
        if !self.stores {
            return;
        }
        if let Ok(response) = serde_json::from_slice::<Response>(answer) {
            self.remember(&response.id, worker);
            let conversation = response.conversation.unwrap_or_default();
            let id = conversation.get("id").unwrap_or(&conversation);
            if let Some(id) = id.as_str() {
                self.remember(id, worker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId(1);

    fn worker(name: &str) -> RelayId {
        name.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_known_to_its_key_for_an_hour() {
        let responses = StoredResponses::new(10);
        responses.remember("resp_1", KEY, &worker("alpha"));

        assert_eq!(responses.worker("resp_1", KEY), Some(worker("alpha")));
        assert_eq!(responses.worker("resp_1", KeyId(2)), None);
        assert_eq!(responses.worker("resp_2", KEY), None);

        tokio::time::advance(REMEMBERED_FOR).await;

        assert_eq!(responses.worker("resp_1", KEY), None);
    }

    #[tokio::test]
    async fn the_oldest_responses_are_forgotten() {
        let responses = StoredResponses::new(2);

        for id in ["a", "b", "c"] {
            responses.remember(id, KEY, &worker("alpha"));
        }

        assert_eq!(responses.worker("a", KEY), None);
        assert!(responses.worker("b", KEY).is_some());
        assert!(responses.worker("c", KEY).is_some());
    }
}
