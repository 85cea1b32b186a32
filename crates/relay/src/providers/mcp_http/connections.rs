//! The connections to the provider: made when one is wanted, and kept for the next call while they are free.
//!
//! The one rule: a kept connection is hung up before the provider is likely to. A request that meets the closing is lost, as
//! it must not be sent twice.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use llamapool_http::BoxError;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_service::Service;

use super::line::{Line, NotAnswered};
use super::{Connector, Io, RequestBody};

/// How long a free connection is kept. Common servers close theirs after 5 s.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);
/// How many free connections are kept.
const IDLE_CONNECTIONS: usize = 256;
/// How often it is looked for those that have been free for too long.
const IDLE_LOOK: Duration = Duration::from_millis(500);

/// The connections.
pub(super) struct Connections {
    connector: Connector,
    /// What requests say of where they go.
    host: Option<HeaderValue>,
    kept: Arc<Kept>,
}

/// Which connection a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// One that is kept, if there is one, and that is kept again.
    Kept,
    /// One of its own. A provider that redirects often has not read the request, and hangs up without a word: a request
    /// that met this on a kept connection would be lost.
    ItsOwn,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("no connection")]
    Unreachable(#[source] BoxError),
    #[error("the connection was lost")]
    Lost(#[source] hyper::Error),
}

impl Connections {
    /// Connections to the host of a URL.
    pub(super) fn new(connector: Connector, url: &Uri) -> Self {
        Self {
            connector,
            host: host(url),
            kept: Arc::default(),
        }
    }

    /// Connects.
    pub(super) async fn connect(&self, url: &Uri) -> Result<Io, BoxError> {
        self.connector.clone().call(url.clone()).await
    }

    /// Sends a request to where its URL says; `is_sent` knows whether all of its body has gone.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
        on: On,
        is_sent: impl Fn() -> bool,
    ) -> Result<Response<ProviderBody>, SendError> {
        let url = std::mem::take(request.uri_mut());
        if let Some(host) = &self.host {
            request
                .headers_mut()
                .entry(HOST)
                .or_insert_with(|| host.clone());
        }
        *request.uri_mut() = url
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/"))
            .into();
        loop {
            let kept = if on == On::Kept {
                self.kept.take()
            } else {
                None
            };
            let was_kept = kept.is_some();
            let mut line = match kept {
                Some(line) => line,
                // Boxed, as most calls find one that is kept.
                None => Box::pin(self.open(&url)).await?,
            };
            match line.ask(request).await {
                Ok(answer) => {
                    let mover = if is_sent() {
                        Mover::Reader(line, (on == On::Kept).then(|| self.kept.clone()))
                    } else {
                        let mut task = JoinSet::new();
                        task.spawn(line.finish());
                        Mover::Task { _task: task }
                    };
                    return Ok(answer.map(|incoming| ProviderBody { incoming, mover }));
                }
                Err(NotAnswered::NotBegun(again, _)) if was_kept => request = *again,
                Err(NotAnswered::NotBegun(_, error) | NotAnswered::Begun(error)) => {
                    return Err(SendError::Lost(error));
                }
            }
        }
    }

    /// Hangs up what has been free for too long, for as long as the relay lives.
    pub(super) async fn tidy(&self) {
        loop {
            self.kept.some.notified().await;
            while !self.kept.lines().is_empty() {
                tokio::time::sleep(IDLE_LOOK).await;
                self.kept.lines().retain_mut(|(line, since)| {
                    since.elapsed() < IDLE_CONNECTION && line.is_free()
                });
            }
        }
    }

    async fn open(&self, url: &Uri) -> Result<Line, SendError> {
        let io = self.connect(url).await.map_err(SendError::Unreachable)?;
        Line::open(io).await.map_err(SendError::Lost)
    }
}

/// The free connections, the one that was used last at the end.
#[derive(Default)]
struct Kept {
    lines: Mutex<Vec<(Line, Instant)>>,
    some: Notify,
}

impl Kept {
    /// One that is free still. The one that was used last is the least likely to be closed by now.
    fn take(&self) -> Option<Line> {
        loop {
            let (mut line, since) = self.lines().pop()?;
            if since.elapsed() < IDLE_CONNECTION && line.is_free() {
                return Some(line);
            }
        }
    }

    fn keep(&self, line: Line) {
        let mut lines = self.lines();
        if lines.is_empty() {
            self.some.notify_one();
        }
        if lines.len() < IDLE_CONNECTIONS {
            lines.push((line, Instant::now()));
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<(Line, Instant)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What requests say of where they go (RFC 9110, 7.2): no port that is the scheme's own.
fn host(url: &Uri) -> Option<HeaderValue> {
    let (host, own_port) = (
        url.host()?,
        if url.scheme_str() == Some("https") {
            443
        } else {
            80
        },
    );
    match url.port_u16().filter(|&port| port != own_port) {
        Some(port) => HeaderValue::from_maybe_shared(Bytes::from(format!("{host}:{port}"))).ok(),
        None => HeaderValue::from_str(host).ok(),
    }
}

/// The body of a provider's answer.
pub(crate) struct ProviderBody {
    incoming: Incoming,
    mover: Mover,
}

/// Who moves the connection of an answer along.
enum Mover {
    /// Who reads the answer; then the connection goes where it is kept, if it is to be.
    Reader(Line, Option<Arc<Kept>>),
    /// A task, for as long as the answer is read: the rest of the request must get on even while nobody reads.
    Task { _task: JoinSet<()> },
    /// Nobody any more.
    Nobody,
}

impl Body for ProviderBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let mut incoming = Pin::new(&mut this.incoming);
        let mut polled = incoming.as_mut().poll_frame(cx);
        if let (Poll::Pending, Mover::Reader(line, _)) = (&polled, &mut this.mover) {
            line.drive(cx);
            polled = incoming.poll_frame(cx);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ProviderBody {
    fn drop(&mut self) {
        // One with an answer that was not read to its end is not free, and is hung up.
        if let Mover::Reader(mut line, Some(kept)) =
            std::mem::replace(&mut self.mover, Mover::Nobody)
            && line.is_free()
        {
            kept.keep(line);
        }
    }
}

#[cfg(test)]
mod tests;
