//! What carries HTTP on a connection that was accepted.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use super::socket::Socket;

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
        socket: Socket,
        peer: SocketAddr,
    ) -> impl Future<Output = Option<Self::Stream>> + Send;

    /// Returns the socket that the bytes go through.
    fn socket(stream: &mut Self::Stream) -> &mut Socket;
}

/// The connection itself.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Transport for Plain {
    type Stream = Socket;

    async fn open(&self, socket: Socket, _: SocketAddr) -> Option<Socket> {
        Some(socket)
    }

    fn socket(stream: &mut Socket) -> &mut Socket {
        stream
    }
}
