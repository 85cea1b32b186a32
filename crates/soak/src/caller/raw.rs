//! A call without an HTTP library: one connection, read to its end, so that a second answer on it is
//! seen.

use std::net::Ipv4Addr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Caller, OpenCall, PATIENCE};
use crate::history::Outcome;

/// The end of a line of a head, and that of the head.
const LINE: &[u8] = b"\r\n";
const HEAD: &[u8] = b"\r\n\r\n";

/// The first answer on a connection.
struct RawAnswer<'a> {
    status: u16,
    cause: Option<String>,
    /// The whole body; `None` if it broke off.
    body: Option<Vec<u8>>,
    /// Bytes behind it.
    rest: &'a [u8],
}

impl Caller {
    /// Sends a message on a connection of its own, and records the end of the call; and another
    /// end for each answer beyond the first.
    pub(super) async fn raw_exchange(&self, id: &str, message: &Value, mut open: OpenCall) {
        let received = tokio::time::timeout(PATIENCE, self.send_raw(id, message)).await;
        let outcome = match received {
            Err(_) => Outcome::Hung,
            Ok(None) => Outcome::NotSent,
            Ok(Some(bytes)) => match RawAnswer::read(&bytes) {
                None => Outcome::NoAnswer,
                Some(answer) => self.outcome_of(&answer, &mut open),
            },
        };
        open.end(self.now(), outcome);
    }

    /// Sends a request. Returns all bytes up to the end of the connection; `None` if there was none.
    async fn send_raw(&self, id: &str, message: &Value) -> Option<Vec<u8>> {
        let address = (Ipv4Addr::LOCALHOST, self.setting.port);
        let mut connection = TcpStream::connect(address).await.ok()?;
        let body = message.to_string();
        let head = format!(
            "POST /api/mcp/id/{id} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/json\r\nAccept: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );

        let mut received = Vec::new();
        let request = head + &body;
        if connection.write_all(request.as_bytes()).await.is_ok() {
            // An error is an end, too: the bytes before it count.
            let _ = connection.read_to_end(&mut received).await;
        }
        Some(received)
    }

    fn outcome_of(&self, answer: &RawAnswer<'_>, open: &mut OpenCall) -> Outcome {
        let status = answer.status;
        if !answer.rest.is_empty() {
            let cause = String::from_utf8_lossy(answer.rest);
            let cause = Some(cause.chars().take(300).collect());
            open.end(self.now(), Outcome::Answered { status, cause });
        }
        let Some(body) = &answer.body else {
            return Outcome::Broken { status };
        };
        open.receive(&String::from_utf8_lossy(body));
        let cause = answer.cause.clone();
        Outcome::Answered { status, cause }
    }
}

impl<'a> RawAnswer<'a> {
    /// Reads the first answer in the bytes of a connection; `None` without a whole head.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let end = memchr::memmem::find(bytes, HEAD)?;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
        let field = |name: &str| fields.iter().find(|it| it.0 == name).map(|it| it.1);

        let rest = &bytes[end + HEAD.len()..];
        let length = field("content-length").and_then(|it| it.parse().ok());
        let (body, rest) = match length {
            Some(length) if rest.len() < length => (None, &rest[..0]),
            Some(length) => (Some(rest[..length].to_vec()), &rest[length..]),
            None if field("transfer-encoding") == Some("chunked") => unchunk(rest),
            None => (Some(rest.to_vec()), &rest[..0]),
        };
        Some(Self {
            status,
            cause: field("llamapool-error").map(str::to_owned),
            body,
            rest,
        })
    }
}

/// Reads a chunked body. Returns it, `None` if it broke off, and the bytes behind it.
fn unchunk(mut bytes: &[u8]) -> (Option<Vec<u8>>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let Some((length, content)) = chunk_length(bytes) else {
            return (None, &bytes[..0]);
        };
        if content.len() < length + LINE.len() {
            return (None, &bytes[..0]);
        }
        body.extend_from_slice(&content[..length]);
        bytes = &content[length + LINE.len()..];
        if length == 0 {
            return (Some(body), bytes);
        }
    }
}

/// Reads the length of a chunk, and returns it with the bytes behind its line.
fn chunk_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = memchr::memmem::find(bytes, LINE)?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let digits = line.split(';').next()?.trim();
    let length = usize::from_str_radix(digits, 16).ok()?;
    Some((length, &bytes[end + LINE.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_and_rest(bytes: &[u8]) -> Option<(Option<String>, &[u8])> {
        let answer = RawAnswer::read(bytes)?;
        let body = answer.body.map(|body| String::from_utf8(body).unwrap());
        Some((body, answer.rest))
    }

    #[test]
    fn a_second_answer_on_a_connection_is_seen() {
        let first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n";
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP";

        assert_eq!(
            body_and_rest(first),
            Some((Some("{}".to_owned()), &b"HTTP/1.1 200 OK\r\n"[..]))
        );
        assert_eq!(
            body_and_rest(chunked),
            Some((Some("{}".to_owned()), &b"HTTP"[..]))
        );
    }

    #[test]
    fn a_body_that_breaks_off_is_no_whole_answer() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        ] {
            assert_eq!(body_and_rest(bytes), Some((None, &b""[..])));
        }
        assert!(RawAnswer::read(b"HTTP/1.1 200 OK\r\nConte").is_none());
    }
}
