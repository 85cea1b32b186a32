//! The event stream of one provider: what the relay offers of it, now and at every change.

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

use crate::answer_body::AnswerBody;
use crate::board::LocalOffer;
use crate::hosted::Hosted;

/// Between two lines at the least, so that a crowd of sessions does not make a crowd of lines.
const PAUSE: Duration = Duration::from_millis(100);

/// The stream, until the relay takes its leave.
pub(crate) fn stream(hosted: Arc<Hosted>, farewell: CancellationToken) -> AnswerBody {
    let mut changes = Changes {
        offers: hosted.board.offers(),
        load: hosted.provider.load().map(BridgeStats::changes),
    };
    // The first line is due at once.
    changes.offers.mark_changed();
    let lines = stream::unfold(
        (hosted, changes, farewell),
        |(hosted, mut changes, farewell)| async move {
            tokio::select! {
                // Biased towards the end: it comes once.
                biased;
                () = farewell.cancelled() => return None,
                changed = changes.next() => changed?,
            }
            let offer = Offer {
                bridge: hosted.provider.load().map(BridgeStats::snapshot),
                ..hosted.board.public_offer()
            };
            let line = Event::Offer(offer).to_line();
            Some((
                Ok(Frame::data(Bytes::from(line))),
                (hosted, changes, farewell),
            ))
        },
    );
    StreamBody::new(lines).boxed_unsync()
}

/// What an offer is made of changes.
struct Changes {
    offers: watch::Receiver<LocalOffer>,
    load: Option<watch::Receiver<()>>,
}

impl Changes {
    /// Waits for the next change; none if there can be none any more.
    async fn next(&mut self) -> Option<()> {
        match &mut self.load {
            None => self.offers.changed().await.ok()?,
            Some(load) => tokio::select! {
                changed = self.offers.changed() => changed.ok()?,
                () = after_a_pause(load) => {}
            },
        }
        self.offers.mark_unchanged();
        if let Some(load) = &mut self.load {
            load.mark_unchanged();
        }
        Some(())
    }
}

async fn after_a_pause(load: &mut watch::Receiver<()>) {
    // Its sender lives as long as the provider.
    let _ = load.changed().await;
    tokio::time::sleep(PAUSE).await;
}
