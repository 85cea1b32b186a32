//! Serves one connection to its end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::http1_loop::{After, Http1Loop, Next};
use super::places::{Activity, Place};
use super::prefixed::Prefixed;
use super::received_body::{ReceivedBody, RestOfRequest};
use super::socket::Socket;
use super::threads::{Move, Service};
use super::tracked_body::TrackedBody;
use super::transport::Transport;
use super::write_timeout::WriteTimeout;
use super::{Handler, ListenLimits, Overload, Versions};

/// The time without traffic after which the kernel probes the peer of a connection, and how often:
/// a caller that vanished without closing is noticed within a minute and a half, and holds no
/// stream for longer.
const KEEPALIVE: Duration = Duration::from_secs(45);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// The most headers of a request over HTTP/1. Room for all of them is made for every request.
const HTTP1_HEADERS: usize = 512;
/// The most bytes of one request of an HTTP/2 caller that are on their way unread.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
/// The most bytes of all requests of an HTTP/2 connection that are on their way unread: 1 MiB carry
/// 20 MB/s over 50 ms.
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most bytes of one answer that wait for an HTTP/2 connection; then the tunnel's flow control
/// holds the answer back.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// The most calls that one HTTP/2 connection of a caller carries at once.
const HTTP2_STREAMS: u32 = 1000;
/// The time for the request on a spare place, head and answer each.
const SPARE_TIME: Duration = Duration::from_secs(5);
/// The time for the peer of a connection that is idle, or that has failed to end, to close it.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// A connection that was accepted and has its place.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
    pub(super) limits: ListenLimits,
}

impl Connection {
    /// Serves the connection until it ends, or, once its service is to end, its running requests have. It may go
    /// on as another task.
    pub(super) async fn serve<T: Transport, H: Handler>(self, service: Service<T, H>) {
        let Self {
            socket,
            peer,
            place,
            limits,
        } = self;
        tune_or_log(&socket);

        let overload = place.overload();
        let session = Session {
            peer,
            limits,
            overload,
            head_deadline: Instant::now() + head_time(limits, overload),
            activity: place.activity().clone(),
            first_request: CancellationToken::new(),
            farewell: service.farewell.clone(),
        };
        let opening = service.transport.open(socket, peer);
        let Some(stream) = session.opened(opening).await else {
            return;
        };
        let stream = bounded(stream, limits);

        // A spare place is for one request, which is not worth a loop.
        if overload.is_some() {
            let stream = Prefixed::new(Bytes::new(), stream);
            return Box::pin(session.serve_by_hyper(stream, service.handler)).await;
        }
        let mut open = Some(OpenConnection {
            requests: Http1Loop::new(stream, limits.max_head_bytes as usize),
            session,
            place,
            memory: H::Connection::default(),
            may_move: true,
            service,
        });
        OpenConnection::serve(&mut open).await;
    }
}

/// A connection that is open, between two requests.
struct OpenConnection<T: Transport, H: Handler> {
    requests: Http1Loop<WriteTimeout<T::Stream>>,
    session: Session,
    place: Place,
    memory: H::Connection,
    /// Whether it may be served by another thread: it moves once.
    may_move: bool,
    service: Service<T, H>,
}

impl<T: Transport, H: Handler> OpenConnection<T, H> {
    /// Serves a connection to its end, or until another task has taken it. By reference, as a future that owns it
    /// would have it twice.
    async fn serve(place: &mut Option<Self>) {
        while let Some(open) = place {
            let handler = &open.service.handler;
            let memory = (&mut open.memory, open.may_move);
            let served = open
                .session
                .serve_plain(&mut open.requests, memory, handler);
            let end = served.await;
            let home = match end {
                LoopEnd::Closed => return,
                LoopEnd::Unusual => break,
                LoopEnd::Answered => open.service.handler.home(&open.memory),
            };
            open.may_move = false;
            if let Some(runtime) = home.and_then(|home| open.service.threads.other(home)) {
                *place = match place.take() {
                    // Boxed, as few connections do it.
                    Some(open) => Box::pin(open.move_to(runtime)).await.err(),
                    None => None,
                };
            }
        }
        if let Some(open) = place.take() {
            // Boxed, as the connections that need nothing of it would carry its size along.
            Box::pin(open.serve_by_hyper()).await;
        }
    }

    /// Serves the rest of its requests.
    async fn serve_by_hyper(self) {
        let Self {
            requests,
            session,
            place: _place,
            service,
            ..
        } = self;
        let (received, stream) = requests.into_parts();
        let stream = Prefixed::new(received, stream);
        session.serve_by_hyper(stream, service.handler).await;
    }

    /// Has the connection served by another thread. Returns it if that is not possible any more.
    async fn move_to(self, runtime: Handle) -> Result<(), Self> {
        let moves = self.service.moves.clone();
        // None comes any more when the listener ends: then it stays where it is.
        let Ok(slot) = moves.reserve().await else {
            return Err(self);
        };
        slot.send(Move {
            runtime,
            task: self.arriving(),
        });
        Ok(())
    }

    /// Returns the task that it goes on as.
    fn arriving(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut place = Some(self);
        Box::pin(async move {
            let Some(open) = &mut place else {
                return;
            };
            let stream = open.requests.stream_mut().get_mut();
            if T::socket(stream).move_here() {
                Self::serve(&mut place).await;
            }
        })
    }
}

/// The end of the plain requests of a connection.
pub(super) enum LoopEnd {
    /// The connection has ended.
    Closed,
    /// The next request is for hyper.
    Unusual,
    /// A request was answered with success, where the loop is to end then.
    Answered,
}

/// A connection with its place, while it is served.
pub(super) struct Session {
    pub(super) peer: SocketAddr,
    pub(super) limits: ListenLimits,
    pub(super) overload: Option<Overload>,
    /// When the first request must have begun.
    pub(super) head_deadline: Instant,
    pub(super) activity: Arc<Activity>,
    /// Cancelled with the first request.
    pub(super) first_request: CancellationToken,
    pub(super) farewell: CancellationToken,
}

impl Session {
    /// Serves plain requests up to the first other one. With `until_success` it ends after the first
    /// answer that is a success as well.
    pub(super) async fn serve_plain<S, H>(
        &self,
        requests: &mut Http1Loop<S>,
        (memory, until_success): (&mut H::Connection, bool),
        handler: &H,
    ) -> LoopEnd
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Handler,
    {
        let mut ending = pin!(self.ending());
        let mut is_begun = false;
        loop {
            let head = match requests.next(ending.as_mut()).await {
                Next::Plain(head) => head,
                Next::Unusual => return LoopEnd::Unusual,
                Next::End => return LoopEnd::Closed,
            };
            let Some((head, body)) = requests.take(head) else {
                return LoopEnd::Unusual;
            };
            if !std::mem::replace(&mut is_begun, true) {
                self.first_request.cancel();
            }

            let running = self.activity.begin();
            let answered = {
                // Gone before the answer is sent: the connection has no room for both at once.
                let answering = pin!(handler.answer_plain(self.peer, memory, head, body));
                requests.answered(answering).await
            };
            let Ok(answer) = answered else {
                return LoopEnd::Closed;
            };
            let is_success = answer.head.status.is_success();
            match requests.send(answer, self.farewell.is_cancelled()).await {
                Ok(After::Open) => {}
                Ok(After::Closed) => return LoopEnd::Closed,
                Err(error) => {
                    let peer = self.peer;
                    tracing::trace!(%error, %peer, "a connection ended with an error");
                    return LoopEnd::Closed;
                }
            }
            drop(running);
            if until_success && is_success {
                return LoopEnd::Answered;
            }
        }
    }

    /// Waits until the transport has opened the connection. `None` if it has not in time.
    async fn opened<S>(&self, opening: impl Future<Output = Option<S>>) -> Option<S> {
        tokio::select! {
            // Biased towards the stream, which is there at once without a handshake: the waits that end one
            // cost nothing then.
            biased;
            stream = opening => stream,
            () = tokio::time::sleep_until(self.head_deadline) => None,
            () = self.activity.evicted() => None,
            () = self.farewell.cancelled() => None,
        }
    }

    /// Waits until the connection is to end between two requests.
    async fn ending(&self) {
        tokio::select! {
            // Biased, as no order is better than another, and one by chance costs a number.
            biased;
            () = no_request(&self.first_request, self.head_deadline) => {}
            () = self.farewell.cancelled() => {}
            () = is_unused(&self.activity, &self.first_request, self.limits, self.overload) => {}
        }
    }

    /// Serves everything else to the end of the connection, or, once `farewell` is cancelled, of its
    /// running requests.
    pub(super) async fn serve_by_hyper<S, H>(self, stream: S, handler: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Handler,
    {
        let Self {
            peer,
            limits,
            overload,
            head_deadline,
            activity,
            first_request,
            farewell,
        } = self;
        let rest = Arc::new(RestOfRequest::default());
        let service = {
            let activity = activity.clone();
            let first_request = first_request.clone();
            let rest = rest.clone();
            service_fn(move |request: Request<Incoming>| {
                first_request.cancel();
                let running = activity.begin();
                let handler = handler.clone();
                // Wrapped in the future, as a value made outside would have the whole future moved once more.
                let rest = rest.clone();
                async move {
                    let request = ReceivedBody::of(request, &rest);
                    let answer = match overload {
                        Some(overload) if !handler.is_essential(request.uri()) => {
                            handler.refuse(&request, overload)
                        }
                        _ => handler.answer(peer, request).await,
                    };
                    Ok::<_, Infallible>(answer.map(|body| TrackedBody::new(body, running)))
                }
            })
        };

        let builder = builder(limits);
        let stream = TokioIo::new(stream);
        let connection = builder.serve_connection_with_upgrades(stream, service);
        let mut connection = std::pin::pin!(connection);
        let mut discarding = std::pin::pin!(rest.discard());
        let result = tokio::select! {
            // Biased towards the connection: what it has to send is sent before it is asked to end.
            biased;
            result = connection.as_mut() => result,
            never = discarding.as_mut() => match never {},
            () = no_request(&first_request, head_deadline) => return,
            () = farewell.cancelled() => {
                connection.as_mut().graceful_shutdown();
                beside(connection.as_mut(), discarding.as_mut()).await
            }
            () = is_unused(&activity, &first_request, limits, overload) => {
                connection.as_mut().graceful_shutdown();
                let ending = beside(connection.as_mut(), discarding.as_mut());
                let ending = std::pin::pin!(ending);
                let Some(result) = closed(ending, &activity, overload).await else {
                    return;
                };
                result
            }
        };
        if let Err(error) = result {
            tracing::trace!(%error, %peer, "a connection ended with an error");
        }
    }
}

/// Waits for the end of a connection, while the rest of its requests is discarded.
async fn beside<C: Future>(
    connection: Pin<&mut C>,
    discarding: Pin<&mut impl Future<Output = Infallible>>,
) -> C::Output {
    tokio::select! {
        biased;
        result = connection => result,
        never = discarding => match never {},
    }
}

/// Returns the time for a handshake and the head of the first request together.
fn head_time(limits: ListenLimits, overload: Option<Overload>) -> Duration {
    match overload {
        None => limits.header_timeout,
        Some(_) => limits.header_timeout.min(SPARE_TIME),
    }
}

/// Waits until the time for the first request is over. hyper starts its timer only once it has
/// detected which HTTP is spoken.
async fn no_request(first_request: &CancellationToken, deadline: Instant) {
    let in_time = tokio::time::timeout_at(deadline, first_request.cancelled()).await;
    if in_time.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the connection is to take no further request: it is idle for too long, or its place
/// is needed, or it has a spare place, which is for one request.
async fn is_unused(
    activity: &Activity,
    first_request: &CancellationToken,
    limits: ListenLimits,
    overload: Option<Overload>,
) {
    if overload.is_some() {
        return first_request.cancelled().await;
    }

    let is_idle = async {
        if limits.idle_timeout.is_zero() {
            std::future::pending::<()>().await;
        }
        activity.idle_for(limits.idle_timeout).await;
    };
    tokio::select! {
        () = activity.evicted() => {}
        () = is_idle => {}
    }
}

/// Waits for the end of a connection that takes no further request. Returns `None` if its peer does
/// not close it, though no request runs any more, or if the request of a spare place takes too long.
async fn closed<C: Future>(
    mut connection: Pin<&mut C>,
    activity: &Arc<Activity>,
    overload: Option<Overload>,
) -> Option<C::Output> {
    let time = overload.map_or(CLOSE_TIME, |_| SPARE_TIME);
    loop {
        // A request that has crossed the end on its way is still answered.
        let ended = tokio::time::timeout(time, connection.as_mut()).await;
        match ended {
            Ok(result) => return Some(result),
            Err(_) if activity.is_idle() || overload.is_some() => return None,
            Err(_) => {}
        }
    }
}

fn builder(limits: ListenLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HTTP1_HEADERS)
        .max_buf_size(limits.max_head_bytes as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .max_header_list_size(limits.max_head_bytes)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_concurrent_streams(HTTP2_STREAMS);
    match limits.versions {
        Versions::Http1AndHttp2 => builder,
        Versions::Http1 => builder.http1_only(),
    }
}

/// Returns a stream whose peer is given up when it takes nothing for too long.
fn bounded<S>(stream: S, limits: ListenLimits) -> WriteTimeout<S> {
    let send_timeout = (!limits.send_timeout.is_zero()).then_some(limits.send_timeout);
    WriteTimeout::new(stream, send_timeout)
}

fn tune_or_log(socket: &Socket) {
    if let Err(error) = socket.stream().and_then(tune) {
        tracing::debug!(%error, "a connection could not be tuned");
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
