//! Messages as server-sent events.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use llamapool_http::BoxError;
use llamapool_http::sse::EventFields;

use crate::pipe::{Item, Outlet};

/// What a client is told to wait before it resumes a stream that was lost, in milliseconds.
const RETRY_MS: u32 = 1000;
/// Up to this size a message is put together with what makes it an event; a larger one goes by itself.
const TOGETHER_BYTES: usize = 16 * 1024;
/// Room for what an event has besides its message: an id of two numbers, the names of the fields, the blank line.
const FIELDS_BYTES: usize = 64;

/// The event stream of what comes out of a pipe.
pub(crate) struct EventBody<P> {
    outlet: Outlet,
    /// What is left of the last event.
    rest: [Option<Bytes>; 2],
    ended: bool,
    /// Told when the stream is over, by its drop.
    _passenger: P,
}

impl<P> EventBody<P> {
    pub(crate) fn new(outlet: Outlet, passenger: P) -> Self {
        Self {
            outlet,
            rest: [None, None],
            ended: false,
            _passenger: passenger,
        }
    }
}

impl<P: Unpin> Body for EventBody<P> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let data = match this.rest.iter_mut().find_map(Option::take) {
            Some(rest) => rest,
            None => match ready!(this.outlet.poll_next(cx)) {
                Ok(Some(item)) => {
                    let [head, message, end] = event(&item);
                    this.rest = [message, end];
                    head.unwrap_or_default()
                }
                Ok(None) => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
                Err(broken) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(broken.into())));
                }
            },
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.rest == [None, None] && self.outlet.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// An event in one piece, or in three around a large message.
fn event(item: &Item) -> [Option<Bytes>; 3] {
    let (id, message) = match item {
        Item::Start(id) => {
            let fields = EventFields {
                id: Some(id),
                retry_ms: Some(RETRY_MS),
            };
            let mut start = BytesMut::new();
            fields.write(&mut start);
            start.extend_from_slice(b"\n\n");
            return [Some(start.freeze()), None, None];
        }
        Item::Event(id, message) => (*id, message),
        Item::Whole(message, _) => (None, message),
    };
    let is_large = message.len() > TOGETHER_BYTES;
    let room = if is_large { 0 } else { message.len() };
    let mut event = BytesMut::with_capacity(room + FIELDS_BYTES);
    EventFields { id, retry_ms: None }.write(&mut event);
    if is_large {
        return [
            Some(event.freeze()),
            Some(message.clone()),
            Some(Bytes::from_static(b"\n\n")),
        ];
    }
    event.extend_from_slice(message);
    event.extend_from_slice(b"\n\n");
    [Some(event.freeze()), None, None]
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::event_id::EventId;
    use crate::pipe::pipe;

    #[tokio::test]
    async fn events_have_their_ids_and_a_large_one_is_not_copied() {
        let (inlet, outlet) = pipe(1 << 20);
        let large = Bytes::from(vec![b'x'; TOGETHER_BYTES + 1]);
        let id = |number| EventId { stream: 7, number };
        inlet.push(Item::Start(id(0)));
        inlet.push(Item::Event(Some(id(1)), "{}".into()));
        inlet.push(Item::Event(None, large.clone()));
        inlet.end();
        let mut body = EventBody::new(outlet, ());
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(
            pieces,
            [
                &b"id: 7-0\nretry: 1000\ndata: \n\n"[..],
                b"id: 7-1\ndata: {}\n\n",
                b"data: ",
                &large,
                b"\n\n"
            ]
        );
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn what_breaks_off_has_no_end() {
        let (inlet, outlet) = pipe(1 << 20);
        inlet.push(Item::Event(None, "{}".into()));
        drop(inlet);
        let mut body = EventBody::new(outlet, ());
        assert!(body.frame().await.unwrap().is_ok());
        assert!(!body.is_end_stream());
        assert!(body.frame().await.unwrap().is_err());
    }
}
