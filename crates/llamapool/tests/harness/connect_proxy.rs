//! An HTTP proxy that lets CONNECT through, or answers what a test says.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::provider::read_head;

/// The proxy. Dropping it ends it and all that goes through it.
pub struct ConnectProxy {
    /// `127.0.0.1:<port>`
    pub address: String,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl ConnectProxy {
    /// Connects every client with whatever it asks for.
    pub async fn letting_through() -> Self {
        Self::start(None).await
    }

    /// Answers every client with these bytes, and hangs up.
    pub async fn answering(answer: &'static str) -> Self {
        Self::start(Some(answer)).await
    }

    async fn start(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
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

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(
    mut client: TcpStream,
    answer: Option<&'static str>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let head = read_head(&mut client).await;
    heads.lock().unwrap().push(head.clone());
    if let Some(answer) = answer {
        // The client may have hung up by now.
        let _ = client.write_all(answer.as_bytes()).await;
        return;
    }
    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next())
        .expect("a CONNECT");
    let mut server = TcpStream::connect(target)
        .await
        .expect("the target takes connections");
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .expect("the client listens");
    // Whichever end breaks off, both are closed.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
