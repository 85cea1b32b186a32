//! The relay as a whole: how it starts and stops. The one file that knows all others.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use llamapool_wire::MAX_PROVIDERS;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::board::{Board, LinkState};
use crate::config::{RelayConfig, StatusBind};
use crate::connect::{self, GaveUp};
use crate::dial::{Dialer, NoProxy};
use crate::hosted::Hosted;
use crate::probe;
use crate::tls::{TlsError, tls_config};
use crate::{metrics, status};

/// How long the programs of providers may take to end with the relay: longer than their guards wait before they use force.
const PROGRAMS_END: Duration = Duration::from_secs(6);

/// A relay that has its addresses and waits to run.
pub struct Relay {
    app: Arc<App>,
    status: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

/// Why a relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not to be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// No provider, or more than a relay may have.
    #[error("a relay has 1 to {MAX_PROVIDERS} providers, and this one was given {0}")]
    Providers(usize),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A proxy's address is none.
    #[error(transparent)]
    Proxy(#[from] NoProxy),
}

impl Relay {
    /// Takes the addresses.
    pub async fn bind(config: RelayConfig) -> Result<Self, StartError> {
        if config.providers.is_empty() || config.providers.len() > MAX_PROVIDERS {
            return Err(StartError::Providers(config.providers.len()));
        }
        let tls = tls_config(config.dial.ca_file.as_deref())?;
        let status = match config.status.bind {
            StatusBind::Off => None,
            StatusBind::Asked(address) => Some(listen(address).await?),
            StatusBind::Default(address) => match listen(address).await {
                Ok(listener) => Some(listener),
                Err(error) => {
                    tracing::warn!(%error, "{}", without_status(&error));
                    None
                }
            },
        };
        if config.status.token.is_none()
            && status
                .as_ref()
                .is_some_and(|listener| !is_loopback(listener))
        {
            tracing::warn!(
                "STATUS_TOKEN is not set: whoever reaches the status server reads it, the id included"
            );
        }
        let metrics = match config.status.metrics_bind {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let hosted = config.providers.iter().zip(1..);
        let hosted = hosted.map(|(provider, place)| {
            Hosted::new(place, provider.clone(), &config.tunnel, tls.clone())
        });
        let app = App {
            hosted: hosted.map(Arc::new).collect(),
            dialer: Dialer::new(&config, tls)?,
            board: Board::new(),
            stop: CancellationToken::new(),
            config,
        };
        Ok(Self {
            app: Arc::new(app),
            status,
            metrics,
        })
    }

    /// The address of the status server, if there is one.
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.status
            .as_ref()
            .and_then(|listener| listener.local_addr().ok())
    }

    /// The address of `/metrics`, if it has one of its own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
            .as_ref()
            .and_then(|listener| listener.local_addr().ok())
    }

    /// Tells how the connection to the server stands, now and at every change.
    pub fn link(&self) -> watch::Receiver<LinkState> {
        self.app.board.link()
    }

    /// Keeps the tunnel up until `stop` resolves, then drains: nothing new is taken, what runs may finish until the
    /// drain timeout. Without reconnecting, it ends with the first connection that is refused or lost. Dropping the
    /// future ends everything now.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), GaveUp> {
        let Self {
            app,
            status,
            metrics,
        } = self;
        let mut helpers = JoinSet::new();
        if let Some(listener) = status {
            helpers.spawn(status::serve(app.clone(), listener));
        }
        if let Some(listener) = metrics {
            helpers.spawn(metrics::serve(app.clone(), listener));
        }
        for hosted in &app.hosted {
            helpers.spawn(probe::run(hosted.clone()));
        }
        let result = serve(&app, stop).await;
        // Nobody starts a program any more, and those that run are ended in order.
        helpers.shutdown().await;
        let ends = app.hosted.iter().map(|hosted| hosted.provider.end());
        if tokio::time::timeout(PROGRAMS_END, futures_util::future::join_all(ends))
            .await
            .is_err()
        {
            tracing::warn!(
                "a provider's program has not ended in time; its guard goes on ending it"
            );
        }
        result
    }
}

/// Keeps the tunnel up until `stop` resolves, and then until nothing runs any more.
async fn serve(app: &Arc<App>, stop: impl Future<Output = ()>) -> Result<(), GaveUp> {
    let token = app.stop.clone();
    let stopping = async move {
        tokio::select! {
            () = stop => token.cancel(),
            () = token.cancelled() => {}
        }
    };
    let ended = connect::run(app.clone());
    tokio::pin!(ended);
    tokio::select! {
        // Biased towards the tunnel's own end, which says why.
        biased;
        result = &mut ended => return result,
        () = stopping => {}
    }
    app.set_draining(true);
    let patience = app.config.drain_timeout;
    tracing::info!(calls = app.running(), ?patience, "draining");
    match tokio::time::timeout(patience, ended).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!(
                calls = app.running(),
                "drain timeout: ending what still runs"
            );
            Ok(())
        }
    }
}

/// What is said of a relay that does without the status server, which nobody asked for.
fn without_status(error: &StartError) -> &'static str {
    match error {
        StartError::Listen { error, .. } if error.kind() == io::ErrorKind::AddrInUse => {
            "no status server, as another program has its default address"
        }
        _ => "no status server, as its default address cannot be had",
    }
}

fn is_loopback(listener: &TcpListener) -> bool {
    listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen { address, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_blamed_only_for_an_address_that_is_in_use() {
        let said = |kind: io::ErrorKind| {
            without_status(&StartError::Listen {
                address: ([127, 0, 0, 1], 4555).into(),
                error: kind.into(),
            })
        };
        assert!(said(io::ErrorKind::AddrInUse).contains("another program"));
        for kind in [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::AddrNotAvailable,
        ] {
            assert!(said(kind).contains("cannot be had"), "{kind}");
        }
    }
}
