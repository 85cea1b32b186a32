//! A proxy with one fault, which the comparison of both routes must find.
//!
//! It stands between caller and provider instead of llamapool, one exchange a connection. Apart
//! from its fault it changes nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::RawHead;

/// The fault of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    DropsAHeaderOfTheRequest,
    DropsAHeader,
    AddsAHeader,
    JoinsValues,
    ReordersValues,
    ChangesTheStatus,
    /// A body with a length becomes chunked.
    Reframes,
    AddsAByte,
    ChangesAByte,
    ChangesAByteOfTheRequest,
    /// An id that looks random becomes another one.
    ChangesAnId,
    ReordersEvents,
    RepeatsAnEvent,
    /// A comment in the middle of an event.
    InterruptsAnEvent,
    /// A body that broke off ends cleanly.
    SwallowsAnAbort,
    /// A body that ended cleanly breaks off.
    BreaksOff,
    DelaysTheRequest,
    DelaysTheHead,
    DelaysEvents,
    DelaysTheEnd,
    DelaysLeaving,
}

/// Longer than the fastest class of durations (`pace.rs`).
const DELAY: Duration = Duration::from_millis(150);

/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The proxy. Dropping it ends it.
pub(crate) struct FaultyProxy {
    /// Its own host and port.
    pub(crate) authority: String,
    _tasks: JoinSet<()>,
}

impl FaultyProxy {
    /// Starts a proxy before the provider with this host and port.
    pub(crate) async fn before(provider: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let authority = listener.local_addr().expect("an address").to_string();
        let hop = Hop {
            fault,
            provider: provider.to_owned(),
            authority: authority.clone(),
        };

        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut exchanges = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let hop = hop.clone();
                exchanges.spawn(async move { hop.exchange(near).await });
            }
        });

        Self {
            authority,
            _tasks: tasks,
        }
    }
}

#[derive(Clone)]
struct Hop {
    fault: Fault,
    provider: String,
    authority: String,
}

impl Hop {
    /// Forwards one exchange; when either end closes, so does the other. `None` if an end breaks
    /// off before a complete head.
    async fn exchange(&self, caller: TcpStream) -> Option<()> {
        let (mut from_caller, mut to_caller) = caller.into_split();
        let (head, body_start) = read_head(&mut from_caller).await?;
        self.wait_if(Fault::DelaysTheRequest).await;

        let provider = TcpStream::connect(&self.provider).await.ok()?;
        let (mut from_provider, mut to_provider) = provider.into_split();
        to_provider.write_all(&self.request(head)).await.ok()?;

        let request = self.rest_of_the_request(body_start, &mut from_caller, &mut to_provider);
        let answer = async {
            let (head, body_start) = read_head(&mut from_provider).await?;
            self.wait_if(Fault::DelaysTheHead).await;
            let is_chunked = head.values("transfer-encoding") == ["chunked"];
            let is_open = !is_chunked && head.values("content-length").is_empty();
            to_caller.write_all(&self.answer(head)).await.ok()?;

            if self.needs_whole_body() {
                return self
                    .whole_body(body_start, &mut from_provider, &mut to_caller)
                    .await;
            }
            self.body(body_start, &mut from_provider, &mut to_caller, is_chunked)
                .await?;
            if is_open && self.fault == Fault::AddsAByte {
                to_caller.write_all(b" ").await.ok()?;
            }
            Some(())
        };

        tokio::select! {
            () = request => self.wait_if(Fault::DelaysLeaving).await,
            _ = answer => {}
        }
        Some(())
    }

    async fn wait_if(&self, fault: Fault) {
        if self.fault == fault {
            tokio::time::sleep(DELAY).await;
        }
    }

    /// Returns the head of the request with the provider's own address, as on the direct route.
    fn request(&self, mut head: RawHead) -> Vec<u8> {
        for (name, value) in &mut head.fields {
            if name == "host" {
                assert_eq!(value, self.authority.as_bytes());
                *value = self.provider.clone().into_bytes();
            }
        }

        if self.fault == Fault::DropsAHeaderOfTheRequest {
            head.fields.retain(|(name, _)| name != "mcp-param-region");
        }
        encode(&head)
    }

    /// Returns the head of the answer for the caller.
    fn answer(&self, mut head: RawHead) -> Vec<u8> {
        let position = |name: &str| head.fields.iter().position(|(field, _)| field == name);
        match self.fault {
            Fault::DropsAHeader => head.fields.retain(|(name, _)| name != "dpop-nonce"),
            Fault::AddsAHeader => head.fields.push(("via".to_owned(), b"1.1 faulty".to_vec())),
            Fault::JoinsValues | Fault::ReordersValues => {
                let values: Vec<_> = head.values("set-cookie");
                let first = position("set-cookie").expect("cookies");
                head.fields.retain(|(name, _)| name != "set-cookie");
                let values = match self.fault {
                    Fault::JoinsValues => vec![values.join(", ")],
                    _ => values.into_iter().rev().collect(),
                };
                let fields = values
                    .into_iter()
                    .map(|value| ("set-cookie".to_owned(), value.into_bytes()));
                head.fields.splice(first..first, fields);
            }
            Fault::ChangesTheStatus => {
                head.line = head.line.replace("HTTP/1.1 202", "HTTP/1.1 200")
            }
            Fault::Reframes => {
                head.fields.retain(|(name, _)| name != "content-length");
                head.fields
                    .push(("transfer-encoding".to_owned(), b"chunked".to_vec()));
            }
            _ => {}
        }

        encode(&head)
    }

    /// Forwards the body of the request until the caller disconnects.
    async fn rest_of_the_request(
        &self,
        start: Vec<u8>,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) {
        let mut piece = start;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let (Fault::ChangesAByteOfTheRequest, Some(first)) = (self.fault, piece.first_mut())
            {
                *first ^= 1;
            }

            if to.write_all(&piece).await.is_err() {
                // The provider reads no more, and may have answered all the same.
                return std::future::pending().await;
            }

            let length = from.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            piece = buffer[..length].to_vec();
        }
    }

    /// Returns whether the fault changes the body as a whole.
    fn needs_whole_body(&self) -> bool {
        use Fault::{InterruptsAnEvent, Reframes, ReordersEvents, RepeatsAnEvent};
        matches!(
            self.fault,
            Reframes | ReordersEvents | RepeatsAnEvent | InterruptsAnEvent
        )
    }

    /// Reads the whole body of the answer, changes it and sends it.
    async fn whole_body(
        &self,
        start: Vec<u8>,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> Option<()> {
        let mut body = start;
        while !body.ends_with(LAST_CHUNK) {
            if from.read_buf(&mut body).await.unwrap_or(0) == 0 {
                break;
            }
        }

        let first = chunk(": keep-alive\n\n");
        let second = chunk(":\r\n\r\n");
        let event = chunk("data: one\ndata:  two\ndata\n\n");
        let body = match self.fault {
            Fault::ReordersEvents => replaced(
                &body,
                &[&first[..], &second].concat(),
                &[&second[..], &first].concat(),
            ),
            Fault::RepeatsAnEvent => replaced(&body, &event, &[&event[..], &event].concat()),
            Fault::InterruptsAnEvent => replaced(
                &body,
                &event,
                &chunk("data: one\n:\n\ndata:  two\ndata\n\n"),
            ),
            _ => [
                format!("{:x}\r\n", body.len()).as_bytes(),
                &body,
                b"\r\n0\r\n\r\n",
            ]
            .concat(),
        };
        to.write_all(&body).await.ok()
    }

    /// Forwards the body of the answer piece by piece.
    async fn body(
        &self,
        start: Vec<u8>,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        is_chunked: bool,
    ) -> Option<()> {
        let mut piece = start;
        let mut tail = Vec::new();
        let mut buffer = vec![0; 64 * 1024];

        loop {
            tail.extend_from_slice(&piece);
            tail.drain(..tail.len().saturating_sub(LAST_CHUNK.len()));
            let is_end = is_chunked && tail == LAST_CHUNK;

            match self.fault {
                Fault::BreaksOff if is_end => return None,
                Fault::DelaysTheEnd if is_end => tokio::time::sleep(DELAY).await,
                Fault::DelaysEvents if contains(&piece, b"data:") => {
                    tokio::time::sleep(DELAY).await
                }
                Fault::ChangesAByte => {
                    piece = replaced(&piece, "\u{1f999}".as_bytes(), "\u{1f998}".as_bytes())
                }
                Fault::ChangesAnId => piece = replaced(&piece, b"0a1b2c3d", b"0a1b2c3e"),
                _ => {}
            }

            to.write_all(&piece).await.ok()?;
            let length = from.read(&mut buffer).await.unwrap_or(0);
            piece = buffer[..length].to_vec();

            if length == 0 {
                if self.fault == Fault::SwallowsAnAbort && is_chunked && !is_end {
                    to.write_all(LAST_CHUNK).await.ok()?;
                }
                return Some(());
            }
        }
    }
}

/// Reads the head of a message, and the part of the body that arrived with it.
async fn read_head(from: &mut OwnedReadHalf) -> Option<(RawHead, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let end = loop {
        if let Some(end) = position_of(&bytes, b"\r\n\r\n") {
            break end;
        }
        let length = from
            .read(&mut buffer)
            .await
            .ok()
            .filter(|length| *length > 0)?;
        bytes.extend_from_slice(&buffer[..length]);
    };

    let body = bytes.split_off(end + 4);
    let mut lines = bytes[..end]
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = String::from_utf8(lines.next()?.to_vec()).ok()?;
    let fields = lines.map(|field| {
        let colon = field
            .iter()
            .position(|byte| *byte == b':')
            .expect("a field with a colon");
        (
            String::from_utf8_lossy(&field[..colon]).into_owned(),
            field[colon + 1..].trim_ascii().to_vec(),
        )
    });
    let head = RawHead {
        line,
        fields: fields.collect(),
    };
    Some((head, body))
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn encode(head: &RawHead) -> Vec<u8> {
    let mut bytes = format!("{}\r\n", head.line).into_bytes();
    for (name, value) in &head.fields {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes
}

fn position_of(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    position_of(bytes, text).is_some()
}

/// Returns the bytes with the first occurrence of a text replaced.
fn replaced(bytes: &[u8], text: &[u8], by: &[u8]) -> Vec<u8> {
    match position_of(bytes, text) {
        Some(start) => [&bytes[..start], by, &bytes[start + text.len()..]].concat(),
        None => bytes.to_vec(),
    }
}
