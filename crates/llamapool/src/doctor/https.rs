//! Requests to the server, each on a connection of its own, to the address that was found.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use llamapool_http::sse::{EventReader, is_event_stream};
use llamapool_relay::ServerProbe;
use llamapool_wire::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::answer::Answer;

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The agent of requests that play no particular client.
const AGENT: &str = concat!("llamapool-doctor/", env!("CARGO_PKG_VERSION"));

/// Sends requests to the server.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) way: Way,
    /// What stands in `Host`.
    pub(super) authority: String,
    pub(super) timeout: Duration,
}

/// The way to the server.
#[derive(Clone)]
pub(super) enum Way {
    /// A connection to an address.
    Direct {
        address: SocketAddr,
        /// How it speaks TLS, with the name of the certificate; `None`: not at all.
        tls: Option<(TlsConnector, ServerName<'static>)>,
    },
    /// As a relay connects, to this URL.
    OfRelay(Arc<ServerProbe>, Uri),
}

impl Client {
    /// Sends a request to a path.
    ///
    /// # Errors
    ///
    /// A text about what was in the way.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let exchange = timeout(self.timeout, self.exchange(request));
        let answer = exchange.await;
        answer.map_err(|_| format!("there was no whole answer within {:?}", self.timeout))?
    }

    /// Returns a client of another port of the same address, without TLS.
    pub(super) fn plain_on(&self, port: u16, host: &str) -> Self {
        let mut plain = self.clone();
        host.clone_into(&mut plain.authority);
        if let Way::Direct { address, tls } = &mut plain.way {
            address.set_port(port);
            *tls = None;
        }
        plain
    }

    /// Gets a path.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, String> {
        let request = Request::get(path).body(Full::default());
        self.send(request.map_err(|error| error.to_string())?).await
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(&self.authority).map_err(|error| error.to_string())?;
        headers.insert(HOST, host);
        let agent = headers.entry(USER_AGENT);
        agent.or_insert(HeaderValue::from_static(AGENT));

        let (address, tls) = match &self.way {
            Way::Direct { address, tls } => (address, tls),
            Way::OfRelay(probe, url) => {
                let stream = probe.connect(url).await?;
                return over(TokioIo::new(stream.into_io()), request).await;
            }
        };
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| error.to_string())?;
        match tls {
            None => over(stream, request).await,
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await;
                over(stream.map_err(|error| error.to_string())?, request).await
            }
        }
    }

    /// Returns when each piece of the data of an event stream arrived, after the request was sent.
    ///
    /// # Errors
    ///
    /// A text about what was in the way.
    pub(super) async fn event_times(
        &self,
        path: &str,
        key: Option<&Secret>,
    ) -> Result<Vec<Duration>, String> {
        let Way::OfRelay(probe, url) = &self.way else {
            return Err("streams are read on the way of a relay".to_owned());
        };
        let mut request = Request::get(path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, AGENT)
            .header(http::header::ACCEPT, "text/event-stream");
        if let Some(key) = key {
            let credential = format!("Bearer {}", key.expose());
            request = request.header(http::header::AUTHORIZATION, credential);
        }
        let request = request
            .body(Full::<Bytes>::default())
            .map_err(|error| error.to_string())?;
        let reading = async {
            let stream = probe.connect(url).await?;
            times_over(TokioIo::new(stream.into_io()), request).await
        };
        let times = timeout(self.timeout, reading).await;
        times.map_err(|_| format!("the stream had no end within {:?}", self.timeout))?
    }
}

/// Gets JSON of a process on this machine.
///
/// # Errors
///
/// A text for people, if it has none.
pub(crate) async fn local_json(
    address: SocketAddr,
    path: &str,
    key: Option<&Secret>,
    within: Duration,
) -> Result<serde_json::Value, String> {
    let client = Client {
        way: Way::Direct { address, tls: None },
        authority: address.to_string(),
        timeout: within,
    };
    let mut request = Request::get(path);
    if let Some(key) = key {
        let credential = format!("Bearer {}", key.expose());
        request = request.header(http::header::AUTHORIZATION, credential);
    }
    let request = request.body(Full::default());
    let answer = client
        .send(request.map_err(|error| error.to_string())?)
        .await?;
    answer.json().ok_or_else(|| answer.shown())
}

/// Sends the one request of a connection.
async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body = if is_event_stream(&head.headers) {
            first_message(body).await?
        } else {
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
            body.to_bytes().to_vec()
        };
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    tokio::select! {
        biased;
        answer = exchange => answer,
        // The connection moves only while it is polled. Its end is seen by the exchange.
        () = async { connection.await.ok(); std::future::pending().await } => {
            Err("the connection broke".to_owned())
        }
    }
}

/// Reads an event stream to its end. Returns when its events arrived.
async fn times_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Vec<Duration>, String> {
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    // The connection is driven until this function returns.
    let mut driver = JoinSet::new();
    driver.spawn(connection);

    let sent = Instant::now();
    let answer = sender.send_request(request).await.map_err(broken)?;
    if !answer.status().is_success() {
        let cause = answer.headers().get("llamapool-error");
        let cause = cause
            .and_then(|cause| cause.to_str().ok())
            .unwrap_or("no cause");
        return Err(format!(
            "the status is {}, {cause}",
            answer.status().as_u16()
        ));
    }
    let mut body = answer.into_body();
    let mut events = EventReader::new(MAX_ANSWER_BYTES);
    let mut times = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the event stream broke off: {error}"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let mut piece = &data[..];
        while let Some(event) = events
            .next_event(&mut piece)
            .map_err(|error| error.to_string())?
        {
            if !event.is_empty() {
                times.push(sent.elapsed());
            }
        }
    }
    Ok(times)
}

/// Returns the first message of an event stream that answers a request. The stream may go on for ever.
async fn first_message(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut events = EventReader::new(MAX_ANSWER_BYTES);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the event stream broke off: {error}"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let mut piece = &data[..];
        while let Some(event) = events
            .next_event(&mut piece)
            .map_err(|error| error.to_string())?
        {
            let message: Option<serde_json::Value> = serde_json::from_slice(&event).ok();
            let is_answer = |message: serde_json::Value| {
                message.get("result").is_some() || message.get("error").is_some()
            };
            if message.is_some_and(is_answer) {
                return Ok(event);
            }
        }
    }
    Err("the event stream ended without an answer".to_owned())
}
