//! Something between that speaks no HTTP: it passes bytes on, and meddles with them in one way.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is done to the bytes that pass.
#[derive(Debug, Clone, Copy)]
pub enum Meddling {
    /// A connection on which nothing passes for so long is cut.
    CutsIdle(Duration),
    /// The server does not know a word of the same length that stands in place of this one.
    Forgets(&'static str),
    /// The clock of the server seems to be so much slower.
    SlowsClock(Duration),
}

/// The name of the header with the time, as it is sent.
const DATE: &[u8] = b"\ndate: ";
/// The length of a time of HTTP (RFC 9110, 5.6.7).
const DATE_LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

/// It, in front of a server. Dropping it ends it and all that goes through it.
pub struct Between {
    /// Its URL.
    pub url: String,
    _tasks: JoinSet<()>,
}

impl Between {
    /// Starts it in front of the server with this URL.
    pub async fn start(server_url: &str, meddling: Meddling) -> Self {
        let target = server_url.strip_prefix("http://").expect("a plain URL");
        let target = target.to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, target.clone(), meddling));
            }
        });
        Self {
            url: format!("http://{address}"),
            _tasks: tasks,
        }
    }
}

async fn serve(client: TcpStream, target: String, meddling: Meddling) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (passed, mut passing) = watch::channel(0u64);
    let up = pass(from_client, to_server, passed.clone(), meddling);
    let down = pass(from_server, to_client, passed, meddling);
    let idle = async {
        let Meddling::CutsIdle(limit) = meddling else {
            return std::future::pending().await;
        };
        while tokio::time::timeout(limit, passing.changed()).await.is_ok() {}
    };
    tokio::select! {
        _ = async { tokio::join!(up, down) } => {}
        () = idle => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: watch::Sender<u64>,
    meddling: Meddling,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..length];
        match meddling {
            Meddling::SlowsClock(by) => slow(bytes, by),
            Meddling::Forgets(word) => forget(bytes, word.as_bytes()),
            Meddling::CutsIdle(_) => {}
        }
        passed.send_modify(|count| *count += 1);
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Changes the time in a head. One head comes in one piece.
fn slow(bytes: &mut [u8], by: Duration) {
    let places = bytes.windows(DATE.len());
    let Some(place) = places.into_iter().position(|it| it == DATE) else {
        return;
    };
    let Some(date) = bytes.get_mut(place + DATE.len()..place + DATE.len() + DATE_LENGTH) else {
        return;
    };
    let text = std::str::from_utf8(date).unwrap_or_default();
    if let Ok(time) = httpdate::parse_http_date(text) {
        date.copy_from_slice(httpdate::fmt_http_date(time - by).as_bytes());
    }
}

/// Makes another word of one.
fn forget(bytes: &mut [u8], word: &[u8]) {
    let place = bytes.windows(word.len()).position(|it| it == word);
    if let Some(place) = place {
        bytes[place..place + word.len()].fill(b'x');
    }
}
