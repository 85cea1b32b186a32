//! TLS on the connections of the public listener.

use std::net::SocketAddr;
use std::sync::Arc;

use llamapool_certificates::{AcceptError, Certificates, TlsStream};
use llamapool_http::listen::{Socket, Transport};
use prometheus::IntCounterVec;

use super::{OpenedTls, plain_http};
use crate::metrics::Metrics;

const FAILURES: &str = "TLS handshakes that gave no connection, by reason: plain_http, unknown_name, no_certificate, challenge (the check of an authority, which was answered), failed, and ended: it took longer than HEADER_TIMEOUT, or its place was needed.";

/// TLS on the connections of a listener.
#[derive(Clone)]
pub(crate) struct TlsTransport {
    certificates: Certificates,
    config: Arc<llamapool_certificates::ServerConfig>,
    failures: IntCounterVec,
}

/// A handshake that runs. Dropping it counts its end.
struct Handshake<'a> {
    failures: &'a IntCounterVec,
    /// `None` once there is a connection.
    outcome: Option<&'static str>,
}

impl TlsTransport {
    /// Returns TLS with these certificates.
    pub(crate) fn new(tls: &OpenedTls, counters: &Metrics) -> Self {
        Self {
            certificates: tls.certificates.clone(),
            config: tls.config.clone(),
            failures: counters.counter(
                "llamapool_tls_handshake_failures_total",
                FAILURES,
                &["reason"],
            ),
        }
    }

    async fn handshake(&self, socket: Socket) -> Result<TlsStream<Socket>, &'static str> {
        match plain_http::begins(&socket).await {
            Ok(false) => {}
            Ok(true) => {
                plain_http::refuse(socket).await;
                return Err("plain_http");
            }
            Err(_) => return Err("failed"),
        }

        let config = self.config.clone();
        let accepted = self.certificates.accept(config, socket).await;
        accepted.map_err(|error| {
            tracing::debug!(%error, "a TLS handshake gave no connection");
            match error {
                AcceptError::UnknownName(_) => "unknown_name",
                AcceptError::Challenge => "challenge",
                AcceptError::Handshake(_) if !self.certificates.is_ready() => "no_certificate",
                AcceptError::Handshake(_) => "failed",
            }
        })
    }
}

impl Transport for TlsTransport {
    type Stream = TlsStream<Socket>;

    async fn open(&self, socket: Socket, _: SocketAddr) -> Option<Self::Stream> {
        let mut running = Handshake {
            failures: &self.failures,
            outcome: Some("ended"),
        };
        let result = self.handshake(socket).await;
        running.outcome = result.as_ref().err().copied();
        result.ok()
    }

    fn socket(stream: &mut Self::Stream) -> &mut Socket {
        stream.get_mut().0
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        if let Some(reason) = self.outcome {
            self.failures.with_label_values(&[reason]).inc();
        }
    }
}
