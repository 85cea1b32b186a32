//! The body of a provider's response: here in whole, or read by the task that wants it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use llamapool_http::http1::ClientError;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::IdleConnections;
use crate::providers::connection::ProviderConnection;

/// The body of a provider's response. Dropping it before its end closes the connection.
pub(crate) struct ProviderBody {
    source: Source,
    /// The length that is still to come, where the head has announced it.
    left: Option<u64>,
}

enum Source {
    /// All that is left of it is here.
    Here(Bytes),
    /// It is read from a connection.
    Connection(Reader),
    /// It is read from a connection on which a task still sends the request: that goes on even while
    /// the response is not read.
    Upload {
        shared: Arc<Mutex<Upload>>,
        _task: JoinSet<()>,
    },
    Ended,
}

/// A connection on which a response arrives.
struct Reader {
    connection: ProviderConnection,
    /// A piece that was taken from the connection before.
    first: Bytes,
    /// Where the connection goes when the response is read, if it is to be used again.
    idle: Option<Arc<IdleConnections>>,
}

/// A connection on which a request is sent while its response arrives.
struct Upload {
    connection: ProviderConnection,
    /// The reason why the request cannot be sent to its end.
    error: Option<ClientError>,
    reader: Option<Waker>,
}

impl ProviderBody {
    /// The body behind the head that a connection has read. The connection becomes idle, if it is to be
    /// reused.
    pub(super) fn new(
        mut connection: ProviderConnection,
        idle: Option<Arc<IdleConnections>>,
    ) -> Self {
        let left = connection.body_bytes_left();
        if !connection.is_request_sent() {
            let upload = Arc::new(Mutex::new(Upload {
                connection,
                error: None,
                reader: None,
            }));
            let mut task = JoinSet::new();
            task.spawn(send_rest(upload.clone()));
            let source = Source::Upload {
                shared: upload,
                _task: task,
            };
            return Self { source, left };
        }

        let first = match connection.arrived_body() {
            Some(Ok(data)) => data,
            // It is the next piece's error.
            Some(Err(_)) | None => Bytes::new(),
        };
        if !connection.is_response_read() {
            let reader = Reader {
                connection,
                first,
                idle,
            };
            let source = Source::Connection(reader);
            return Self { source, left };
        }

        give_back(connection, idle);
        let source = if left == Some(0) {
            Source::Ended
        } else {
            Source::Here(first)
        };
        Self { source, left }
    }
}

impl ProviderBody {
    /// Returns the body if all that is left of it is here, and its length is known by that: an empty body
    /// without an announced length still has an end to be read.
    pub(crate) fn into_whole(self) -> Result<Bytes, Self> {
        match self.source {
            Source::Here(data) if !data.is_empty() => Ok(data),
            Source::Ended => Ok(Bytes::new()),
            _ => Err(self),
        }
    }
}

impl Reader {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ClientError>>> {
        if self.first.is_empty() {
            self.connection.poll_body(cx)
        } else {
            Poll::Ready(Some(Ok(std::mem::take(&mut self.first))))
        }
    }
}

impl Upload {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ClientError>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = self.connection.poll_body(cx);
        if polled.is_pending() {
            self.reader = Some(cx.waker().clone());
        }
        polled
    }
}

/// Sends the rest of a request.
async fn send_rest(upload: Arc<Mutex<Upload>>) {
    let sent = poll_fn(|cx| upload.lock().connection.poll_send(cx)).await;
    if let Err(error) = sent {
        let mut upload = upload.lock();
        upload.error = Some(error);
        if let Some(reader) = upload.reader.take() {
            reader.wake();
        }
    }
}

fn give_back(mut connection: ProviderConnection, idle: Option<Arc<IdleConnections>>) {
    if let Some(idle) = idle
        && connection.is_free()
    {
        idle.put(connection);
    }
}

impl Body for ProviderBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        let this = self.get_mut();
        let (piece, is_over) = match &mut this.source {
            Source::Here(data) if data.is_empty() => (None, true),
            Source::Here(data) => (Some(Ok(std::mem::take(data))), true),
            Source::Connection(reader) => {
                let piece = ready!(reader.poll_piece(cx));
                (piece, reader.connection.is_response_read())
            }
            Source::Upload { shared, .. } => {
                let mut upload = shared.lock();
                let piece = ready!(upload.poll_piece(cx));
                (piece, upload.connection.is_response_read())
            }
            Source::Ended => return Poll::Ready(None),
        };

        let is_broken = matches!(piece, Some(Err(_)));
        if (is_over || is_broken || piece.is_none())
            && let Source::Connection(reader) = std::mem::replace(&mut this.source, Source::Ended)
        {
            give_back(reader.connection, reader.idle);
        }
        if let (Some(left), Some(Ok(data))) = (&mut this.left, &piece) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
