//! The head of an answer, as soon as it is known which it is: one JSON object, or an event stream.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;

use super::Answer;
use super::answers::event_stream;
use super::pipe::{Item, Outlet};
use super::sse::EventBody;
use crate::answer_body::AnswerBody;

/// How long an answer may take to be one JSON object.
pub(super) const AT_ONCE: Duration = Duration::from_millis(100);

/// Waits for what comes first within `patience`. A whole answer becomes what `whole` makes of it, anything else an event
/// stream, and so does nothing, which `late` is told. The passenger rides in the stream.
pub(super) async fn head<P: Send + Unpin + 'static>(
    mut outlet: Outlet,
    passenger: P,
    patience: Duration,
    late: impl FnOnce(),
    whole: impl FnOnce(Bytes, Option<i64>) -> Response<AnswerBody>,
) -> Answer {
    if tokio::time::timeout(patience, outlet.something())
        .await
        .is_err()
    {
        late();
        return Ok(events(outlet, passenger));
    }
    match outlet.next().await.map_err(|broken| broken.failure)? {
        Some(Item::Whole(message, error)) => Ok(whole(message, error)),
        Some(first) => Ok(events(outlet.with(first), passenger)),
        None => Ok(events(outlet, passenger)),
    }
}

/// An answer that is an event stream.
pub(super) fn events<P: Send + Unpin + 'static>(
    outlet: Outlet,
    passenger: P,
) -> Response<AnswerBody> {
    event_stream(EventBody::new(outlet, passenger).boxed_unsync())
}
