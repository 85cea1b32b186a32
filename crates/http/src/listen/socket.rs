//! The socket of a connection, which can be taken to another thread.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The socket of a connection that was accepted. It belongs to the runtime that watches it.
#[derive(Debug)]
pub struct Socket {
    /// `None` only where a move has failed, and the connection with it.
    stream: Option<TcpStream>,
}

impl Socket {
    /// Returns the socket as one of tokio's.
    ///
    /// # Errors
    ///
    /// The connection was lost on its way to another thread.
    pub fn stream(&self) -> io::Result<&TcpStream> {
        self.stream.as_ref().ok_or_else(lost)
    }

    /// Has the runtime of the task that calls it watch the socket from now on. Returns `false`, and logs why, if
    /// the connection was lost by it.
    pub(super) fn move_here(&mut self) -> bool {
        let watched = self
            .stream
            .take()
            .ok_or_else(lost)
            .and_then(|stream| TcpStream::from_std(stream.into_std()?));
        match watched {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => {
                tracing::warn!(%error, "a connection was lost on its way to another thread")
            }
        }
        self.stream.is_some()
    }

    fn pinned(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        self.get_mut()
            .stream
            .as_mut()
            .map(Pin::new)
            .ok_or_else(lost)
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream: Some(stream),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pinned()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_shutdown(cx)
    }
}

fn lost() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the connection was lost on its way to another thread",
    )
}
