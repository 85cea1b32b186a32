//! A proxy that does one thing wrong: what the comparison of both ways must find.
//!
//! It is between caller and provider in llamapool's place, one exchange a connection. The one rule: but for its one fault
//! it changes nothing, or the test of a fault would be a test of the proxy.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::RawHead;

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    DropsAHeaderOfTheRequest,
    DropsAHeader,
    AddsAHeader,
    JoinsValues,
    ReordersValues,
    ChangesTheStatus,
    /// A length becomes chunks.
    Reframes,
    AddsAByte,
    ChangesAByte,
    ChangesAByteOfTheRequest,
    /// An id that looks random becomes another one.
    ChangesAnId,
    ReordersEvents,
    RepeatsAnEvent,
    /// A comment where an event has begun.
    InterruptsAnEvent,
    /// A body that broke off ends well.
    SwallowsAnAbort,
    /// A body that ended well breaks off.
    BreaksOff,
    DelaysTheRequest,
    DelaysTheHead,
    DelaysEvents,
    DelaysTheEnd,
    DelaysLeaving,
}

/// More than the class of times that is not noticed.
const DELAY: Duration = Duration::from_millis(150);

/// The end of a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The proxy. Dropping it ends it.
pub(crate) struct FaultyProxy {
    /// Where it is called.
    pub(crate) authority: String,
    _tasks: JoinSet<()>,
}

impl FaultyProxy {
    /// A proxy before the provider with this host and port.
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
    /// One exchange; when either end is gone, so is the other. Nothing, if one breaks off too early.
    async fn exchange(&self, near: TcpStream) -> Option<()> {
        let (mut from_near, mut to_near) = near.into_split();
        let (asked, begun) = read_head(&mut from_near).await?;
        self.wait_if(Fault::DelaysTheRequest).await;
        let (mut from_far, mut to_far) =
            TcpStream::connect(&self.provider).await.ok()?.into_split();
        to_far.write_all(&self.request(asked)).await.ok()?;
        let request = self.rest_of_the_request(begun, &mut from_near, &mut to_far);
        let answer = async {
            let (head, begun) = read_head(&mut from_far).await?;
            self.wait_if(Fault::DelaysTheHead).await;
            let is_chunked = head.values("transfer-encoding") == ["chunked"];
            let is_open = !is_chunked && head.values("content-length").is_empty();
            to_near.write_all(&self.answer(head)).await.ok()?;
            if self.needs_all() {
                return self.whole_body(begun, &mut from_far, &mut to_near).await;
            }
            self.body(begun, &mut from_far, &mut to_near, is_chunked)
                .await?;
            if is_open && self.fault == Fault::AddsAByte {
                to_near.write_all(b" ").await.ok()?;
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

    /// The head of the request for the provider: with its own address, as if there were nobody in between.
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
        written(&head)
    }

    /// The head of the answer for the caller.
    fn answer(&self, mut head: RawHead) -> Vec<u8> {
        let place = |name: &str| head.fields.iter().position(|(field, _)| field == name);
        match self.fault {
            Fault::DropsAHeader => head.fields.retain(|(name, _)| name != "dpop-nonce"),
            Fault::AddsAHeader => head.fields.push(("via".to_owned(), b"1.1 faulty".to_vec())),
            Fault::JoinsValues | Fault::ReordersValues => {
                let values: Vec<_> = head.values("set-cookie");
                let first = place("set-cookie").expect("cookies");
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
        written(&head)
    }

    /// The body of the request, until the caller leaves.
    async fn rest_of_the_request(
        &self,
        begun: Vec<u8>,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) {
        let (mut piece, mut room) = (begun, vec![0; 64 * 1024]);
        loop {
            if let (Fault::ChangesAByteOfTheRequest, Some(first)) = (self.fault, piece.first_mut())
            {
                *first ^= 1;
            }
            if to.write_all(&piece).await.is_err() {
                // The provider has had enough, and may have answered all the same.
                return std::future::pending().await;
            }
            let length = from.read(&mut room).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            piece = room[..length].to_vec();
        }
    }

    /// Whether the fault is one of the whole body.
    fn needs_all(&self) -> bool {
        use Fault::{InterruptsAnEvent, Reframes, ReordersEvents, RepeatsAnEvent};
        matches!(
            self.fault,
            Reframes | ReordersEvents | RepeatsAnEvent | InterruptsAnEvent
        )
    }

    async fn whole_body(
        &self,
        begun: Vec<u8>,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> Option<()> {
        let mut body = begun;
        while !body.ends_with(LAST_CHUNK)
            && from
                .read_buf(&mut body)
                .await
                .is_ok_and(|length| length > 0)
        {}
        let (first, second) = (chunk(": keep-alive\n\n"), chunk(":\r\n\r\n"));
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

    /// The body of the answer, piece by piece.
    async fn body(
        &self,
        begun: Vec<u8>,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        is_chunked: bool,
    ) -> Option<()> {
        let (mut piece, mut tail, mut room) = (begun, Vec::new(), vec![0; 64 * 1024]);
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
            let length = from.read(&mut room).await.unwrap_or(0);
            piece = room[..length].to_vec();
            if length == 0 {
                if self.fault == Fault::SwallowsAnAbort && is_chunked && !is_end {
                    to.write_all(LAST_CHUNK).await.ok()?;
                }
                return Some(());
            }
        }
    }
}

/// The head of a message, and what came with it of the body.
async fn read_head(from: &mut OwnedReadHalf) -> Option<(RawHead, Vec<u8>)> {
    let (mut bytes, mut room) = (Vec::new(), vec![0; 64 * 1024]);
    let end = loop {
        if let Some(end) = place_of(&bytes, b"\r\n\r\n") {
            break end;
        }
        let length = from
            .read(&mut room)
            .await
            .ok()
            .filter(|length| *length > 0)?;
        bytes.extend_from_slice(&room[..length]);
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
    Some((
        RawHead {
            line,
            fields: fields.collect(),
        },
        body,
    ))
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn written(head: &RawHead) -> Vec<u8> {
    let mut bytes = format!("{}\r\n", head.line).into_bytes();
    for (name, value) in &head.fields {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes
}

fn place_of(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    place_of(bytes, text).is_some()
}

/// The first occurrence of a text replaced by another.
fn replaced(bytes: &[u8], text: &[u8], by: &[u8]) -> Vec<u8> {
    match place_of(bytes, text) {
        Some(place) => [&bytes[..place], by, &bytes[place + text.len()..]].concat(),
        None => bytes.to_vec(),
    }
}
