//! Relays that a test plays by hand: the upgrade of their connection, and WebSocket messages.

use std::hash::{BuildHasher, RandomState};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Caller, FrameRelay, WORKER_KEY, read_head, soon};

/// Sends a request to a server and reads the head of the answer.
pub async fn raw_request(url: &str, request: &str) -> RawAnswer {
    let address = url.strip_prefix("http://").expect("a plain URL");
    let stream = TcpStream::connect(address).await;
    let mut stream = stream.expect("the server accepts connections");

    let sent = stream.write_all(request.as_bytes()).await;
    sent.expect("the server reads");
    let head = soon("the server answers", read_head(&mut stream)).await;

    let status = head.split(' ').nth(1);
    RawAnswer {
        status: status
            .and_then(|status| status.parse().ok())
            .expect("an HTTP answer"),
        head: head.to_ascii_lowercase(),
        stream,
    }
}

/// The head of an answer, and its connection.
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The connection; the body is unread.
    pub stream: TcpStream,
}

impl RawAnswer {
    /// Reads the answer's body.
    pub async fn json(mut self) -> Value {
        let length = self
            .head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next())
            .and_then(|length| length.parse().ok())
            .expect("a length");
        let mut body = vec![0; length];

        let read = soon("the body arrives", self.stream.read_exact(&mut body)).await;

        read.expect("a whole body");
        serde_json::from_slice(&body).expect("JSON")
    }
}

/// The upgrade that a relay asks for, with all its headers.
#[derive(Clone)]
pub struct Upgrade {
    path: &'static str,
    headers: Vec<(String, String)>,
}

impl Upgrade {
    /// Builds the upgrade of a real worker, with an instance id of its own.
    pub fn for_worker(id: &str) -> Self {
        Self {
            path: llamapool_wire::path::WORKER_CONNECT,
            ..Self::for_id(id)
        }
    }

    /// Builds the upgrade of a real relay, with an instance id of its own.
    pub fn for_id(id: &str) -> Self {
        let instance = format!("{:032x}", random_bits());
        let authorization = format!("Bearer {WORKER_KEY}");
        let headers = [
            ("host", "localhost"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "llamapool.v1"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("authorization", &authorization),
            ("llamapool-id", id),
            ("llamapool-name", "raw"),
            ("llamapool-version", "0"),
            ("llamapool-build", "0000000 2000-01-01T00:00:00Z"),
            ("llamapool-instance", &instance),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            path: llamapool_wire::path::MCP_CONNECT,
            headers: headers.to_vec(),
        }
    }

    /// Sets the only value of a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.with_another(name, value)
    }

    /// Adds one more value of a header.
    pub fn with_another(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// Formats the head of the request.
    pub fn head(&self, method: &str) -> String {
        let headers = self.headers.iter();
        let headers: String = headers
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let path = self.path;
        format!("{method} {path} HTTP/1.1\r\n{headers}\r\n")
    }

    /// Sends the upgrade to a server. Returns its answer.
    pub async fn answer(&self, server: &Caller) -> RawAnswer {
        raw_request(&server.url, &self.head("GET")).await
    }

    /// Connects to a server, which must admit the relay.
    pub async fn relay(&self, server: &Caller) -> RawRelay {
        let answer = self.answer(server).await;
        assert_eq!(answer.status, 101, "{}", answer.head);
        RawRelay {
            socket: WebSocketStream::from_raw_socket(answer.stream, Role::Client, None).await,
        }
    }
}

fn random_bits() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(0));
    half() << 64 | half()
}

/// A relay that was admitted and has sent nothing yet.
pub struct RawRelay {
    /// The WebSocket connection to the server.
    pub socket: WebSocketStream<TcpStream>,
}

impl RawRelay {
    /// Sends a message.
    pub async fn send(&mut self, message: Message) {
        let sent = self.socket.send(message).await;
        sent.expect("the server reads");
    }

    /// Answers pings until the server hangs up. Returns the code of its close frame, `None` without
    /// one.
    pub async fn closed(&mut self) -> Option<u16> {
        let end = async {
            while let Some(Ok(message)) = self.socket.next().await {
                if let Message::Close(frame) = message {
                    return frame.map(|frame| frame.code.into());
                }
            }
            None
        };
        soon("the server hangs up", end).await
    }

    /// Begins the tunnel's protocol (docs/design/0001-tunnel.md).
    pub fn frames(self) -> FrameRelay {
        FrameRelay::start(self.socket)
    }
}
