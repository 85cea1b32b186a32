//! Relays that do what no real one does: they connect by hand and send what a test says.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::provider::read_head;
use super::{Pool, WORKER_KEY, soon};

/// Sends bytes to a server and reads the head of what it answers.
pub async fn raw_request(url: &str, request: &str) -> RawAnswer {
    let address = url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(address).await.expect("the server takes connections");
    stream.write_all(request.as_bytes()).await.expect("the server listens");
    let head = soon("the server answers", read_head(&mut stream)).await;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an HTTP answer");
    RawAnswer { status, head: head.to_ascii_lowercase(), stream }
}

/// The head of an answer, and its connection.
pub struct RawAnswer {
    pub status: u16,
    /// In small letters.
    pub head: String,
    pub stream: TcpStream,
}

impl RawAnswer {
    /// The answer's body.
    pub async fn json(mut self) -> Value {
        let length = self.head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length = length.and_then(|length| length.parse().ok()).expect("a length");
        let mut body = vec![0; length];
        soon("the body arrives", self.stream.read_exact(&mut body)).await.expect("a whole body");
        serde_json::from_slice(&body).expect("JSON")
    }
}

/// The upgrade that a relay asks for, with all its headers.
#[derive(Clone)]
pub struct Upgrade(Vec<(String, String)>);

impl Upgrade {
    /// What a real relay sends, as an instance of its own.
    pub fn of(id: &str) -> Self {
        let instance = format!("{:032x}", std::process::id() as u128 ^ instance_bits());
        let headers = [
            ("host", "localhost"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "llamapool.v1"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("authorization", &format!("Bearer {WORKER_KEY}")),
            ("llamapool-id", id),
            ("llamapool-name", "raw"),
            ("llamapool-version", "0"),
            ("llamapool-instance", &instance),
        ];
        Self(headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    }

    /// The same with another value of a header, or a new one.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(other, _)| other != name);
        self.also(name, value)
    }

    /// The same with one more value of a header.
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(other, _)| other != name);
        self
    }

    /// The head of the request.
    pub fn head(&self, method: &str) -> String {
        let headers: String = self.0.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{method} /api/mcp/connect HTTP/1.1\r\n{headers}\r\n")
    }

    /// What the server answers to it.
    pub async fn answer(&self, pool: &Pool) -> RawAnswer {
        raw_request(&pool.url, &self.head("GET")).await
    }

    /// A relay that was let in.
    pub async fn relay(&self, pool: &Pool) -> RawRelay {
        let answer = self.answer(pool).await;
        assert_eq!(answer.status, 101, "{}", answer.head);
        RawRelay { socket: WebSocketStream::from_raw_socket(answer.stream, Role::Client, None).await }
    }
}

fn instance_bits() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(0));
    half() << 64 | half()
}

/// A relay that was let in and has said nothing yet.
pub struct RawRelay {
    pub socket: WebSocketStream<TcpStream>,
}

impl RawRelay {
    /// Sends a message.
    pub async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("the server listens");
    }

    /// Answers pings until the server hangs up; the code with which it closed, if it gave one.
    pub async fn closed(&mut self) -> Option<u16> {
        let socket = &mut self.socket;
        let end = async {
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(frame) = message {
                    return frame.map(|frame| frame.code.into());
                }
            }
            None
        };
        soon("the server hangs up", end).await
    }

    /// Speaks HTTP/2 from here on.
    pub fn http2(self) -> Http2Relay {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (bytes, raw) = mpsc::channel(16);
        let (requests, asked) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        let deaf = watch::Sender::new(false);
        tasks.spawn(carry(self.socket, far, raw, deaf.subscribe()));
        tasks.spawn(accept(near, requests));
        Http2Relay { asked, bytes, deaf, tasks }
    }
}

/// A relay that speaks HTTP/2 as the test says.
pub struct Http2Relay {
    asked: mpsc::Receiver<(http::Request<RecvStream>, SendResponse<Bytes>)>,
    bytes: mpsc::Sender<Vec<u8>>,
    deaf: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// The first line of a relay whose provider is fine.
pub const OFFER: &str = "{\"event\":\"offer\",\"draining\":false,\"protected\":false,\"provider\":{\"status\":\"reachable\",\"for_ms\":0}}\n";

impl Http2Relay {
    /// The next request from the server.
    pub async fn asked(&mut self) -> (http::Request<RecvStream>, SendResponse<Bytes>) {
        soon("the server asks", self.asked.recv()).await.expect("a tunnel")
    }

    /// Answers the server's request for events; the stream into which they go.
    pub async fn events(&mut self) -> SendStream<Bytes> {
        self.events_of_any().await.1
    }

    /// The same where the relay has several ids: also the id whose events are asked for.
    pub async fn events_of_any(&mut self) -> (String, SendStream<Bytes>) {
        let (request, mut respond) = self.asked().await;
        let id = request.uri().path().strip_prefix("/llamapool/events/").expect("a question for events").to_owned();
        (id, respond.send_response(http::Response::new(()), false).expect("a head"))
    }

    /// Says hello; the stream of events.
    pub async fn hello(&mut self) -> SendStream<Bytes> {
        let mut events = self.events().await;
        events.send_data(OFFER.into(), false).expect("an open stream");
        events
    }

    /// Puts bytes into the tunnel that HTTP/2 did not make.
    pub async fn inject(&mut self, bytes: &[u8]) {
        self.bytes.send(bytes.to_vec()).await.expect("a tunnel");
    }

    /// Takes nothing more out of the socket, pings included.
    pub fn stop_reading(&mut self) {
        self.deaf.send_replace(true);
    }

    /// Waits until the server hangs up.
    pub async fn closed(&mut self) {
        while let Some(ended) = soon("the server hangs up", self.tasks.join_next()).await {
            ended.expect("no panic");
        }
    }
}

/// Carries the bytes of HTTP/2 in messages.
async fn carry(
    socket: WebSocketStream<TcpStream>,
    io: DuplexStream,
    mut raw: mpsc::Receiver<Vec<u8>>,
    deaf: watch::Receiver<bool>,
) {
    let (mut messages_out, mut messages_in) = socket.split();
    let (mut bytes_in, mut bytes_out) = tokio::io::split(io);
    let mut buffer = vec![0; 16 * 1024];
    let mut speaks = true;
    loop {
        let message = tokio::select! {
            read = bytes_in.read(&mut buffer), if speaks => match read {
                Ok(length) if length > 0 => Message::Binary(buffer[..length].to_vec().into()),
                // HTTP/2 is over, and the socket is the server's to close.
                _ => {
                    speaks = false;
                    continue;
                }
            },
            Some(bytes) = raw.recv() => Message::Binary(bytes.into()),
            message = messages_in.next(), if !*deaf.borrow() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    // It fails when HTTP/2 is over.
                    let _ = bytes_out.write_all(&bytes).await;
                    continue;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => return,
            },
        };
        if messages_out.send(message).await.is_err() {
            return;
        }
    }
}

async fn accept(io: DuplexStream, requests: mpsc::Sender<(http::Request<RecvStream>, SendResponse<Bytes>)>) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok(asked)) = connection.accept().await {
        if requests.send(asked).await.is_err() {
            return;
        }
    }
}

/// Long after what is over at once is over.
pub const AT_ONCE: Duration = Duration::from_secs(1);
