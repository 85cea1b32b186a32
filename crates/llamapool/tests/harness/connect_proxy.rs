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

/// What the proxy does with a request.
#[derive(Clone)]
enum Behaviour {
    Tunnel,
    TunnelTo(String),
    Answer(&'static str),
}

impl ConnectProxy {
    /// Starts a proxy that connects every client with the target that it asks for.
    pub async fn tunnelling() -> Self {
        Self::start(Behaviour::Tunnel).await
    }

    /// Starts a proxy that connects every client with this address, for names that are in no DNS.
    pub async fn leading_to(address: String) -> Self {
        Self::start(Behaviour::TunnelTo(address)).await
    }

    /// Starts a proxy that answers every client with these bytes and hangs up.
    pub async fn answering(answer: &'static str) -> Self {
        Self::start(Behaviour::Answer(answer)).await
    }

    async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));

        let mut tasks = JoinSet::new();
        let seen = heads.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, behaviour.clone(), seen.clone()));
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

async fn serve(mut client: TcpStream, behaviour: Behaviour, heads: Arc<Mutex<Vec<String>>>) {
    let head = read_head(&mut client).await;
    heads.lock().push(head.clone());

    let asked = head.strip_prefix("CONNECT ");
    let asked = asked.and_then(|rest| rest.split(' ').next());
    let target = match &behaviour {
        Behaviour::Tunnel => asked.expect("a CONNECT"),
        Behaviour::TunnelTo(address) => address,
        Behaviour::Answer(answer) => {
            // The client may have hung up by now.
            let _ = client.write_all(answer.as_bytes()).await;
            return;
        }
    };
    let server = TcpStream::connect(target).await;
    let mut server = server.expect("the target accepts connections");

    let answer = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let sent = client.write_all(answer).await;
    sent.expect("the client reads");
    // When one end breaks off, both are closed.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
