//! A proxy on one edge: it copies bytes, and delays, freezes, swallows, trickles or cuts them as a
//! fault asks for.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fault::{Direction, Traffic};

/// Bytes that a direction holds at most.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes that a trickle passes on at a time, and the pause after them.
const TRICKLE_BYTES: usize = 512;
const TRICKLE_PAUSE: Duration = Duration::from_millis(5);

/// The treatment of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Treatment {
    up: Traffic,
    down: Traffic,
    refuses: bool,
    /// Connections that saw another number when they began end at once.
    cuts: u64,
}

/// A proxy. Dropping it cuts all its connections.
pub(crate) struct Edge {
    /// The port on loopback to dial instead of the target's.
    pub(crate) port: u16,
    treatment: watch::Sender<Treatment>,
    _tasks: JoinSet<()>,
}

impl Edge {
    /// Starts a proxy to a port on loopback.
    pub(crate) async fn to(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("a port for a proxy")?;
        let port = listener.local_addr()?.port();
        let treatment = watch::Sender::new(Treatment {
            up: Traffic::Pass,
            down: Traffic::Pass,
            refuses: false,
            cuts: 0,
        });

        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, treatment.subscribe()));
        Ok(Self {
            port,
            treatment,
            _tasks: tasks,
        })
    }

    /// Treats the bytes of a direction in this way from now on.
    pub(crate) fn treat(&self, direction: Direction, traffic: Traffic) {
        self.treatment.send_modify(|treatment| {
            if direction != Direction::Down {
                treatment.up = traffic;
            }
            if direction != Direction::Up {
                treatment.down = traffic;
            }
        });
    }

    /// Cuts all open connections.
    pub(crate) fn cut(&self) {
        self.treatment.send_modify(|treatment| treatment.cuts += 1);
    }

    /// Cuts all open connections, and all new ones until it is healed.
    pub(crate) fn refuse(&self) {
        self.treatment.send_modify(|treatment| {
            treatment.cuts += 1;
            treatment.refuses = true;
        });
    }

    /// Passes everything on from now on.
    pub(crate) fn heal(&self) {
        self.treatment.send_modify(|treatment| {
            treatment.up = Traffic::Pass;
            treatment.down = Traffic::Pass;
            treatment.refuses = false;
        });
    }
}

async fn accept(listener: TcpListener, target: u16, treatment: watch::Receiver<Treatment>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else {
                    // Out of descriptors: there is room again when connections have ended.
                    tokio::time::sleep(TRICKLE_PAUSE).await;
                    continue;
                };
                if !treatment.borrow().refuses {
                    connections.spawn(serve(client, target, treatment.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Copies both directions of a connection until both have ended, or it is cut.
async fn serve(client: TcpStream, target: u16, treatment: watch::Receiver<Treatment>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();

    let mut cuts = treatment.clone();
    let before = cuts.borrow_and_update().cuts;
    let up = Copier {
        from: client_in,
        to: server_out,
        traffic: |treatment| treatment.up,
        treatment: treatment.clone(),
    };
    let down = Copier {
        from: server_in,
        to: client_out,
        traffic: |treatment| treatment.down,
        treatment,
    };

    // Both directions are dropped at once when either branch ends.
    tokio::select! {
        _ = cuts.wait_for(|treatment| treatment.cuts != before) => {}
        _ = async { tokio::try_join!(up.run(), down.run()) } => {}
    }
}

/// One direction of a connection.
struct Copier {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    traffic: fn(&Treatment) -> Traffic,
    treatment: watch::Receiver<Treatment>,
}

impl Copier {
    /// Copies until the end of the source, which it passes on. `Err` ends the other direction, too.
    async fn run(mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut has_swallowed = false;
        loop {
            let traffic = self.traffic();
            if has_swallowed && traffic != Traffic::Swallow {
                // Bytes are missing: what follows them would be another message.
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            let length = tokio::select! {
                changed = self.treatment.changed() => {
                    changed.map_err(std::io::Error::other)?;
                    continue;
                }
                read = self.from.read(&mut buffer), if traffic != Traffic::Freeze => read?,
            };
            if length == 0 {
                return self.to.shutdown().await;
            }
            // The fault may have ended since: no byte may follow those that are missing.
            if has_swallowed || self.traffic() == Traffic::Swallow {
                has_swallowed = true;
                continue;
            }
            self.pass(&buffer[..length]).await?;
        }
    }

    /// Passes a piece on, late or in small parts.
    async fn pass(&mut self, piece: &[u8]) -> std::io::Result<()> {
        match self.traffic() {
            Traffic::Delay(time) => tokio::time::sleep(time).await,
            Traffic::Trickle => {
                for part in piece.chunks(TRICKLE_BYTES) {
                    self.to.write_all(part).await?;
                    if self.traffic() == Traffic::Trickle {
                        tokio::time::sleep(TRICKLE_PAUSE).await;
                    }
                }
                return Ok(());
            }
            Traffic::Pass | Traffic::Freeze | Traffic::Swallow => {}
        }
        self.to.write_all(piece).await
    }

    fn traffic(&mut self) -> Traffic {
        (self.traffic)(&self.treatment.borrow_and_update())
    }
}
