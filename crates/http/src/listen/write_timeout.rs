//! A connection that ends when its other end takes nothing of what is to be sent for too long.
//!
//! A connection on which nothing waits to be sent is not bounded here: a caller may listen to a
//! silent event stream for as long as it likes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection with a bound on the time in which nothing can be written.
pub(super) struct WriteTimeout<S> {
    stream: S,
    patience: Option<Duration>,
    /// Boxed, as few connections have one: it is made when the other end takes nothing.
    clock: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<S> WriteTimeout<S> {
    /// Wraps a connection. `None` is no bound.
    pub(super) fn new(stream: S, patience: Option<Duration>) -> Self {
        Self {
            stream,
            patience,
            clock: None,
            is_waiting: false,
        }
    }

    /// Returns the connection.
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the outcome of an attempt to write: an error if it is one too many.
    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(patience) = self.patience else {
            return written;
        };
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }

        let clock = self
            .clock
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if !std::mem::replace(&mut self.is_waiting, true) {
            clock.as_mut().reset(Instant::now() + patience);
        }
        if clock.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let message = format!("the caller took nothing for {patience:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.judge(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_loses_its_connection() {
        let (near, _far) = tokio::io::duplex(10);
        let mut near = WriteTimeout::new(near, Some(PATIENCE));
        let started = Instant::now();

        let error = near.write_all(&[7; 100]).await.unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_and_a_silent_one_keep_their_connection() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut near = WriteTimeout::new(near, Some(PATIENCE));
        let slow_reader = async {
            for _ in 0..10 {
                tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
                far.read_exact(&mut [0; 10]).await.unwrap();
            }
        };

        let (written, ()) = tokio::join!(near.write_all(&[7; 100]), slow_reader);
        written.unwrap();
        tokio::time::sleep(10 * PATIENCE).await;

        assert!(near.write_all(b"still here").await.is_ok());
    }
}
