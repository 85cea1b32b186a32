//! Accepts connections and serves HTTP/1.1 and h2c on them, within bounds.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use llamapool_wire::header as wire;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::entrance::Entrance;
use crate::peer::Peer;
use crate::request_id::RequestId;

/// How long nothing is accepted after accepting failed, as it does while the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// After how long without traffic the kernel asks whether the peer of a connection is still there, and how often: a
/// caller who vanished without a word is noticed within a minute and a half, and holds no stream for longer.
const KEEPALIVE: Duration = Duration::from_secs(45);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// How large the head of a request may be at least: one that is larger than what the tunnel carries is better refused
/// there, where that has a name. What HTTP/1 reads into is also how much of an answer waits for its socket; then the
/// tunnel's flow control holds it back.
const HEAD_BYTES: u32 = 64 * 1024;
/// How many headers a request may have over HTTP/1. Room for all of them is made for every request.
const HTTP1_HEADERS: usize = 512;
/// How much of one request of an HTTP/2 caller may be on its way unread.
const HTTP2_STREAM_WINDOW: u32 = 512 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// How many calls one HTTP/2 connection of a caller carries at once.
const HTTP2_STREAMS: u32 = 1000;

/// Accepts until the server says farewell, then waits for the connections to end.
pub(crate) async fn serve_connections(app: Arc<App>, listener: TcpListener, entrance: Entrance) {
    let places = Arc::new(Semaphore::new(
        app.config
            .listen
            .max_connections
            .min(Semaphore::MAX_PERMITS),
    ));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // Biased towards the end, which comes once.
            biased;
            () = app.farewell.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let connection = serve_one(app.clone(), stream, peer, entrance.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let place = places
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, Peer(peer), place))
}

async fn serve_one(app: Arc<App>, stream: TcpStream, peer: Peer, entrance: Entrance) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a connection could not be tuned");
    }
    let spoken = CancellationToken::new();
    let has_spoken = spoken.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        has_spoken.cancel();
        let req_id = RequestId::of(request.headers());
        let entrance = entrance.clone();
        async move {
            let mut answer = entrance.answer(peer, &req_id, request.map(Body::new)).await;
            answer
                .headers_mut()
                .entry(wire::REQUEST_ID)
                .or_insert(req_id.to_value());
            Ok::<_, Infallible>(answer)
        }
    });
    // What the tunnel carries gets in.
    let head_bytes = HEAD_BYTES.max(app.config.relays.tunnel.max_header_bytes);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.listen.header_timeout)
        .max_headers(HTTP1_HEADERS)
        .max_buf_size(head_bytes as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .max_header_list_size(head_bytes)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_concurrent_streams(HTTP2_STREAMS);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // hyper looks at the clock only once it knows which HTTP is spoken.
    let says_nothing = async {
        if tokio::time::timeout(app.config.listen.header_timeout, spoken.cancelled())
            .await
            .is_ok()
        {
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        // Biased towards the connection: what it has to say is said before it is asked to end.
        biased;
        result = connection.as_mut() => result,
        () = says_nothing => return,
        () = app.farewell.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, peer = %peer.0, "a connection ended with an error");
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL);
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    let keepalive = keepalive.with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
