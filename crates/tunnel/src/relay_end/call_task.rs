//! The task of one call: waits for the handler's response, and sends it.
//!
//! A task is a few words, and most responses are sent in the poll that gets them: what is larger is
//! moved several times on its way into a task. Only what has to wait gets a place of its own.

use std::future::{Future, poll_fn};
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use llamapool_head::ResponseHead;

use crate::frame::{CancelReason, check_response, write_response};
use crate::stream::{
    BoxError, FirstChunk, OutgoingBody, SendBodyError, SendHalf, send_body, send_bytes,
};

/// The task of one call.
///
/// It ends with its stream, and so with the tunnel at the latest: a stream that fails wakes it, and
/// it drops the handler's future where that stands.
pub(super) struct CallTask<F> {
    /// `None` once there is no more to be sent.
    half: Option<SendHalf>,
    max_header_bytes: u32,
    step: Step<F>,
}

enum Step<F> {
    /// The handler makes the response.
    Responding(F),
    /// The response is sent.
    Sending(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl<F> CallTask<F> {
    /// Creates the task that sends the output of `response` on `half`, to a peer that accepts heads
    /// of less than `max_header_bytes`.
    pub(super) fn new(response: F, half: SendHalf, max_header_bytes: u32) -> Self {
        Self {
            half: Some(half),
            max_header_bytes,
            step: Step::Responding(response),
        }
    }
}

impl<F, B> Future for CallTask<F>
where
    F: Future<Output = (ResponseHead, OutgoingBody<B>)> + Unpin,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let response = match &mut this.step {
            Step::Sending(sending) => return sending.as_mut().poll(cx),
            Step::Responding(response) => response,
        };
        // First, so that for a caller who has left no more work is started.
        let is_stopped = this
            .half
            .as_ref()
            .is_none_or(|half| half.poll_stopped(cx).is_ready());
        if is_stopped {
            return Poll::Ready(());
        }

        let (head, body) = ready!(Pin::new(response).poll(cx));
        let Some(mut half) = this.half.take() else {
            return Poll::Ready(());
        };
        if check_response(&head, this.max_header_bytes).is_err() {
            half.cancel(CancelReason::HeadTooLarge);
            return Poll::Ready(());
        }

        let mut sending: Pin<Box<dyn Future<Output = ()> + Send>> = match body {
            OutgoingBody::Stream(body) if !has_no_body(head.status) => {
                Box::pin(send_stream(head, body, half))
            }
            body => {
                let body = whole_body(body, head.status);
                match half.poll_turn(cx) {
                    // The caller has just left.
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(max_piece)) if body.len() <= max_piece => {
                        respond_whole(&head, &body, &mut half);
                        return Poll::Ready(());
                    }
                    _ => Box::pin(send_whole(head, body, half)),
                }
            }
        };
        let sent = sending.as_mut().poll(cx);
        this.step = Step::Sending(sending);
        sent
    }
}

/// Returns a body that is not produced in pieces, and none where the status has none.
fn whole_body<B>(body: OutgoingBody<B>, status: StatusCode) -> Bytes {
    match body {
        OutgoingBody::Whole(body) if !has_no_body(status) => body,
        _ => Bytes::new(),
    }
}

/// Returns whether responses with this status have no body, although their content length may
/// describe that of another response.
fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Sends a response with a body for which there is room.
fn respond_whole(head: &ResponseHead, body: &Bytes, half: &mut SendHalf) {
    let body = Some(body).filter(|body| !body.is_empty());
    half.respond(|out| write_response(head, out), body, true);
}

/// Sends a response with a body that is here, unless its caller leaves before.
async fn send_whole(head: ResponseHead, mut body: Bytes, mut half: SendHalf) {
    let turn = poll_fn(|cx| half.poll_turn(cx)).await;
    let Ok(max_piece) = turn else {
        // The caller has just left.
        return;
    };

    if body.len() <= max_piece {
        return respond_whole(&head, &body, &mut half);
    }
    half.respond(|out| write_response(&head, out), None, false);
    // An error if the caller has left meanwhile.
    let _ = send_bytes(&mut body, &mut half).await;
}

/// Sends a response with a body that is produced in pieces, unless its caller leaves before.
async fn send_stream<B>(head: ResponseHead, body: B, half: SendHalf)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    let start = if body.is_end_stream() {
        Start::Empty
    } else {
        match FirstChunk::ready_now(body.as_mut()).await {
            Ok(body) => Start::Body(body),
            Err(_) => Start::Broken,
        }
    };
    send_response(&head, start, half).await;
}

/// Sends one response to its end, unless its caller leaves before.
async fn send_response<B>(head: &ResponseHead, start: Start<B>, mut half: SendHalf)
where
    B: DerefMut + Unpin,
    B::Target: Body<Data = Bytes>,
    <B::Target as Body>::Error: Into<BoxError>,
{
    let turn = poll_fn(|cx| half.poll_turn(cx)).await;
    let Ok(max_piece) = turn else {
        // The caller has just left.
        return;
    };

    let write_head = |out: &mut BytesMut| write_response(head, out);
    match start {
        Start::Empty => half.respond(write_head, None, true),
        Start::Broken => {
            half.respond(write_head, None, false);
            half.abort();
        }
        Start::Body(body) => match body.whole_body(max_piece) {
            Some(whole) => half.respond(write_head, Some(&whole), true),
            None => {
                half.respond(write_head, None, false);
                let sent = send_body(std::pin::pin!(body), &mut half).await;
                if let Err(SendBodyError::Source(_)) = sent {
                    half.abort();
                }
            }
        },
    }
}

/// The beginning of a response's body.
enum Start<B> {
    /// There is no body.
    Empty,
    /// The body, with the chunk that was ready.
    Body(FirstChunk<B>),
    /// The body broke off before its first chunk.
    Broken,
}
