//! The event stream of one id: the relay's offer of the provider behind it, now and at every change,
//! and the events of an LLM runtime. Its end is the relay's leave from the id.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use llamapool_bridge::BridgeStats;
use llamapool_wire::{Event, Offer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::providers::LlmEvents;
use crate::providers::entry::ProviderEntry;
use crate::response_body::ResponseBody;
use crate::slot::Slot;
use crate::status::provider::ProviderState;

/// Between two lines at the least, so that many sessions do not make many lines.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns the stream, which ends with `farewell`, or when the relay leaves the id.
pub(crate) fn stream(slot: Arc<Slot>, farewell: CancellationToken) -> ResponseBody {
    let mut providers = slot.subscribe();
    let entry = providers.borrow_and_update().clone();
    let changes = Changes::of(&entry);
    let is_first = true;

    let lines = stream::unfold(
        (entry, changes, providers, slot, farewell, is_first),
        |(mut entry, mut changes, mut providers, slot, farewell, is_first)| async move {
            // The first line comes in any case: the server waits for one of each id.
            let left = async {
                if is_first {
                    std::future::pending::<()>().await;
                }
                slot.left().await;
            };
            let change = tokio::select! {
                // Biased towards the end: it comes once.
                biased;
                () = farewell.cancelled() => return None,
                () = left => return None,
                // The slot, which is held here, has the sender.
                _ = providers.changed() => {
                    entry = providers.borrow_and_update().clone();
                    changes = Changes::of(&entry);
                    changes.state.mark_unchanged();
                    Change::Offer
                }
                change = changes.next() => change?,
            };
            let lines = changes.lines(change, &entry);
            let state = (entry, changes, providers, slot, farewell, false);
            Some((Ok(Frame::data(lines)), state))
        },
    );
    StreamBody::new(lines).boxed_unsync()
}

/// The changes of which the server is notified.
struct Changes {
    state: watch::Receiver<ProviderState>,
    load: Option<watch::Receiver<()>>,
    llm: Option<LlmEvents>,
}

/// The next line.
enum Change {
    /// An offer is due.
    Offer,
    /// This event.
    Event(Event),
}

impl Changes {
    /// Returns the lines about a change.
    fn lines(&mut self, change: Change, entry: &ProviderEntry) -> Bytes {
        let event = match change {
            Change::Event(event) => event,
            Change::Offer => Event::Offer(Offer {
                bridge: entry.provider.bridge_stats().map(BridgeStats::snapshot),
                llm: self.llm.as_mut().map(LlmEvents::offered),
                ..entry.status.offer()
            }),
        };
        let mut lines = event.to_line();
        if let Some(llm) = &mut self.llm {
            llm.add_reports(&mut lines);
        }
        Bytes::from(lines)
    }

    /// The changes of a provider; the first one is due at once.
    fn of(entry: &ProviderEntry) -> Self {
        let mut changes = Self {
            state: entry.status.subscribe(),
            load: entry.provider.bridge_stats().map(BridgeStats::changes),
            llm: entry.provider.runtime().cloned().map(LlmEvents::new),
        };
        changes.state.mark_changed();
        changes
    }

    /// Waits for the next change. `None` if the state cannot change any more.
    async fn next(&mut self) -> Option<Change> {
        let change = match (&mut self.load, &mut self.llm) {
            (Some(load), _) => tokio::select! {
                changed = self.state.changed() => changed.map(|()| Change::Offer).ok()?,
                () = changed_after_pause(load) => Change::Offer,
            },
            (None, Some(llm)) => tokio::select! {
                // Biased towards the offer, which is the first line.
                biased;
                changed = self.state.changed() => changed.map(|()| Change::Offer).ok()?,
                event = llm.next() => event.map_or(Change::Offer, Change::Event),
            },
            (None, None) => self.state.changed().await.map(|()| Change::Offer).ok()?,
        };

        if matches!(change, Change::Offer) {
            self.state.mark_unchanged();
            if let Some(load) = &mut self.load {
                load.mark_unchanged();
            }
        }
        Some(change)
    }
}

async fn changed_after_pause(load: &mut watch::Receiver<()>) {
    // The sender lives as long as the provider.
    let _ = load.changed().await;
    tokio::time::sleep(PAUSE).await;
}
