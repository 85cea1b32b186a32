//! Relays that do what no real one does: they connect by hand and send what a test says.

use std::time::Duration;

use bytes::{Buf, BufMut};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the server takes connections");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the server listens");
    let head = soon("the server answers", read_head(&mut stream)).await;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("an HTTP answer");
    RawAnswer {
        status,
        head: head.to_ascii_lowercase(),
        stream,
    }
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
        let length = self
            .head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let length = length
            .and_then(|length| length.parse().ok())
            .expect("a length");
        let mut body = vec![0; length];
        soon("the body arrives", self.stream.read_exact(&mut body))
            .await
            .expect("a whole body");
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
        Self(
            headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        )
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
        let headers: String = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
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
        RawRelay {
            socket: WebSocketStream::from_raw_socket(answer.stream, Role::Client, None).await,
        }
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

    /// Speaks in frames from here on (docs/design/0001-tunnel.md).
    pub fn frames(self) -> FrameRelay {
        let (frames, to_send) = mpsc::channel(16);
        let (requests, asked) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        let deaf = watch::Sender::new(false);
        tasks.spawn(carry(
            self.socket,
            to_send,
            Requests {
                requests,
                frames: frames.clone(),
            },
            deaf.subscribe(),
        ));
        FrameRelay {
            asked,
            frames,
            deaf,
            tasks,
        }
    }
}

/// A relay that speaks in frames as the test says.
pub struct FrameRelay {
    asked: mpsc::Receiver<FrameRequest>,
    frames: mpsc::Sender<Vec<u8>>,
    deaf: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// A request from the server.
pub struct FrameRequest {
    pub path: String,
    pub reply: Reply,
}

/// Where the answer to a request goes.
pub struct Reply {
    stream: u32,
    frames: mpsc::Sender<Vec<u8>>,
}

/// The first line of a relay whose provider is fine.
pub const OFFER: &str = "{\"event\":\"offer\",\"draining\":false,\"protected\":false,\"provider\":{\"status\":\"reachable\",\"for_ms\":0}}\n";

impl FrameRelay {
    /// The next request from the server.
    pub async fn asked(&mut self) -> FrameRequest {
        soon("the server asks", self.asked.recv())
            .await
            .expect("a tunnel")
    }

    /// Answers the server's request for events; where they go.
    pub async fn events(&mut self) -> Reply {
        self.events_of_any().await.1
    }

    /// The same where the relay has several ids: also the id whose events are asked for.
    pub async fn events_of_any(&mut self) -> (String, Reply) {
        let FrameRequest { path, reply } = self.asked().await;
        let id = path
            .strip_prefix("/llamapool/events/")
            .expect("a question for events")
            .to_owned();
        reply.head(200).await;
        (id, reply)
    }

    /// Says hello; where events go.
    pub async fn hello(&mut self) -> Reply {
        let events = self.events().await;
        events.data(OFFER).await;
        events
    }

    /// Puts any bytes into the tunnel.
    pub async fn inject(&mut self, bytes: &[u8]) {
        self.frames.send(bytes.to_vec()).await.expect("a tunnel");
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

impl Reply {
    /// Sends a head without fields.
    pub async fn head(&self, status: u16) {
        self.frame(HEAD, &status.to_be_bytes()).await;
    }

    /// Sends a piece of the body.
    pub async fn data(&self, data: impl AsRef<[u8]>) {
        self.frame(DATA, data.as_ref()).await;
    }

    /// Ends the body.
    pub async fn end(&self) {
        self.frame(DATA | ENDS, b"").await;
    }

    /// Sends a whole answer.
    pub async fn answer(&self, status: u16, body: &str) {
        self.head(status).await;
        self.data(body).await;
        self.end().await;
    }

    /// Gives the request up.
    pub async fn give_up(&self) {
        self.frame(CANCEL, &[2]).await;
    }

    async fn frame(&self, kind: u8, content: &[u8]) {
        self.frames
            .send(frame(kind, self.stream, content))
            .await
            .expect("a tunnel");
    }
}

// The kinds of frames that are needed here; this is the table of the design, written down a second time.
const HELLO: u8 = 1;
const HEAD: u8 = 2;
const DATA: u8 = 3;
const CANCEL: u8 = 6;
const ENDS: u8 = 0x80;

fn frame(kind: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.put_u32(stream);
    frame.put_u32(content.len() as u32);
    frame.extend_from_slice(content);
    frame
}

/// What a relay says first: version 1, room for 64 KiB of each body, 4096 streams, heads below 64 KiB.
fn hello() -> Vec<u8> {
    let mut hello = vec![1];
    hello.put_u32(64 << 10);
    hello.put_u32(4096);
    hello.put_u32(64 << 10);
    frame(HELLO, 0, &hello)
}

/// Carries frames between the socket and the test.
async fn carry(
    socket: WebSocketStream<TcpStream>,
    mut to_send: mpsc::Receiver<Vec<u8>>,
    requests: Requests,
    deaf: watch::Receiver<bool>,
) {
    let (mut messages_out, mut messages_in) = socket.split();
    if messages_out
        .send(Message::Binary(hello().into()))
        .await
        .is_err()
    {
        return;
    }
    let mut unread = Vec::new();
    loop {
        tokio::select! {
            Some(frame) = to_send.recv() => if messages_out.send(Message::Binary(frame.into())).await.is_err() {
                return;
            },
            message = messages_in.next(), if !*deaf.borrow() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    unread.extend_from_slice(&bytes);
                    requests.find(&mut unread).await;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
        }
    }
}

/// Finds the requests in what the server sends.
struct Requests {
    requests: mpsc::Sender<FrameRequest>,
    frames: mpsc::Sender<Vec<u8>>,
}

impl Requests {
    async fn find(&self, unread: &mut Vec<u8>) {
        const PRELUDE: usize = 9;
        while let Some(mut prelude) = unread.get(..PRELUDE) {
            let (kind, stream, length) = (
                prelude.get_u8(),
                prelude.get_u32(),
                prelude.get_u32() as usize,
            );
            if unread.len() < PRELUDE + length {
                return;
            }
            let frame: Vec<u8> = unread.drain(..PRELUDE + length).collect();
            if kind & !ENDS == HEAD {
                let reply = Reply {
                    stream,
                    frames: self.frames.clone(),
                };
                // It fails when the test asks for no more.
                let _ = self
                    .requests
                    .send(FrameRequest {
                        path: path(&frame[PRELUDE..]),
                        reply,
                    })
                    .await;
            }
        }
    }
}

/// The path of a request, whose head begins with the method and the target, each behind its length.
fn path(mut head: &[u8]) -> String {
    let method = head.get_u16().into();
    head.advance(method);
    let target = head.get_u32() as usize;
    let target = std::str::from_utf8(&head[..target]).expect("text");
    target
        .strip_prefix("http://relay")
        .unwrap_or(target)
        .to_owned()
}

/// Long after what is over at once is over.
pub const AT_ONCE: Duration = Duration::from_secs(1);
