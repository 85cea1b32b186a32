//! The event stream of one provider: what the relay offers of it, now and at every change.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use llamapool_wire::Event;
use tokio_util::sync::CancellationToken;

use crate::answer_body::AnswerBody;
use crate::hosted::Hosted;

/// The stream, until the relay takes its leave.
pub(crate) fn stream(hosted: Arc<Hosted>, farewell: CancellationToken) -> AnswerBody {
    let mut changes = hosted.board.offers();
    // The first line is due at once.
    changes.mark_changed();
    let lines = stream::unfold((hosted, changes, farewell), |(hosted, mut changes, farewell)| async move {
        tokio::select! {
            // Biased towards the end: it comes once.
            biased;
            () = farewell.cancelled() => return None,
            changed = changes.changed() => changed.ok()?,
        }
        changes.mark_unchanged();
        let line = Event::Offer(hosted.board.public_offer()).to_line();
        Some((Ok(Frame::data(Bytes::from(line))), (hosted, changes, farewell)))
    });
    StreamBody::new(lines).boxed_unsync()
}
