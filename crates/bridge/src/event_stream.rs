//! Messages as server-sent events: the body of an event stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use llamapool_http::BoxError;
use llamapool_http::sse::EventFields;

use crate::event_queue::{EventReceiver, ResponsePart};

/// How long a client waits before it resumes a stream that was lost, in milliseconds.
const RETRY_MS: u32 = 1000;
/// Up to this size a message is copied into one piece with the fields of its event; a larger one is
/// a piece of its own.
const TOGETHER_BYTES: usize = 16 * 1024;
/// Room for what an event has besides its message: an id of two numbers, the names of the fields,
/// the blank line.
const FIELDS_BYTES: usize = 64;

/// The event stream of the parts that a queue yields.
pub(crate) struct EventStreamBody<G> {
    receiver: EventReceiver,
    /// The rest of the current event.
    rest: [Option<Bytes>; 2],
    is_ended: bool,
    /// Dropped with the stream.
    _guard: G,
}

impl<G> EventStreamBody<G> {
    /// Creates the body. `guard` is dropped with it.
    pub(crate) fn new(receiver: EventReceiver, guard: G) -> Self {
        Self {
            receiver,
            rest: [None, None],
            is_ended: false,
            _guard: guard,
        }
    }
}

impl<G: Unpin> Body for EventStreamBody<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.is_ended {
            return Poll::Ready(None);
        }
        if let Some(rest) = this.rest.iter_mut().find_map(Option::take) {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }

        match ready!(this.receiver.poll_next(cx)) {
            Ok(Some(part)) => {
                let [head, message, end] = event(&part);
                this.rest = [message, end];
                Poll::Ready(Some(Ok(Frame::data(head.unwrap_or_default()))))
            }
            Ok(None) => {
                this.is_ended = true;
                Poll::Ready(None)
            }
            Err(broken) => {
                this.is_ended = true;
                Poll::Ready(Some(Err(broken.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended || self.rest == [None, None] && self.receiver.is_finished()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Returns an event in one piece, or in three pieces around a large message.
fn event(part: &ResponsePart) -> [Option<Bytes>; 3] {
    let (id, message) = match part {
        ResponsePart::Primer(id) => {
            let fields = EventFields {
                id: Some(id),
                retry_ms: Some(RETRY_MS),
            };
            let mut primer = BytesMut::new();
            fields.write(&mut primer);
            primer.extend_from_slice(b"\n\n");
            return [Some(primer.freeze()), None, None];
        }
        ResponsePart::Event(id, message) => (*id, message),
        ResponsePart::Whole(message, _) => (None, message),
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

    use llamapool_limits::MemoryAccount;

    use super::*;
    use crate::event_id::EventId;
    use crate::event_queue::event_queue;

    #[tokio::test]
    async fn events_have_their_ids_and_a_large_one_is_not_copied() {
        let (sender, receiver) = event_queue(1 << 20, &MemoryAccount::default());
        let large = Bytes::from(vec![b'x'; TOGETHER_BYTES + 1]);
        let id = |number| EventId { stream: 7, number };
        sender.push(ResponsePart::Primer(id(0)));
        sender.push(ResponsePart::Event(Some(id(1)), "{}".into()));
        sender.push(ResponsePart::Event(None, large.clone()));
        sender.finish();

        let mut body = EventStreamBody::new(receiver, ());
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
    async fn a_stream_that_breaks_off_has_no_end() {
        let (sender, receiver) = event_queue(1 << 20, &MemoryAccount::default());
        sender.push(ResponsePart::Event(None, "{}".into()));
        drop(sender);
        let mut body = EventStreamBody::new(receiver, ());

        assert!(body.frame().await.unwrap().is_ok());
        assert!(!body.is_end_stream());
        assert!(body.frame().await.unwrap().is_err());
    }
}
