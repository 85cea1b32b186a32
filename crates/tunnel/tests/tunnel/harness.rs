//! The parts of the tests: a tunnel over an in-memory wire, bodies that are fed by hand, and limits
//! on waiting.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use llamapool_tunnel::{
    BoxError, IncomingBody, IncomingBodyError, SendError, ServerEnd, TunnelConfig, TunnelEnd,
    serve_relay_end,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Received = Result<Response<IncomingBody>, SendError>;

/// Capacity of the wire in each direction.
pub(crate) const WIRE_BYTES: usize = 64 * 1024;

/// Both ends of a tunnel, at work.
pub(crate) struct TestTunnel {
    pub(crate) server: ServerEnd,
    driver: JoinSet<TunnelEnd>,
    relay: JoinSet<TunnelEnd>,
    drain: Option<oneshot::Sender<()>>,
}

impl TestTunnel {
    /// Opens a tunnel whose relay answers with `handler`.
    pub(crate) async fn new<F>(
        handler: impl Fn(Request<IncomingBody>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        Self::with_config(TunnelConfig::default(), handler).await
    }

    /// Opens a tunnel whose relay echoes POST requests, and answers others with bodies that never
    /// end.
    pub(crate) async fn with_endless_responses() -> Self {
        let handler = |request: Request<IncomingBody>| async move {
            if request.method() == Method::GET {
                Response::new(endless().1)
            } else {
                echo(request).await
            }
        };
        Self::new(handler).await
    }

    /// Opens a tunnel whose relay never answers, and returns the receiver of the requests' bodies.
    pub(crate) async fn with_request_bodies(
        sides: (DuplexStream, DuplexStream),
    ) -> (Self, mpsc::Receiver<IncomingBody>) {
        let (request_bodies, bodies) = mpsc::channel(1);
        let tunnel = Self::over(sides, TunnelConfig::default(), move |request| {
            let request_bodies = request_bodies.clone();
            async move {
                request_bodies
                    .send(request.into_body())
                    .await
                    .expect("the test takes it");
                std::future::pending().await
            }
        });
        (tunnel.await, bodies)
    }

    pub(crate) async fn with_config<F>(
        config: TunnelConfig,
        handler: impl Fn(Request<IncomingBody>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        Self::over(tokio::io::duplex(WIRE_BYTES), config, handler).await
    }

    /// Opens a tunnel over a wire of the test's own: the server's side of it, and the relay's.
    pub(crate) async fn over<S, R, F>(
        (server_side, relay_side): (S, R),
        config: TunnelConfig,
        handler: impl Fn(Request<IncomingBody>) -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        R: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let mut relay = JoinSet::new();
        let (drain, drained) = oneshot::channel();
        let config_of_relay = config.clone();
        relay.spawn(async move {
            let drained = async {
                drained
                    .await
                    .unwrap_or_else(|_| unreachable!("the tunnel keeps the sender"))
            };
            serve_relay_end(relay_side, config_of_relay, handler, drained).await
        });
        let (server, driver) = open(server_side, config).await;
        Self {
            server,
            driver,
            relay,
            drain: Some(drain),
        }
    }

    pub(crate) async fn send(&self, request: Request<AnyBody>) -> Received {
        self.server.send(request).await
    }

    /// Checks by one call that the tunnel serves.
    pub(crate) async fn assert_serves(&self) {
        let response = self
            .send(post("still there?"))
            .await
            .expect("the tunnel serves");

        assert_eq!(
            read(response.into_body())
                .await
                .expect("the tunnel carries bodies"),
            "still there?"
        );
    }

    pub(crate) fn start_drain(&mut self) {
        self.drain
            .take()
            .expect("drained once")
            .send(())
            .expect("the relay's end runs");
    }

    pub(crate) async fn relay_ended(&mut self) -> TunnelEnd {
        self.relay
            .join_next()
            .await
            .expect("waited for once")
            .expect("the relay's end does not panic")
    }

    pub(crate) async fn server_ended(&mut self) -> TunnelEnd {
        self.driver
            .join_next()
            .await
            .expect("waited for once")
            .expect("the server's end does not panic")
    }

    /// Ends the relay's process.
    pub(crate) fn kill_relay(&mut self) {
        self.relay.abort_all();
    }

    /// Drops the driver of the server's end.
    pub(crate) fn drop_driver(&mut self) {
        self.driver.abort_all();
    }

    /// Drops the last handle of the server's end. The relay's end and the driver stay.
    pub(crate) fn without_server(
        self,
    ) -> (
        JoinSet<TunnelEnd>,
        JoinSet<TunnelEnd>,
        Option<oneshot::Sender<()>>,
    ) {
        (self.driver, self.relay, self.drain)
    }
}

/// Opens a server's end on one side of a wire, and runs its driver.
pub(crate) async fn open(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: TunnelConfig,
) -> (ServerEnd, JoinSet<TunnelEnd>) {
    let (server, driver) = ServerEnd::open(io, config);
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    (server, tasks)
}

/// Sends a relay's hello. From then on its side of the wire accepts no more than the wire holds.
pub(crate) async fn only_hello(mut peer: DuplexStream) -> DuplexStream {
    // One masked binary message, with a hello in it: 1 MiB of each body, 9 streams, heads below 64
    // KiB.
    let hello = b"\x82\x96\0\0\0\0\x01\0\0\0\0\0\0\0\x0d\x01\0\x10\0\0\0\0\0\x09\0\x01\0\0";
    peer.write_all(hello)
        .await
        .expect("the server's end listens");
    peer
}

/// A wire that can go silent: from then on it accepts everything and delivers nothing.
pub(crate) struct Wire {
    silence: Option<oneshot::Sender<()>>,
    carrier: JoinSet<()>,
}

impl Wire {
    pub(crate) fn new() -> (Self, (DuplexStream, DuplexStream)) {
        let (server_side, mut near_server) = tokio::io::duplex(WIRE_BYTES);
        let (relay_side, mut near_relay) = tokio::io::duplex(WIRE_BYTES);
        let (silence, silenced) = oneshot::channel();
        let mut carrier = JoinSet::new();
        carrier.spawn(async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near_server, &mut near_relay) => {}
                Ok(()) = silenced => {
                    let mut nowhere = tokio::io::sink();
                    let mut nowhere_else = tokio::io::sink();
                    let _ = tokio::join!(
                        tokio::io::copy(&mut near_server, &mut nowhere),
                        tokio::io::copy(&mut near_relay, &mut nowhere_else),
                    );
                }
            }
        });
        (
            Self {
                silence: Some(silence),
                carrier,
            },
            (server_side, relay_side),
        )
    }

    pub(crate) fn go_silent(&mut self) {
        self.silence
            .take()
            .expect("silent once")
            .send(())
            .expect("the wire carries");
    }

    pub(crate) fn cut(&mut self) {
        self.carrier.abort_all();
    }
}

/// The relay of most tests: the response's body is the request's.
pub(crate) async fn echo(request: Request<IncomingBody>) -> Response<AnyBody> {
    Response::new(request.into_body().map_err(Into::into).boxed_unsync())
}

pub(crate) fn get() -> Request<AnyBody> {
    request(Method::GET, empty())
}

pub(crate) fn post(body: impl Into<Bytes>) -> Request<AnyBody> {
    request(Method::POST, full(body))
}

pub(crate) fn upload(body: AnyBody) -> Request<AnyBody> {
    request(Method::POST, body)
}

pub(crate) fn request(method: Method, body: AnyBody) -> Request<AnyBody> {
    Request::builder()
        .method(method)
        .uri("http://relay/")
        .body(body)
        .expect("a valid request")
}

pub(crate) fn empty() -> AnyBody {
    Empty::new().map_err(Into::into).boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(Into::into).boxed_unsync()
}

pub(crate) fn streamed(
    chunks: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
) -> AnyBody {
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

/// A body that is fed by hand; it ends with the sender.
pub(crate) fn fed() -> (mpsc::Sender<Result<Bytes, BoxError>>, AnyBody) {
    let (feed, chunks) = mpsc::channel(1);
    (
        feed,
        streamed(stream::unfold(chunks, |mut chunks| async {
            Some((chunks.recv().await?, chunks))
        })),
    )
}

/// A body that breaks off behind its chunks.
pub(crate) fn broken_after(chunks: Vec<Bytes>) -> AnyBody {
    let chunks: Vec<Result<Bytes, BoxError>> = chunks
        .into_iter()
        .map(Ok)
        .chain([Err("torn".into())])
        .collect();
    streamed(stream::iter(chunks))
}

/// A body without an end, and the count of its bytes produced so far.
pub(crate) fn endless() -> (Arc<AtomicUsize>, AnyBody) {
    let produced = Arc::new(AtomicUsize::new(0));
    let counter = produced.clone();
    let chunks = stream::repeat_with(move || {
        counter.fetch_add(CHUNK_BYTES, Ordering::SeqCst);
        Ok(pattern(0, CHUNK_BYTES))
    });
    (produced, streamed(chunks))
}

/// A body, and a receiver that resolves when it is dropped.
pub(crate) fn guarded(body: AnyBody) -> (AnyBody, oneshot::Receiver<()>) {
    let (guard, dropped) = oneshot::channel();
    (
        body.map_frame(move |frame| (frame, &guard).0)
            .boxed_unsync(),
        dropped,
    )
}

/// A body of `length` bytes of the pattern, in pieces of changing size.
pub(crate) fn patterned(length: usize) -> AnyBody {
    streamed(stream::unfold(0, move |sent| async move {
        let piece = (length - sent).min(1 + sent % (3 * CHUNK_BYTES));
        (piece > 0).then(|| (Ok(pattern(sent, piece)), sent + piece))
    }))
}

/// Reads a patterned body to its end, checks every byte, and returns the length.
pub(crate) async fn read_patterned(mut body: IncomingBody) -> usize {
    let mut length = 0;
    while let Some(chunk) = next(&mut body).await {
        assert_eq!(
            chunk,
            pattern(length, chunk.len()),
            "the bytes from {length} on"
        );

        length += chunk.len();
    }
    length
}

/// `length` bytes that no shift of less than 64 KiB maps onto themselves.
fn pattern(start: usize, length: usize) -> Bytes {
    const PERIOD: usize = 65_521;
    static TABLE: LazyLock<Bytes> = LazyLock::new(|| {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let once: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        Bytes::from(once.repeat(6))
    });
    let start = start % PERIOD;
    TABLE.slice(start..start + length)
}

pub(crate) const CHUNK_BYTES: usize = 16 * 1024;

/// Returns the next piece of a body, or `None` at its clean end.
pub(crate) async fn next<B: Body<Data = Bytes, Error = IncomingBodyError> + Unpin>(
    body: &mut B,
) -> Option<Bytes> {
    let frame = body.frame().await?.expect("the body does not break off");
    Some(frame.into_data().expect("no trailers leave the tunnel"))
}

/// Reads a whole body.
pub(crate) async fn read(body: IncomingBody) -> Result<Bytes, IncomingBodyError> {
    Ok(body.collect().await?.to_bytes())
}

/// Reads a body until it breaks off. Returns the bytes before that, and the error.
pub(crate) async fn read_until_it_breaks(mut body: IncomingBody) -> (Vec<u8>, IncomingBodyError) {
    let mut bytes = Vec::new();
    loop {
        match body
            .frame()
            .await
            .expect("the body breaks off, it does not end")
        {
            Ok(frame) => {
                bytes.extend_from_slice(&frame.into_data().expect("no trailers leave the tunnel"))
            }
            Err(error) => return (bytes, error),
        }
    }
}

/// Polls a call once.
pub(crate) fn begin(call: Pin<&mut impl Future<Output = Received>>) {
    assert!(
        call.now_or_never().is_none(),
        "nothing can have answered yet"
    );
}

/// Runs a test with paused time. It fails once nothing but heartbeats has moved for a minute.
pub(crate) fn paused(test: impl Future<Output = ()>) {
    paused_for(Duration::from_secs(60), test);
}

/// The same, with more time on the paused clock.
pub(crate) fn paused_for(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let result = runtime
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(limit, test).await });
    result.expect("the test hangs");
}

/// Runs a test on two threads and the real clock, for effects of real concurrency.
pub(crate) fn threaded(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build();
    let result = runtime
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await });
    result.expect("the test hangs");
}

/// Waits until every task is idle: only then the paused clock advances.
pub(crate) async fn until_idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Writes bytes to one side of a wire, hangs up, and discards everything received.
pub(crate) async fn write_and_hang_up(mut io: DuplexStream, bytes: &[u8]) {
    let (mut reader, mut writer) = tokio::io::split(&mut io);
    let write = async {
        // The other side may have hung up before.
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let mut nowhere = tokio::io::sink();
    let _ = tokio::join!(write, tokio::io::copy(&mut reader, &mut nowhere));
}
