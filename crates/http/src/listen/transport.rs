//! What carries HTTP on a connection that was accepted.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What carries HTTP on the connections of one listener. Clones carry alike.
pub trait Transport: Clone + Send + 'static {
    /// The bytes of HTTP.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Does what comes before HTTP. `None` ends the connection; its peer has then got what it can
    /// understand.
    ///
    /// The future is dropped when the time for it is over, when the place of the connection is
    /// needed, and when the listener ends.
    fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = Option<Self::Stream>> + Send;
}

/// The connection itself.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Transport for Plain {
    type Stream = TcpStream;

    async fn open(&self, stream: TcpStream, _: SocketAddr) -> Option<TcpStream> {
        Some(stream)
    }
}
