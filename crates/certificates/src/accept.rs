//! The handshake with one client.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::challenge::ACME_TLS_ALPN;
use crate::resolver::{Certificates, is_challenge};

/// A record with the fatal alert `unrecognized_name` (RFC 8446, sections 5.1 and 6.2): type 21,
/// version 3.3, 2 bytes, level 2, description 112. rustls itself ends a handshake without certificate
/// with `access_denied`, by which a client cannot see that it asked for the wrong name.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A handshake that gave no connection for HTTP.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The handshake failed, or the connection ended.
    #[error(transparent)]
    Handshake(#[from] io::Error),
    /// The client asked for a name that no certificate is for.
    #[error("no certificate is for {0:?}, the name that the client asked for")]
    UnknownName(String),
    /// It was the check of an authority, which was answered.
    #[error("it was the check of an authority")]
    Challenge,
}

impl Certificates {
    /// Does the handshake with a client, with the configuration that
    /// [`Certificates::server_config`] made. The caller bounds its time.
    ///
    /// # Errors
    ///
    /// Any [`AcceptError`]; the client has got its alert, and the connection is to be closed.
    pub async fn accept<S>(
        &self,
        config: Arc<ServerConfig>,
        stream: S,
    ) -> Result<TlsStream<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;

        let hello = start.client_hello();
        if let Some(name) = hello.server_name()
            && !is_challenge(&hello)
            && self.is_ready()
            && self.find(Some(name)).is_none()
        {
            let name = name.to_owned();
            start.io.write_all(&UNRECOGNIZED_NAME).await?;
            start.io.shutdown().await?;
            return Err(AcceptError::UnknownName(name));
        }

        let mut stream = start.into_stream(config).await?;
        if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS_ALPN) {
            // The certificate was all that the authority wants to see (RFC 8737, section 3).
            stream.shutdown().await?;
            return Err(AcceptError::Challenge);
        }
        Ok(stream)
    }
}
