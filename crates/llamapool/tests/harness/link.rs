//! A network link that a test can freeze and cut: a byte copier between relay and server.

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

/// Which way a copier copies.
#[derive(Clone, Copy)]
enum Way {
    ToServer,
    ToRelay,
}

/// A link towards a server. Dropping it cuts it for good.
pub struct Link {
    /// The address to dial instead of the server's.
    pub url: String,
    state: watch::Sender<State>,
    forgotten: watch::Sender<usize>,
    _copiers: JoinSet<()>,
}

impl Link {
    /// A link to the server with this URL.
    pub async fn to(url: &str) -> Self {
        let target = url.strip_prefix("http://").expect("a plain URL").to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = watch::Sender::new(State::Open);
        let forgotten = watch::Sender::new(0);
        let mut copiers = JoinSet::new();
        copiers.spawn(accept(listener, target, state.clone(), forgotten.clone()));
        Self {
            url,
            state,
            forgotten,
            _copiers: copiers,
        }
    }

    /// From now on nothing goes through, and nobody is told: neither the connections that are there nor new ones.
    pub fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    /// Ends all connections that are there; new ones go through.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
        self.state.send_replace(State::Open);
    }

    /// Ends all connections that are there for the relay alone: the server hears nothing of it.
    pub fn forget(&self) {
        self.forgotten.send_modify(|times| *times += 1);
    }

    /// New connections go through again; frozen ones stay frozen.
    pub fn thaw(&self) {
        self.state.send_replace(State::Open);
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    state: watch::Sender<State>,
    forgotten: watch::Sender<usize>,
) {
    let mut copiers = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let (target, state, forgotten) = (target.clone(), state.subscribe(), forgotten.subscribe());
        copiers.spawn(async move {
            if *state.borrow() == State::Frozen {
                // Taken by the kernel, served by nobody.
                let _held = near;
                std::future::pending::<()>().await;
            } else if let Ok(far) = TcpStream::connect(target).await {
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                let to_server = copy(
                    near_in,
                    far_out,
                    Way::ToServer,
                    state.clone(),
                    forgotten.clone(),
                );
                tokio::join!(
                    to_server,
                    copy(far_in, near_out, Way::ToRelay, state, forgotten)
                );
            }
        });
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut state: watch::Receiver<State>,
    mut forgotten: watch::Receiver<usize>,
) {
    let mut buffer = vec![0; 64 * 1024];
    state.mark_unchanged();
    loop {
        let length = tokio::select! {
            biased;
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                if *state.borrow_and_update() == State::Frozen {
                    // Both ends stay open and hear nothing more.
                    std::future::pending::<()>().await;
                }
                return;
            }
            Ok(()) = forgotten.changed() => {
                // The half towards the relay is dropped, the one towards the server stays open.
                match way {
                    Way::ToServer => drop(from),
                    Way::ToRelay => drop(to),
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
