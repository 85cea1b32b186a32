//! The head of an answer, as soon as it is known which it is: one JSON object, or an event stream.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;

use crate::answers::{Answer, event_stream};
use crate::body::InnerBody;
use crate::pipe::{Item, Outlet};
use crate::sse::EventBody;

/// How long an answer may take to be one JSON object.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(100);

/// Waits for what comes first within `patience`. A whole answer becomes what `whole` makes of it, anything else an event
/// stream, and so does nothing, which `late` is told. The passenger rides in the stream.
pub(crate) async fn head<P: Send + Unpin + 'static>(
    mut outlet: Outlet,
    passenger: P,
    patience: Duration,
    late: impl FnOnce(),
    whole: impl FnOnce(Bytes, Option<i64>) -> Response<InnerBody>,
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
pub(crate) fn events<P: Send + Unpin + 'static>(
    outlet: Outlet,
    passenger: P,
) -> Response<InnerBody> {
    event_stream(EventBody::new(outlet, passenger).boxed_unsync())
}
