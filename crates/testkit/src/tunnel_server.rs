//! Servers that a test plays: they admit a relay and send it requests that no real server sends.

use std::net::Ipv4Addr;

use axum::http::{Request, Response};
use llamapool_tunnel::{IncomingBody, SendError, ServerEnd, TunnelConfig, TunnelEnd};
use llamapool_wire::SUBPROTOCOL;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{read_head, soon};

/// A server that waits for its relay.
pub struct TunnelServer {
    /// The URL that a relay dials.
    pub url: String,
    listener: TcpListener,
}

/// The tunnel to a relay of one id.
pub struct RelayTunnel {
    server: ServerEnd,
    _driver: JoinSet<TunnelEnd>,
}

impl TunnelServer {
    /// Listens on a free port.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            listener,
        }
    }

    /// Admits the relay of an id.
    pub async fn relay(&self, id: &str) -> RelayTunnel {
        let upgrade = async {
            let (mut stream, _) = self.listener.accept().await.expect("a connection");
            let head = read_head(&mut stream).await;
            let key = head
                .lines()
                .find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("sec-websocket-key")
                        .then_some(value)
                })
                .expect("a WebSocket upgrade");
            let accept = derive_accept_key(key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-accept: {accept}\r\nsec-websocket-protocol: {SUBPROTOCOL}\r\nllamapool-id: {id}\r\n\r\n"
            );
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("a connection");
            ServerEnd::open(stream, TunnelConfig::default())
        };
        let (server, driver) = soon("a relay connects", upgrade).await;

        let mut task = JoinSet::new();
        task.spawn(driver);
        RelayTunnel {
            server,
            _driver: task,
        }
    }
}

impl RelayTunnel {
    /// Sends a request and returns the head of the relay's answer.
    pub async fn send(
        &self,
        request: Request<String>,
    ) -> Result<Response<IncomingBody>, SendError> {
        soon("the relay answers", self.server.send(request)).await
    }
}
