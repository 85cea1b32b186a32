//! The relay's end: answers the requests that the server sends. On the WebSocket's client side.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Role as WebSocketRole;

use crate::BoxError;
use crate::body::IncomingBody;
use crate::config::TunnelConfig;
use crate::connection::{Arrived, Connection, ConnectionError, Drain, Role};
use crate::frame::CancelReason;
use crate::halves::{Leaving, ReceiveHalf, SendHalf};
use crate::head::{fits_response, read_request, write_response};
use crate::head_start::HeadStart;
use crate::link::{CloseCode, Link, TunnelEnd};
use crate::pump::{PumpError, pump};
use crate::tunnel::Tunnel;
use crate::websocket::Socket;

/// Serves one tunnel to its end, on a byte stream whose WebSocket upgrade is done.
///
/// Every request becomes a task that calls `handler` and sends what it answers. A caller who leaves drops the task's
/// future where it stands. When `drain` resolves, the server is told to send nothing more, what runs is finished, and
/// the tunnel is closed; dropping the whole future ends everything at once.
pub async fn serve_relay_end<S, H, A, B>(
    io: S,
    config: TunnelConfig,
    handler: H,
    drain: impl Future<Output = ()>,
) -> TunnelEnd
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<IncomingBody>) -> A,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let link = Arc::new(Link::new());
    let socket = Socket::new(io, WebSocketRole::Client, link.clone()).await;
    let tunnel = Tunnel::new(socket, link.clone(), &config);
    let role = Role::Relay {
        max_streams: config.max_streams as usize,
        drain: Drain::No,
        requests: VecDeque::new(),
    };
    let mut connection = Connection::new(tunnel.clone(), &config, role);
    let end = tokio::select! {
        // Biased towards what the connection says itself: it knows better than a timer.
        biased;
        end = answer_all(&mut connection, &tunnel, &link, handler, drain) => end,
        end = link.silence(&config) => end,
    };
    // The calls are dropped by now: only the goodbye takes time.
    let socket = connection.lose(&end);
    if let (Some(reason), Some(socket)) = (link.farewell(&end), socket) {
        socket.close(reason).await;
    }
    end
}

/// What has moved.
enum Moved {
    Requests,
    Drained,
    Over(Result<(), ConnectionError>),
}

async fn answer_all<H, A, B>(
    connection: &mut Connection,
    tunnel: &Arc<Tunnel>,
    link: &Link,
    handler: H,
    drain: impl Future<Output = ()>,
) -> TunnelEnd
where
    H: Fn(Request<IncomingBody>) -> A,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut calls = JoinSet::new();
    let mut drain = std::pin::pin!(drain);
    let mut draining = false;
    let result = loop {
        let moved = poll_fn(|cx| match connection.poll(cx) {
            Poll::Ready(result) => Poll::Ready(Moved::Over(result)),
            Poll::Pending if connection.has_requests() => Poll::Ready(Moved::Requests),
            Poll::Pending if connection.is_drained() => Poll::Ready(Moved::Drained),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            moved = moved => match moved {
                Moved::Over(result) => break result,
                Moved::Drained => return TunnelEnd::Closed,
                Moved::Requests => while let Some(request) = connection.next_request() {
                    let Some((request, half)) = begin(request) else { continue };
                    // Boxed, as a task that holds it by value is twice its size and moved more than once.
                    let answer = Box::pin(handler(request));
                    calls.spawn(answer_one(answer, half, tunnel.max_header_bytes()));
                },
            },
            Some(_) = calls.join_next() => {}
            () = &mut drain, if !draining => {
                draining = true;
                connection.start_drain();
            }
        }
    };
    while calls.try_join_next().is_some() {}
    match link.end(result) {
        // The server may be first to close a tunnel on which all is done.
        TunnelEnd::ClosedByPeer(CloseCode(1000)) if draining => TunnelEnd::Closed,
        _ if draining && calls.is_empty() => TunnelEnd::Closed,
        end => end,
    }
}

/// The request that has come, and where its answer goes. One that makes no sense is given up, and nothing else with it.
fn begin(request: Arrived) -> Option<(Request<IncomingBody>, SendHalf)> {
    let Arrived { stream, head } = request;
    let ends = head.ends;
    let Ok(head) = read_request(head.bytes) else {
        stream.cancel(CancelReason::Malformed);
        return None;
    };
    let body = IncomingBody::new(
        ReceiveHalf::new(stream.clone(), Leaving::EndsTheBody),
        head.headers(),
        ends,
    );
    Some((
        head.map(|()| body),
        SendHalf::new(stream, CancelReason::GivenUp),
    ))
}

/// Answers one request, unless its caller leaves before.
async fn answer_one<A, B>(answer: Pin<Box<A>>, mut half: SendHalf, max_header_bytes: u32)
where
    A: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let answer = tokio::select! {
        // Biased: for a caller who has left, nothing more is to be started.
        biased;
        () = poll_fn(|cx| half.poll_unwanted(cx)) => return,
        answer = answer => answer,
    };
    let (head, body) = answer.into_parts();
    if !fits_response(&head, max_header_bytes) {
        return half.cancel(CancelReason::HeadTooLarge);
    }
    // These two have no body, whatever their content-length says of another answer.
    let is_empty = body.is_end_stream()
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let mut body = std::pin::pin!(body);
    let beginning = if is_empty {
        None
    } else {
        Some(HeadStart::at_once(body.as_mut()).await.ok())
    };
    // It fails if the caller has just left.
    let Ok(()) = poll_fn(|cx| half.poll_turn(cx)).await else {
        return;
    };
    let write = |out: &mut BytesMut| write_response(&head, out);
    match beginning {
        None => half.answer(write, None, true),
        Some(Some(body)) => match body.all_within(half.room()) {
            Some(all) => half.answer(write, Some(&all), true),
            None => {
                half.answer(write, None, false);
                if let Err(PumpError::Source(_)) = pump(std::pin::pin!(body), &mut half).await {
                    half.abort();
                }
            }
        },
        // It has broken off already.
        Some(None) => {
            half.answer(write, None, false);
            half.abort();
        }
    }
}
