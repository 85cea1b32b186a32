//! The relay as a whole: start and stop. Only this file depends on all others.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use llamapool_bridge::StartGate;
use llamapool_http::listen::Listener;
use llamapool_limits::MemoryBudget;
use llamapool_wire::{MAX_PROVIDERS, Mark, people_line};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{RelayConfig, StatusBind, StatusConfig};
use crate::dial::{Dialer, ProxyError};
use crate::providers::SharedResources;
use crate::reload::{Reloader, Reloads, Running};
use crate::roster::Roster;
use crate::slot::Slot;
use crate::status::link::{LinkState, LinkStatus};
use crate::status::{listener, metrics, server};
use crate::supervisor::DisconnectedError;
use crate::tls::{TlsError, tls_config};
use crate::view::RelayView;

/// How long the programs of providers may take to end with the relay: longer than their guards wait
/// before they use force.
pub(crate) const PROGRAMS_END: Duration = Duration::from_secs(6);

/// The time of a drain after which it is logged what it waits for, and the interval after that.
const FIRST_DRAIN_REPORT: Duration = Duration::from_secs(2);
const DRAIN_REPORTS: Duration = Duration::from_secs(30);

/// A relay that has its addresses and waits to run.
pub struct Relay {
    app: Arc<App>,
    dialer: Dialer,
    reloads: Reloads,
    status: Option<Listener>,
    metrics: Option<Listener>,
}

/// A relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// There is no provider, or more than a relay may have.
    #[error("a relay has 1 to {MAX_PROVIDERS} providers, and this one was given {0}")]
    Providers(usize),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address of a proxy is wrong.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

impl Relay {
    /// Checks the configuration and binds the addresses.
    pub async fn bind(config: RelayConfig) -> Result<Self, StartError> {
        let count = config.providers.len();
        if count == 0 || count > MAX_PROVIDERS {
            return Err(StartError::Providers(count));
        }
        let tls = tls_config(config.dial.ca_file.as_deref())?;
        let status = bind_status(&config.status)?;
        let metrics = match config.status.metrics_bind {
            Some(address) => Some(listen(address)?),
            None => None,
        };

        let shared = SharedResources {
            memory: MemoryBudget::new(config.max_memory),
            gate: StartGate::new(config.max_starting),
            shows_calls: config.shows_calls,
        };
        let memory = shared.memory.clone();
        let roster = Roster::new(shared, tls.clone(), config.tunnel.clone());
        let entries = config.providers.iter().cloned();
        let slots = entries.map(|provider| Slot::new(roster.make(provider, None)));
        let slots = slots.collect();
        roster.set_slots(slots);
        let dialer = Dialer::new(&config, tls)?;
        let app = App {
            roster,
            memory,
            status_port: local_address(status.as_ref()).map(|address| address.port()),
            link: LinkStatus::new(),
            stop: CancellationToken::new(),
            config,
        };
        Ok(Self {
            app: Arc::new(app),
            dialer,
            reloads: Reloads::new(),
            status,
            metrics,
        })
    }

    /// Returns the handle that replaces the providers while the relay runs.
    pub fn reloader(&self) -> Reloader {
        self.reloads.reloader()
    }

    /// Returns the address of the status server, `None` if there is none.
    pub fn status_address(&self) -> Option<SocketAddr> {
        local_address(self.status.as_ref())
    }

    /// Returns the address of the server for `/metrics` alone, `None` if there is none.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        local_address(self.metrics.as_ref())
    }

    /// Returns the state of the connection to the server, now and at every change.
    pub fn link(&self) -> watch::Receiver<LinkState> {
        self.app.link.subscribe()
    }

    /// Returns what people see of the relay.
    pub fn view(&self) -> RelayView {
        RelayView::new(self.app.clone())
    }

    /// Keeps the tunnel up until `stop` resolves, then drains: new calls are refused, and running
    /// ones may finish until the drain timeout. Dropping the future ends everything at once.
    ///
    /// # Errors
    ///
    /// Without reconnecting, the first connection that is refused or lost.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), DisconnectedError> {
        let Self {
            app,
            dialer,
            reloads,
            status,
            metrics,
        } = self;

        let mut helpers = JoinSet::new();
        if let Some(listener) = status {
            helpers.spawn(server::serve(app.clone(), listener));
        }
        if let Some(listener) = metrics {
            helpers.spawn(metrics::serve(app.clone(), listener));
        }
        let mut running = Running::start(&app, dialer);
        let result = serve(&app, &mut running, reloads, stop).await;

        // No task starts a program any more, and those that run are ended in order.
        helpers.shutdown().await;
        running.stop_attending().await;
        shut_down_providers(&app).await;
        result
    }
}

/// Binds the address of the status server. `None` if there is to be none, or if the default address
/// cannot be bound.
fn bind_status(config: &StatusConfig) -> Result<Option<Listener>, StartError> {
    let listener = match config.bind {
        StatusBind::Off => return Ok(None),
        StatusBind::Required(address) => listen(address)?,
        StatusBind::Default(address) => match listen(address) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "{}", without_status(&error));
                return Ok(None);
            }
        },
    };

    let is_local = listener
        .address()
        .is_ok_and(|address| address.ip().is_loopback());
    if config.token.is_none() && !is_local {
        tracing::warn!(
            "STATUS_TOKEN is not set: whoever reaches the status server reads it, the id included"
        );
    }
    Ok(Some(listener))
}

/// Ends what was started for the providers, within a bound.
async fn shut_down_providers(app: &App) {
    let entries = app.roster.all_entries();
    let shutdowns = entries.iter().map(|entry| entry.provider.shutdown());
    let all = futures_util::future::join_all(shutdowns);
    if tokio::time::timeout(PROGRAMS_END, all).await.is_err() {
        tracing::warn!("a provider's program has not ended in time; its guard goes on ending it");
    }
}

/// Keeps the tunnels up until `stop` resolves, and then until no call runs any more.
async fn serve(
    app: &Arc<App>,
    running: &mut Running,
    reloads: Reloads,
    stop: impl Future<Output = ()>,
) -> Result<(), DisconnectedError> {
    let token = app.stop.clone();
    let stopping = async move {
        tokio::select! {
            () = stop => token.cancel(),
            () = token.cancelled() => {}
        }
    };
    let ended = running.until_over(reloads);
    tokio::pin!(ended);
    tokio::select! {
        // Biased towards the supervisor's end, which has the error.
        biased;
        result = &mut ended => return result,
        () = stopping => {}
    }

    app.set_draining(true);
    let patience = app.config.drain_timeout;
    tracing::info!(calls = app.running_calls(), ?patience, "draining");
    let entries = app.roster.all_entries();
    let ending_listeners = async {
        let ending = entries.iter().map(|entry| entry.end_listeners_when_idle());
        futures_util::future::join_all(ending).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // Biased towards the end, after which there is nothing to report.
        biased;
        result = ended => result,
        () = tokio::time::sleep(patience) => {
            let calls = app.running_calls();
            tracing::warn!(calls, "drain timeout: ending what still runs");
            Ok(())
        }
        () = report_waiting(app) => Ok(()),
        () = ending_listeners => Ok(()),
    }
}

/// Logs what a drain waits for. Never returns.
async fn report_waiting(app: &App) {
    let mut pause = FIRST_DRAIN_REPORT;
    loop {
        tokio::time::sleep(pause).await;
        pause = DRAIN_REPORTS;

        for entry in &app.roster.all_entries() {
            let calls = entry.status.calls().running();
            if calls > 0 {
                tracing::info!(
                    provider = entry.label(),
                    calls,
                    event_streams = entry.listeners.open(),
                    progress = true,
                    people = %people_line(
                        Mark::Draining,
                        "finishing",
                        format_args!("{calls} calls of {}", entry.label()),
                    ),
                    "waiting for running calls; a second signal ends them"
                );
            }
        }
    }
}

/// Returns the warning of a relay that has no status server, where none was required.
fn without_status(error: &StartError) -> &'static str {
    match error {
        StartError::Listen { error, .. } if error.kind() == io::ErrorKind::AddrInUse => {
            "no status server, as another program has its default address"
        }
        _ => "no status server, as its default address cannot be had",
    }
}

fn local_address(listener: Option<&Listener>) -> Option<SocketAddr> {
    listener?.address().ok()
}

fn listen(address: SocketAddr) -> Result<Listener, StartError> {
    listener::listen(address).map_err(|error| StartError::Listen { address, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_named_only_if_the_address_is_in_use() {
        let warning = |kind: io::ErrorKind| {
            without_status(&StartError::Listen {
                address: ([127, 0, 0, 1], 4555).into(),
                error: kind.into(),
            })
        };

        assert!(warning(io::ErrorKind::AddrInUse).contains("another program"));
        for kind in [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::AddrNotAvailable,
        ] {
            assert!(warning(kind).contains("cannot be had"), "{kind}");
        }
    }
}
