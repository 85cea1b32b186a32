//! The event stream of one provider: the relay's offer of it, now and at every change, and the events
//! of an LLM runtime.

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
use crate::status::provider::ProviderState;

/// Between two lines at the least, so that many sessions do not make many lines.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns the stream, which ends with `farewell`.
pub(crate) fn stream(entry: Arc<ProviderEntry>, farewell: CancellationToken) -> ResponseBody {
    let mut changes = Changes {
        state: entry.status.subscribe(),
        load: entry.provider.bridge_stats().map(BridgeStats::changes),
        llm: entry.provider.runtime().cloned().map(LlmEvents::new),
    };
    // The first line is due at once.
    changes.state.mark_changed();

    let lines = stream::unfold(
        (entry, changes, farewell),
        |(entry, mut changes, farewell)| async move {
            let change = tokio::select! {
                // Biased towards the end: it comes once.
                biased;
                () = farewell.cancelled() => return None,
                change = changes.next() => change?,
            };
            let event = match change {
                Change::Event(event) => event,
                Change::Offer => Event::Offer(Offer {
                    bridge: entry.provider.bridge_stats().map(BridgeStats::snapshot),
                    llm: changes.llm.as_mut().map(LlmEvents::offered),
                    ..entry.status.offer()
                }),
            };
            let mut lines = event.to_line();
            if let Some(llm) = &mut changes.llm {
                llm.add_reports(&mut lines);
            }
            let lines = Bytes::from(lines);
            Some((Ok(Frame::data(lines)), (entry, changes, farewell)))
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
