//! The relay's end: answers the requests that the server sends. On the WebSocket's client side.

mod call_task;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use llamapool_head::{RequestHead, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use self::call_task::CallTask;
use crate::config::TunnelConfig;
use crate::connection::{Connection, ConnectionError, Drain, EndRole, IncomingRequest};
use crate::frame::{CancelReason, read_request};
use crate::socket::{CloseCode, Role, Socket, TunnelEnd};
use crate::stream::{
    BoxError, IncomingBody, OnDrop, OutgoingBody, ReceiveHalf, SendHalf, Tunnel, content_length,
};

/// Serves one tunnel to its end, as [`serve_heads`] does, with the requests and responses of the
/// crate `http`.
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
    let handler = move |head: RequestHead, body| {
        let response = head.into_http(body).map(&handler);
        Box::pin(async move {
            let Some(response) = response else {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return (ResponseHead::new(status), OutgoingBody::Whole(Bytes::new()));
            };
            let response = response.await;
            let head = ResponseHead::of(&response);
            (head, OutgoingBody::Stream(response.into_body()))
        })
    };
    serve_heads(io, config, handler, drain).await
}

/// Serves one tunnel to its end, on a byte stream whose WebSocket upgrade is done.
///
/// Every request becomes a task that calls `handler` and sends the response. When a caller leaves,
/// the task's future is dropped where it stands. When `drain` resolves, the server is asked to send
/// no more requests, what runs is finished, and the tunnel is closed; dropping the whole future
/// ends everything at once.
///
/// The handler boxes its future where it makes it: a task that holds it by value is twice its size
/// and moved more than once.
pub async fn serve_heads<S, H, F, B>(
    io: S,
    config: TunnelConfig,
    handler: H,
    drain: impl Future<Output = ()>,
) -> TunnelEnd
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(RequestHead, IncomingBody) -> F,
    F: Future<Output = (ResponseHead, OutgoingBody<B>)> + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let socket = Socket::new(io, Role::Client);
    let tunnel = Tunnel::new(socket, &config);
    let role = EndRole::Relay {
        max_streams: config.max_streams as usize,
        drain: Drain::NotStarted,
        requests: VecDeque::new(),
    };
    let mut connection = Connection::new(tunnel.clone(), &config, role);
    let calls = TaskTracker::new();

    let end = tokio::select! {
        // Biased towards the connection, whose result is more precise than a timer's.
        biased;
        end = answer_requests(&mut connection, &calls, handler, drain) => end,
        end = tunnel.socket.liveness.watch(&config) => end,
    };

    // The tasks of all calls are woken by this and end: only the close handshake takes time.
    let websocket = connection.lose(&end);
    calls.close();
    calls.wait().await;
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
    calls: &TaskTracker,
    handler: H,
    drain: impl Future<Output = ()>,
) -> TunnelEnd
where
    H: Fn(RequestHead, IncomingBody) -> F,
    F: Future<Output = (ResponseHead, OutgoingBody<B>)> + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let tunnel = connection.tunnel().clone();
    let mut drain = std::pin::pin!(drain);
    let mut is_draining = false;

    let result = loop {
        tokio::select! {
            progress = poll_fn(|cx| poll_progress(connection, cx)) => match progress {
                Progress::Over(result) => break result,
                Progress::Drained => return TunnelEnd::Closed,
                Progress::Requests => while let Some(request) = connection.next_request() {
                    let Some((head, body, half)) = begin(request) else {
                        continue;
                    };
                    let response = handler(head, body);
                    calls.spawn(CallTask::new(response, half, tunnel.max_header_bytes()));
                },
            },
            () = &mut drain, if !is_draining => {
                is_draining = true;
                connection.start_drain();
            }
        }
    };

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
fn begin(request: IncomingRequest) -> Option<(RequestHead, IncomingBody, SendHalf)> {
    let IncomingRequest { stream, head } = request;
    let is_last = head.is_last;
    let Ok(head) = read_request(head.bytes) else {
        stream.cancel(CancelReason::Malformed);
        return None;
    };

    let receive_half = ReceiveHalf::new(stream.clone(), OnDrop::StopBody);
    let send_half = SendHalf::new(stream, CancelReason::GivenUp);
    let body = IncomingBody::new(receive_half, content_length(&head.fields), is_last);
    Some((head, body, send_half))
}
