//! A network link between relay and server that a test can freeze and cut: it copies bytes.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Frozen,
    Cut,
}

/// The direction in which a copier copies.
#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToRelay,
}

/// The controls of a link, as its copiers follow them.
#[derive(Clone)]
struct Controls {
    state: watch::Receiver<State>,
    relay_cuts: watch::Receiver<usize>,
}

/// A link towards a server. Dropping it cuts it for good.
pub struct Link {
    /// The address to dial instead of the server's.
    pub url: String,
    state: watch::Sender<State>,
    relay_cuts: watch::Sender<usize>,
    _copiers: JoinSet<()>,
}

impl Link {
    /// Opens a link to the server with this URL.
    pub async fn to(url: &str) -> Self {
        let target = url.strip_prefix("http://").expect("a plain URL").to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = watch::Sender::new(State::Open);
        let relay_cuts = watch::Sender::new(0);

        let controls = Controls {
            state: state.subscribe(),
            relay_cuts: relay_cuts.subscribe(),
        };
        let mut copiers = JoinSet::new();
        copiers.spawn(accept(listener, target, controls));
        Self {
            url,
            state,
            relay_cuts,
            _copiers: copiers,
        }
    }

    /// Stops all traffic without closing anything: open connections stay silent, and so do new
    /// ones.
    pub fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    /// Closes all open connections; new ones go through.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
        self.state.send_replace(State::Open);
    }

    /// Closes the relay's side of all open connections; the server's side stays open and silent.
    pub fn cut_relay_side(&self) {
        self.relay_cuts.send_modify(|times| *times += 1);
    }

    /// Lets new connections through again; frozen ones stay frozen.
    pub fn thaw(&self) {
        self.state.send_replace(State::Open);
    }
}

async fn accept(listener: TcpListener, target: String, controls: Controls) {
    let mut copiers = JoinSet::new();
    while let Ok((relay, _)) = listener.accept().await {
        let target = target.clone();
        let mut controls = controls.clone();
        controls.relay_cuts.mark_unchanged();
        copiers.spawn(async move {
            if *controls.state.borrow() == State::Frozen {
                // Accepted by the kernel and served by no task.
                let _held = relay;
                std::future::pending::<()>().await;
            } else if let Ok(server) = TcpStream::connect(target).await {
                let (relay_in, relay_out) = relay.into_split();
                let (server_in, server_out) = server.into_split();
                let to_server = copy(relay_in, server_out, Direction::ToServer, controls.clone());
                let to_relay = copy(server_in, relay_out, Direction::ToRelay, controls);
                tokio::join!(to_server, to_relay);
            }
        });
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut controls: Controls,
) {
    let mut buffer = vec![0; 64 * 1024];
    controls.state.mark_unchanged();
    loop {
        // Biased: a control that was given counts before the bytes that arrived with it.
        let length = tokio::select! {
            biased;
            changed = controls.state.changed() => {
                if changed.is_err() {
                    return;
                }
                if *controls.state.borrow_and_update() == State::Frozen {
                    // Both ends stay open and silent.
                    std::future::pending::<()>().await;
                }
                return;
            }
            Ok(()) = controls.relay_cuts.changed() => {
                // The half towards the relay is dropped, the one towards the server stays open.
                match direction {
                    Direction::ToServer => drop(from),
                    Direction::ToRelay => drop(to),
                }
                return std::future::pending().await;
            }
            read = from.read(&mut buffer) => read.unwrap_or(0),
        };

        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
