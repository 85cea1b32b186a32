//! Plain HTTP on the port of TLS: an answer that a person or a program can read, and the end.

use std::io;
use std::time::Duration;

use llamapool_http::listen::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The time for the peer to take the answer and to close.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// The most bytes that are read and dropped meanwhile: a system that closes a connection with unread
/// bytes resets it, and the answer with it.
const MOST_DROPPED: usize = 64 * 1024;

/// The answer. RFC 9110 has no status for it; 400 is what other servers send.
const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 60\r\n\
    connection: close\r\n\
    \r\n\
    this port speaks https: use a URL that begins with https://\n";

/// Waits for the first byte of a connection, without taking it. Returns whether it begins a request of
/// HTTP, whose methods are upper-case letters; TLS begins with 22.
pub(super) async fn begins(socket: &Socket) -> io::Result<bool> {
    let mut first = [0];
    socket.stream()?.peek(&mut first).await?;
    Ok(first[0].is_ascii_uppercase())
}

/// Answers any request. The caller closes the connection by dropping it.
pub(super) async fn refuse(mut socket: Socket) {
    let answer = async {
        socket.write_all(ANSWER).await?;
        socket.shutdown().await?;

        let mut dropped = 0;
        let mut buffer = [0; 4096];
        while dropped < MOST_DROPPED {
            match socket.read(&mut buffer).await? {
                0 => break,
                bytes => dropped += bytes,
            }
        }
        io::Result::Ok(())
    };
    let ended = tokio::time::timeout(CLOSE_TIME, answer).await;
    tracing::debug!(?ended, "plain HTTP on the port of TLS was refused");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_length_that_it_names() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();

        assert!(head.contains(&format!("content-length: {}", body.len())));
    }
}
