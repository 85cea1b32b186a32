//! The relay's end: answers the requests that the server sends. HTTP/2's server on the WebSocket's client side.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::BoxError;
use crate::body::{IncomingBody, abort_trailers};
use crate::config::{
    CONNECTION_WINDOW, FRAME_BYTES, REMEMBERED_RESETS, RESET_MEMORY, SEND_BUFFER_BYTES, SMALL_PIECES_BYTES,
    TunnelConfig,
};
use crate::head::check_response;
use crate::link::{CloseCode, End, Link};
use crate::pump::{PumpError, pump};
use crate::websocket::{Socket, WebSocketBytes};

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
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Fn(Request<IncomingBody>) -> A,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let link = Arc::new(Link::new());
    let socket = Socket::new(io, Role::Client).await;
    let bytes = socket.bytes(link.clone());
    let end = tokio::select! {
        // Biased towards what the connection says itself: it knows better than a timer.
        biased;
        end = accept_all(bytes, &config, &link, handler, drain) => end,
        end = link.silence(&config) => end,
    };
    // The connection and the calls are dropped by now: only the goodbye takes time.
    if let Some(reason) = link.farewell(&end) {
        socket.close(reason).await;
    }
    end
}

async fn accept_all<S, H, A, B>(
    socket: WebSocketBytes<S>,
    config: &TunnelConfig,
    link: &Link,
    handler: H,
    drain: impl Future<Output = ()>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<IncomingBody>) -> A,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut connection: Connection<_, Bytes> = match settings(config).handshake(socket).await {
        Ok(connection) => connection,
        Err(error) => return link.end(Err(error)),
    };
    let mut calls = JoinSet::new();
    let mut drain = std::pin::pin!(drain);
    let mut draining = false;
    let result = loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    // Boxed, as a task that holds it by value is twice its size and moved more than once.
                    let answer = Box::pin(handler(request.map(IncomingBody::new)));
                    calls.spawn(answer_one(answer, respond, config.max_header_bytes));
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
            Some(_) = calls.join_next() => {}
            () = &mut drain, if !draining => {
                draining = true;
                connection.graceful_shutdown();
            }
        }
    };
    while calls.try_join_next().is_some() {}
    match link.end(result) {
        // The server may be first to close a tunnel on which all is done.
        End::ClosedByPeer(CloseCode(1000)) if draining => End::Closed,
        _ if draining && calls.is_empty() => End::Closed,
        end => end,
    }
}

/// Answers one request, unless its caller leaves before.
async fn answer_one<A, B>(answer: Pin<Box<A>>, mut respond: SendResponse<Bytes>, max_header_bytes: u32)
where
    A: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let answer = tokio::select! {
        // Biased: for a caller who has left, nothing more is to be started.
        biased;
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
        answer = answer => answer,
    };
    let (head, body) = answer.into_parts();
    if check_response(&head, max_header_bytes).is_err() {
        return;
    }
    // These two have no body, whatever their content-length says of another answer.
    let is_empty = body.is_end_stream() || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // It fails if the caller has just left, or if the head cannot be put into HTTP/2: then the stream is reset.
    let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), is_empty) else { return };
    if is_empty {
        return;
    }
    let mut body = std::pin::pin!(body);
    if let Err(PumpError::Source(_)) = pump(body.as_mut(), &mut stream).await {
        // Fails only if the caller is gone, who then needs no mark.
        let _ = stream.send_trailers(abort_trailers());
    }
}

fn settings(config: &TunnelConfig) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(config.stream_window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(config.max_header_bytes)
        .max_concurrent_streams(config.max_streams)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .max_pending_accept_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(None)
        .data_frame_budget(SMALL_PIECES_BYTES);
    builder
}
