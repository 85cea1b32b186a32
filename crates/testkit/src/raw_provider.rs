//! Providers that a test plays byte by byte.

use std::net::Ipv4Addr;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::{RawHead, RawHttp, soon};

/// A provider made of connections.
pub struct RawProvider {
    /// Its MCP endpoint.
    pub url: String,
    listener: TcpListener,
}

impl RawProvider {
    /// Listens on a free port.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        Self {
            url: format!("http://{}/mcp", listener.local_addr().expect("an address")),
            listener,
        }
    }

    /// Listens where another provider did that has ended.
    pub async fn bind_again(url: &str) -> Self {
        let address = url
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix("/mcp"))
            .expect("a provider's URL");
        let listener = TcpListener::bind(address).await;
        Self {
            url: url.to_owned(),
            listener: listener.expect("the port is free again"),
        }
    }

    /// Accepts the next connection. The relay's probes connect too, and close without a byte.
    pub async fn accept(&self) -> TcpStream {
        self.listener.accept().await.expect("a connection").0
    }

    /// Accepts the next call. Returns its parsed head, and its connection for the body and the
    /// answer.
    pub async fn call(&self) -> (RawHttp, RawHead) {
        let call = async {
            loop {
                let mut connection = RawHttp::from_stream(self.accept().await);
                if let Some(head) = connection.try_head().await {
                    return (connection, head);
                }
            }
        };
        // One patience for all of it: probes come as long as the relay lives.
        soon("the provider is called", call).await
    }

    /// Reads the next call whole, answers it with these bytes and hangs up. Returns the call.
    pub async fn answer(&self, answer: impl AsRef<[u8]>) -> (RawHead, Vec<u8>) {
        let (mut connection, head) = self.call().await;
        let body = connection.body(&head).await;
        connection.send(answer).await;
        (head, body)
    }

    /// Accepts the next call. Returns its connection and its head as text; probes are skipped.
    pub async fn request(&self) -> (TcpStream, String) {
        loop {
            let mut stream = self.accept().await;
            let head = read_head(&mut stream).await;
            if !head.is_empty() {
                return (stream, head);
            }
        }
    }
}

/// Reads a request's head and nothing behind it. Returns what there is if the connection ends
/// before.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
