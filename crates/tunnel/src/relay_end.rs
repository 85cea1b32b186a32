//! The relay's end: answers the requests that the server sends. On the WebSocket's client side.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::config::TunnelConfig;
use crate::connection::{Connection, ConnectionError, Drain, EndRole, IncomingRequest};
use crate::frame::{CancelReason, check_response, read_request, write_response};
use crate::socket::{CloseCode, Socket, TunnelEnd};
use crate::stream::{
    BoxError, FirstChunk, IncomingBody, OnDrop, ReceiveHalf, SendBodyError, SendHalf, Tunnel,
    send_body,
};

/// Serves one tunnel to its end, on a byte stream whose WebSocket upgrade is done.
///
/// Every request becomes a task that calls `handler` and sends the response. When a caller leaves,
/// the task's future is dropped where it stands. When `drain` resolves, the server is asked to send
/// no more requests, what runs is finished, and the tunnel is closed; dropping the whole future
/// ends everything at once.
pub async fn serve_relay_end<S, H, F, B>(
    io: S,
    config: TunnelConfig,
    handler: H,
    drain: impl Future<Output = ()>,
) -> TunnelEnd
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<IncomingBody>) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let socket = Socket::new(io, Role::Client).await;
    let tunnel = Tunnel::new(socket, &config);
    let role = EndRole::Relay {
        max_streams: config.max_streams as usize,
        drain: Drain::NotStarted,
        requests: VecDeque::new(),
    };
    let mut connection = Connection::new(tunnel.clone(), &config, role);

    let end = tokio::select! {
        // Biased towards the connection, whose result is more precise than a timer's.
        biased;
        end = answer_requests(&mut connection, &tunnel, handler, drain) => end,
        end = tunnel.socket.liveness.watch(&config) => end,
    };

    // All calls are dropped by now: only the close handshake takes time.
    let websocket = connection.lose(&end);
    if let (Some(reason), Some(websocket)) = (tunnel.socket.close.farewell(&end), websocket) {
        websocket.close(reason).await;
    }
    end
}

/// Progress of a connection.
enum Progress {
    Requests,
    Drained,
    Over(Result<(), ConnectionError>),
}

fn poll_progress(connection: &mut Connection, cx: &mut Context<'_>) -> Poll<Progress> {
    match connection.poll(cx) {
        Poll::Ready(result) => Poll::Ready(Progress::Over(result)),
        Poll::Pending if connection.has_requests() => Poll::Ready(Progress::Requests),
        Poll::Pending if connection.is_drained() => Poll::Ready(Progress::Drained),
        Poll::Pending => Poll::Pending,
    }
}

/// Runs the connection and one task for each request, until the connection is over or drained.
async fn answer_requests<H, F, B>(
    connection: &mut Connection,
    tunnel: &Tunnel,
    handler: H,
    drain: impl Future<Output = ()>,
) -> TunnelEnd
where
    H: Fn(Request<IncomingBody>) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut calls = JoinSet::new();
    let mut drain = std::pin::pin!(drain);
    let mut is_draining = false;

    let result = loop {
        tokio::select! {
            progress = poll_fn(|cx| poll_progress(connection, cx)) => match progress {
                Progress::Over(result) => break result,
                Progress::Drained => return TunnelEnd::Closed,
                Progress::Requests => while let Some(request) = connection.next_request() {
                    let Some((request, half)) = begin(request) else {
                        continue;
                    };
                    // Boxed: a task that holds it by value is twice its size and moved more than
                    // once.
                    let response = Box::pin(handler(request));
                    calls.spawn(answer_one(response, half, tunnel.max_header_bytes()));
                },
            },
            Some(_) = calls.join_next() => {}
            () = &mut drain, if !is_draining => {
                is_draining = true;
                connection.start_drain();
            }
        }
    };

    while calls.try_join_next().is_some() {}
    let is_done = is_draining && calls.is_empty();
    match tunnel.socket.close.tunnel_end(result) {
        // The server may be first to close a tunnel whose calls are done.
        TunnelEnd::ClosedByPeer(CloseCode(1000)) if is_draining => TunnelEnd::Closed,
        _ if is_done => TunnelEnd::Closed,
        end => end,
    }
}

/// Returns a received request, and the half that its response is sent on. Cancels a request with a
/// malformed head and returns `None`: the other streams go on.
fn begin(request: IncomingRequest) -> Option<(Request<IncomingBody>, SendHalf)> {
    let IncomingRequest { stream, head } = request;
    let is_last = head.is_last;
    let Ok(request) = read_request(head.bytes) else {
        stream.cancel(CancelReason::Malformed);
        return None;
    };

    let receive_half = ReceiveHalf::new(stream.clone(), OnDrop::StopBody);
    let send_half = SendHalf::new(stream, CancelReason::GivenUp);
    let body = IncomingBody::new(receive_half, request.headers(), is_last);
    Some((request.map(|()| body), send_half))
}

/// Answers one request, unless its caller leaves before.
async fn answer_one<F, B>(response: Pin<Box<F>>, half: SendHalf, max_header_bytes: u32)
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let response = tokio::select! {
        // Biased: for a caller who has left, no more work is started.
        biased;
        () = poll_fn(|cx| half.poll_stopped(cx)) => return,
        response = response => response,
    };

    let (head, body) = response.into_parts();
    if check_response(&head, max_header_bytes).is_err() {
        return half.cancel(CancelReason::HeadTooLarge);
    }

    // Responses with these two statuses have no body, although their content length may describe
    // that of another response.
    let is_empty = body.is_end_stream()
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let mut body = std::pin::pin!(body);
    let start = if is_empty {
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
async fn send_response<B>(head: &response::Parts, start: Start<B>, mut half: SendHalf)
where
    B: DerefMut + Unpin,
    B::Target: Body<Data = Bytes>,
    <B::Target as Body>::Error: Into<BoxError>,
{
    // An error if the caller has just left.
    let turn = poll_fn(|cx| half.poll_turn(cx)).await;
    if turn.is_err() {
        return;
    }

    let write_head = |out: &mut BytesMut| write_response(head, out);
    match start {
        Start::Empty => half.respond(write_head, None, true),
        Start::Broken => {
            half.respond(write_head, None, false);
            half.abort();
        }
        Start::Body(body) => match body.whole_body(half.max_piece()) {
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
