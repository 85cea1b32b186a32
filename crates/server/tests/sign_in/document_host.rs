//! The web sites of clients: one listener with TLS on loopback that stands for all hosts, and the
//! network on which their names have public addresses. What may be dialled is decided in front of it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use llamapool_server::{FetchNetwork, NetworkWork};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The address of every name, unless a test says otherwise: that of a real service.
pub(crate) const ADDRESS: &str = "160.79.104.10";
/// The names that its certificate has.
const NAMES: [&str; 6] = [
    "claude.ai",
    "chatgpt.com",
    "www.cursor.com",
    "vscode.dev",
    "app.example",
    "*.many.example",
];

/// What is answered to a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, and then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then others as long as they are taken.
    Endless(Vec<u8>),
    /// These bytes, one now and then.
    Drip(Vec<u8>),
    /// These bytes, once the test has let them go.
    Held(Vec<u8>),
}

/// The network and all web sites on it. Ends when it is dropped.
pub(crate) struct DocumentHost {
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    root: CertificateDer<'static>,
    /// The answers to look-ups of a name, in their order; the last one stays.
    names: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    replies: Mutex<HashMap<String, Reply>>,
    lookups: Mutex<Vec<String>>,
    dials: Mutex<Vec<SocketAddr>>,
    requests: Mutex<Vec<String>>,
    /// The bytes that were taken of endless answers.
    taken: Mutex<usize>,
    is_down: Mutex<bool>,
    release: tokio::sync::Semaphore,
}

impl DocumentHost {
    pub(crate) async fn start() -> Self {
        let (acceptor, root) = acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            server: listener.local_addr().unwrap(),
            root,
            names: Mutex::default(),
            replies: Mutex::default(),
            lookups: Mutex::default(),
            dials: Mutex::default(),
            requests: Mutex::default(),
            taken: Mutex::default(),
            is_down: Mutex::default(),
            release: tokio::sync::Semaphore::new(0),
        });

        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, acceptor, state.clone()));
        Self {
            state,
            _tasks: tasks,
        }
    }

    pub(crate) fn network(&self) -> Arc<dyn FetchNetwork> {
        self.state.clone()
    }

    /// Publishes a document at the URL that is its `client_id`.
    pub(crate) fn publish(&self, document: &Value) {
        let url = document["client_id"].as_str().unwrap();
        self.answer(url, "application/json", &document.to_string());
    }

    /// Answers a URL with a body of a type.
    pub(crate) fn answer(&self, url: &str, media_type: &str, body: &str) {
        let head = format!("content-type: {media_type}\r\ncache-control: no-store\r\n");
        self.reply(
            url,
            Reply::Bytes(response("200 OK", &head, body.as_bytes())),
        );
    }

    pub(crate) fn reply(&self, url: &str, reply: Reply) {
        let url = url.strip_prefix("https://").unwrap().to_owned();
        self.state.replies.lock().insert(url, reply);
    }

    /// Gives a name other addresses: for each look-up those of one entry, then those of the last one.
    pub(crate) fn resolve(&self, name: &str, lookups: &[&[&str]]) {
        let parsed = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let lookups = lookups.iter().map(parsed).collect();
        self.state.names.lock().insert(name.to_owned(), lookups);
    }

    /// Makes all hosts refuse connections, or no longer.
    pub(crate) fn set_down(&self, is_down: bool) {
        *self.state.is_down.lock() = is_down;
    }

    /// Lets all held answers go.
    pub(crate) fn release(&self) {
        self.state.release.add_permits(1000);
    }

    /// Returns the heads of all requests.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().clone()
    }

    pub(crate) fn dials(&self) -> Vec<SocketAddr> {
        self.state.dials.lock().clone()
    }

    pub(crate) fn lookups(&self) -> Vec<String> {
        self.state.lookups.lock().clone()
    }

    /// Returns the bytes that were taken of endless answers.
    pub(crate) fn taken(&self) -> usize {
        *self.state.taken.lock()
    }
}

/// Returns an answer as it goes over the wire.
pub(crate) fn response(status: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{head}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

impl FetchNetwork for State {
    fn resolve<'a>(&'a self, host: &'a str) -> NetworkWork<'a, Vec<IpAddr>> {
        self.lookups.lock().push(host.to_owned());
        let mut names = self.names.lock();
        let addresses = match names.get_mut(host) {
            Some(lookups) if lookups.len() > 1 => lookups.pop_front().unwrap(),
            Some(lookups) => lookups.front().cloned().unwrap_or_default(),
            None => vec![ADDRESS.parse().unwrap()],
        };
        Box::pin(async move { Ok(addresses) })
    }

    fn dial(&self, address: SocketAddr) -> NetworkWork<'_, TcpStream> {
        self.dials.lock().push(address);
        let is_down = *self.is_down.lock();
        Box::pin(async move {
            if is_down {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            TcpStream::connect(self.server).await
        })
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        roots
    }
}

/// A network on which no name has an address.
#[derive(Debug)]
pub(crate) struct NoNetwork;

impl FetchNetwork for NoNetwork {
    fn resolve<'a>(&'a self, _: &'a str) -> NetworkWork<'a, Vec<IpAddr>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn dial(&self, _: SocketAddr) -> NetworkWork<'_, TcpStream> {
        Box::pin(async { panic!("nothing is dialled") })
    }

    fn roots(&self) -> RootCertStore {
        RootCertStore::empty()
    }
}

fn acceptor() -> (TlsAcceptor, CertificateDer<'static>) {
    let mut params = CertificateParams::default();
    let name = "an authority of tests";
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = NAMES.iter().map(|&name| name.to_owned()).collect();
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let root = authority.der().clone();
    (TlsAcceptor::from(Arc::new(config)), root)
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        let state = state.clone();
        connections.spawn(async move {
            // A client that does not trust the certificate leaves here.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, &state).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    state.requests.lock().push(text.clone());

    let path = text.split(' ').nth(1).unwrap_or_default();
    let lower = text.to_lowercase();
    let host = lower.split("host: ").nth(1).unwrap_or_default();
    let host = host.split("\r\n").next().unwrap_or_default();
    let reply = state.replies.lock().get(&format!("{host}{path}")).cloned();
    let missing = || Reply::Bytes(response("404 Not Found", "", b""));
    // The other side may leave at any moment.
    match reply.unwrap_or_else(missing) {
        Reply::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Reply::Held(bytes) => {
            state.release.acquire().await.unwrap().forget();
            drop(stream.write_all(&bytes).await);
        }
        Reply::Endless(bytes) => {
            drop(stream.write_all(&bytes).await);
            let piece = [b' '; 4096];
            while stream.write_all(&piece).await.is_ok() && stream.flush().await.is_ok() {
                *state.taken.lock() += piece.len();
            }
        }
        Reply::Drip(bytes) => {
            for byte in bytes {
                let sent = stream.write_all(&[byte]).await;
                if sent.is_err() || stream.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(stream.shutdown().await);
}
