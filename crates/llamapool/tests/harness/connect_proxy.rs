//! An HTTP proxy that tunnels every `CONNECT`, or gives every client the same answer.

use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use llamapool_testkit::read_head;

/// The proxy. Dropping it ends it and all that goes through it.
pub struct ConnectProxy {
    /// `127.0.0.1:<port>`
    pub address: String,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl ConnectProxy {
    /// Starts a proxy that connects every client with the target that it asks for.
    pub async fn tunnelling() -> Self {
        Self::start(None).await
    }

    /// Starts a proxy that answers every client with these bytes and hangs up.
    pub async fn answering(answer: &'static str) -> Self {
        Self::start(Some(answer)).await
    }

    async fn start(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));

        let mut tasks = JoinSet::new();
        let seen = heads.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, answer, seen.clone()));
            }
        });
        Self {
            address,
            heads,
            _tasks: tasks,
        }
    }

    /// Returns the heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

async fn serve(
    mut client: TcpStream,
    answer: Option<&'static str>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let head = read_head(&mut client).await;
    heads.lock().push(head.clone());

    if let Some(answer) = answer {
        // The client may have hung up by now.
        let _ = client.write_all(answer.as_bytes()).await;
        return;
    }

    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next())
        .expect("a CONNECT");
    let server = TcpStream::connect(target).await;
    let mut server = server.expect("the target accepts connections");

    let answer = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let sent = client.write_all(answer).await;
    sent.expect("the client reads");
    // When one end breaks off, both are closed.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
