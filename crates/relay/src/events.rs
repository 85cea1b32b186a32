//! The relay's event stream: what it offers, now and at every change.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use llamapool_wire::Event;
use tokio_util::sync::CancellationToken;

use crate::answer_body::AnswerBody;
use crate::app::App;

/// The stream, until the relay takes its leave.
pub(crate) fn stream(app: Arc<App>, farewell: CancellationToken) -> AnswerBody {
    let mut changes = app.board.offers();
    // The first line is due at once.
    changes.mark_changed();
    let lines = stream::unfold((app, changes, farewell), |(app, mut changes, farewell)| async move {
        tokio::select! {
            // Biased towards the end: it comes once.
            biased;
            () = farewell.cancelled() => return None,
            changed = changes.changed() => changed.ok()?,
        }
        changes.mark_unchanged();
        let line = Event::Offer(app.board.public_offer()).to_line();
        Some((Ok(Frame::data(Bytes::from(line))), (app, changes, farewell)))
    });
    StreamBody::new(lines).boxed_unsync()
}
