//! The event stream of one provider: the relay's offer of it, now and at every change.

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
    };
    // The first line is due at once.
    changes.state.mark_changed();

    let lines = stream::unfold(
        (entry, changes, farewell),
        |(entry, mut changes, farewell)| async move {
            tokio::select! {
                // Biased towards the end: it comes once.
                biased;
                () = farewell.cancelled() => return None,
                changed = changes.next() => changed?,
            }
            let offer = Offer {
                bridge: entry.provider.bridge_stats().map(BridgeStats::snapshot),
                ..entry.status.offer()
            };
            let line = Bytes::from(Event::Offer(offer).to_line());
            Some((Ok(Frame::data(line)), (entry, changes, farewell)))
        },
    );
    StreamBody::new(lines).boxed_unsync()
}

/// The changes of the state of which an offer is made.
struct Changes {
    state: watch::Receiver<ProviderState>,
    load: Option<watch::Receiver<()>>,
}

impl Changes {
    /// Waits for the next change. `None` if the state cannot change any more.
    async fn next(&mut self) -> Option<()> {
        match &mut self.load {
            None => self.state.changed().await.ok()?,
            Some(load) => tokio::select! {
                changed = self.state.changed() => changed.ok()?,
                () = changed_after_pause(load) => {}
            },
        }

        self.state.mark_unchanged();
        if let Some(load) = &mut self.load {
            load.mark_unchanged();
        }
        Some(())
    }
}

async fn changed_after_pause(load: &mut watch::Receiver<()>) {
    // The sender lives as long as the provider.
    let _ = load.changed().await;
    tokio::time::sleep(PAUSE).await;
}
