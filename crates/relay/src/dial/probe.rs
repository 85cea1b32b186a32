//! Looks at the way to the server, with the code that dials it, and takes no id: for `llamapool doctor`.

use std::future::Future;

use http::{HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_rustls::MaybeHttpsStream;
use llamapool_http::{BoxError, host};
use llamapool_wire::{ASK_PROTOCOL, AskAnswer, RelayId};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use super::handshake::{read_refusal, upgrade_request};
use super::transport::{self, Transport};
use super::{DialError, Dialer, port};
use crate::config::RelayConfig;
use crate::error::error_chain;
use crate::relay::StartError;
use crate::tls::tls_config;

/// The longest answer to the question about ids that is read, in bytes: 64 ids and names.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The way of a relay to its server.
pub struct ServerProbe {
    dialer: Dialer,
}

/// A byte stream to the server, behind proxy and TLS.
pub struct ProbedStream(Transport);

impl ServerProbe {
    /// The way of a relay with this configuration.
    ///
    /// # Errors
    ///
    /// If the certificates or the proxy of the configuration cannot be used.
    pub fn new(config: &RelayConfig) -> Result<Self, StartError> {
        let tls = tls_config(config.dial.ca_file.as_deref())?;
        Ok(Self {
            dialer: Dialer::new(config, tls)?,
        })
    }

    /// Returns the URL that is dialled, as http or https.
    pub fn target(&self) -> &Uri {
        &self.dialer.target
    }

    /// Returns the address of the server, and the proxy on the way, for messages.
    pub fn shown(&self) -> String {
        self.dialer.server()
    }

    /// Returns the proxy on the way and where it was set, for messages.
    pub fn proxy(&self) -> Option<&str> {
        let proxy = self.dialer.proxy.as_ref();
        proxy.map(|proxy| proxy.shown.as_str())
    }

    /// Returns whether the server is one of this machine.
    pub fn is_local(&self) -> bool {
        host::is_loopback(self.target().host().unwrap_or_default())
    }

    /// Returns the addresses of the first hop: the proxy, or the server itself.
    ///
    /// # Errors
    ///
    /// A text for people, if its name has none.
    pub async fn addresses(&self) -> Result<Vec<std::net::IpAddr>, String> {
        let hop = self.first_hop();
        let host = hop.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let looked_up = self.in_time(async {
            let found = lookup_host((bare, port(hop))).await;
            found.map_err(|error| format!("{host} has no address: {error}"))
        });
        let mut addresses = Vec::new();
        for found in looked_up.await? {
            if !addresses.contains(&found.ip()) {
                addresses.push(found.ip());
            }
        }
        Ok(addresses)
    }

    /// Connects to the first hop, and hangs up.
    ///
    /// # Errors
    ///
    /// A text for people.
    pub async fn connect_tcp(&self) -> Result<(), String> {
        let hop = self.first_hop();
        let host = hop.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let connecting = TcpStream::connect((bare, port(hop)));
        self.in_time(async { connecting.await.map_err(|error| error.to_string()) })
            .await
            .map(drop)
    }

    /// Connects to a URL as to the server: through the same proxy, with the same authorities.
    ///
    /// # Errors
    ///
    /// A text for people.
    pub async fn connect(&self, target: &Uri) -> Result<ProbedStream, String> {
        let is_of_server = target.host() == self.target().host();
        // Another host may be one that is reached without the proxy.
        let proxy = self.dialer.proxy.as_ref().filter(|_| is_of_server);
        let connecting = transport::connect(target, proxy, &self.dialer.tls);
        self.in_time(connecting).await.map(ProbedStream)
    }

    /// Asks what would become of a claim of these ids, and claims none. `None`: the server does not
    /// know the question.
    ///
    /// # Errors
    ///
    /// As for a relay that dials.
    pub async fn ask(&self, wanted: &[Option<RelayId>]) -> Result<Option<AskAnswer>, DialError> {
        let asking = self.ask_now(wanted);
        let timeout = self.dialer.timeout;
        let asked = tokio::time::timeout(timeout, asking).await;
        asked.unwrap_or_else(|_| {
            Err(DialError::Timeout {
                server: self.shown(),
                timeout,
            })
        })
    }

    async fn ask_now(&self, wanted: &[Option<RelayId>]) -> Result<Option<AskAnswer>, DialError> {
        let dialer = &self.dialer;
        let io = dialer.connect().await?;
        let wrong = |error: BoxError| DialError::Handshake(error_chain(&*error));
        let (mut sender, connection) = http1::handshake(io)
            .await
            .map_err(|error| dialer.exchange_error(&error))?;
        // The connection is driven until this function returns.
        let mut driver = JoinSet::new();
        driver.spawn(connection);

        let key = generate_key();
        let request = upgrade_request(&dialer.target, &dialer.identity, wanted, &key);
        let mut request = request.map_err(|error| wrong(error.into()))?;
        let protocol = HeaderValue::from_static(ASK_PROTOCOL);
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| dialer.exchange_error(&error))?;
        match response.status() {
            StatusCode::OK => {
                let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
                let body = body.await.map_err(wrong)?.to_bytes();
                let answer = serde_json::from_slice(&body);
                answer.map(Some).map_err(|error| wrong(error.into()))
            }
            StatusCode::UPGRADE_REQUIRED => Ok(None),
            _ => Err(read_refusal(response, dialer.target.path()).await),
        }
    }

    fn first_hop(&self) -> &Uri {
        let proxy = self.dialer.proxy.as_ref();
        proxy.map_or(&self.dialer.target, |proxy| &proxy.uri)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let timeout = self.dialer.timeout;
        let done = tokio::time::timeout(timeout, work).await;
        done.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}, see CONNECT_TIMEOUT")))
    }
}

impl ProbedStream {
    /// Returns the server's own certificate as DER, `None` without TLS.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let certificates = self.session()?.peer_certificates()?;
        certificates.first().map(|it| it.as_ref().to_vec())
    }

    /// Returns the version of TLS, `None` without TLS.
    pub fn tls_version(&self) -> Option<&'static str> {
        match self.session()?.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => Some("TLS 1.2"),
            _ => Some("TLS 1.3"),
        }
    }

    fn session(&self) -> Option<&rustls::ClientConnection> {
        match &self.0 {
            MaybeHttpsStream::Http(_) => None,
            MaybeHttpsStream::Https(stream) => Some(stream.inner().get_ref().1),
        }
    }

    /// Returns the stream for HTTP.
    pub fn into_io(self) -> impl Read + Write + Unpin + Send + 'static {
        self.0
    }
}
