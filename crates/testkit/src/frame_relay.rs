//! Relays that send the tunnel's frames as a test asks for (docs/design/0001-tunnel.md).
//!
//! The frames are encoded and decoded here a second time, from the design, so that a fault of the
//! product's codec shows.

use bytes::{Buf, BufMut};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::soon;

/// The first event of a relay whose provider can be reached.
pub const OFFER: &str = "{\"event\":\"offer\",\"draining\":false,\"protected\":false,\"provider\":{\"status\":\"reachable\",\"for_ms\":0}}\n";

/// A relay whose frames a test sends.
pub struct FrameRelay {
    requests: mpsc::Receiver<FrameRequest>,
    frames: mpsc::Sender<Vec<u8>>,
    stops_reading: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// A request from the server.
pub struct FrameRequest {
    /// The path inside the tunnel, with its query.
    pub path: String,
    /// The stream for the answer.
    pub reply: Reply,
}

/// The stream on which a request is answered.
pub struct Reply {
    stream: u32,
    frames: mpsc::Sender<Vec<u8>>,
}

impl FrameRelay {
    /// Sends the hello frame and begins to read requests.
    pub(crate) fn start(socket: WebSocketStream<TcpStream>) -> Self {
        let (frames, to_send) = mpsc::channel(16);
        let (sender, requests) = mpsc::channel(64);
        let stops_reading = watch::Sender::new(false);
        let decoder = RequestDecoder {
            requests: sender,
            frames: frames.clone(),
        };

        let mut tasks = JoinSet::new();
        tasks.spawn(run(socket, to_send, decoder, stops_reading.subscribe()));
        Self {
            requests,
            frames,
            stops_reading,
            tasks,
        }
    }

    /// Waits for the next request from the server.
    pub async fn next_request(&mut self) -> FrameRequest {
        let request = soon("the server sends a request", self.requests.recv()).await;
        request.expect("a tunnel")
    }

    /// Answers the server's request for events. Returns the stream for them.
    pub async fn events(&mut self) -> Reply {
        self.events_of_any_id().await.1
    }

    /// Answers the next request for events of a relay with several ids. Returns the id and the
    /// stream for its events.
    pub async fn events_of_any_id(&mut self) -> (String, Reply) {
        let FrameRequest { path, reply } = self.next_request().await;
        let id = path.strip_prefix("/llamapool/events/");
        let id = id.expect("a request for events").to_owned();
        reply.head(200).await;
        (id, reply)
    }

    /// Answers the server's request for events with an offer. Returns the stream for further
    /// events.
    pub async fn send_offer(&mut self) -> Reply {
        let events = self.events().await;
        events.data(OFFER).await;
        events
    }

    /// Sends any bytes as a message of the tunnel.
    pub async fn inject(&mut self, bytes: &[u8]) {
        self.frames.send(bytes.to_vec()).await.expect("a tunnel");
    }

    /// Stops reading from the socket; pings stay unanswered too.
    pub fn stop_reading(&mut self) {
        self.stops_reading.send_replace(true);
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

    /// Sends a head with these fields.
    pub async fn head_with(&self, status: u16, fields: &[(&str, &str)]) {
        let mut head = status.to_be_bytes().to_vec();
        for (name, value) in fields {
            head.put_u16(name.len() as u16);
            head.put_u32(value.len() as u32);
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(value.as_bytes());
        }
        self.frame(HEAD, &head).await;
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

    /// Cancels the request.
    pub async fn cancel(&self) {
        self.frame(CANCEL, &[2]).await;
    }

    async fn frame(&self, kind: u8, content: &[u8]) {
        let sent = self.frames.send(frame(kind, self.stream, content)).await;
        sent.expect("a tunnel");
    }
}

// The kinds of frames that tests need.
const HELLO: u8 = 1;
const HEAD: u8 = 2;
const DATA: u8 = 3;
const CANCEL: u8 = 6;
/// The flag of a stream's last frame.
const ENDS: u8 = 0x80;
/// The length of a frame's prelude: kind, stream and length of the content.
const PRELUDE: usize = 9;

fn frame(kind: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.put_u32(stream);
    frame.put_u32(content.len() as u32);
    frame.extend_from_slice(content);
    frame
}

/// Builds the first frame of a relay: version 1, 64 KiB of each body unread, 4096 streams, heads
/// below 64 KiB.
fn hello() -> Vec<u8> {
    let mut hello = vec![1];
    hello.put_u32(64 << 10);
    hello.put_u32(4096);
    hello.put_u32(64 << 10);
    frame(HELLO, 0, &hello)
}

/// Copies frames between the socket and the test until the socket ends.
async fn run(
    socket: WebSocketStream<TcpStream>,
    mut to_send: mpsc::Receiver<Vec<u8>>,
    decoder: RequestDecoder,
    stops_reading: watch::Receiver<bool>,
) {
    let (mut sink, mut messages) = socket.split();
    if sink.send(Message::Binary(hello().into())).await.is_err() {
        return;
    }

    let mut unread = Vec::new();
    loop {
        // Not biased: neither direction may starve the other.
        tokio::select! {
            Some(frame) = to_send.recv() => {
                if sink.send(Message::Binary(frame.into())).await.is_err() {
                    return;
                }
            }
            message = messages.next(), if !*stops_reading.borrow() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    unread.extend_from_slice(&bytes);
                    decoder.decode(&mut unread).await;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
        }
    }
}

/// Finds the requests among the server's frames.
struct RequestDecoder {
    requests: mpsc::Sender<FrameRequest>,
    frames: mpsc::Sender<Vec<u8>>,
}

impl RequestDecoder {
    /// Takes the whole frames out of `unread` and sends the requests among them to the test.
    async fn decode(&self, unread: &mut Vec<u8>) {
        while let Some(mut prelude) = unread.get(..PRELUDE) {
            let kind = prelude.get_u8();
            let stream = prelude.get_u32();
            let length = prelude.get_u32() as usize;
            if unread.len() < PRELUDE + length {
                return;
            }

            let frame: Vec<u8> = unread.drain(..PRELUDE + length).collect();
            if kind & !ENDS == HEAD {
                let request = FrameRequest {
                    path: path(&frame[PRELUDE..]),
                    reply: Reply {
                        stream,
                        frames: self.frames.clone(),
                    },
                };
                // It fails when the test has dropped the relay.
                let _ = self.requests.send(request).await;
            }
        }
    }
}

/// Returns the path of a request, whose head begins with the method and the target, each behind its
/// length.
fn path(mut head: &[u8]) -> String {
    let method = head.get_u16().into();
    head.advance(method);
    let target = head.get_u32() as usize;
    let target = std::str::from_utf8(&head[..target]).expect("text");
    let path = target.strip_prefix("http://relay");
    path.unwrap_or(target).to_owned()
}
