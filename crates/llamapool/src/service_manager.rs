//! Notifications to the service manager that started the process, in systemd's protocol
//! (`sd_notify(3)`): ready, status, reloading, stopping, and signs of life for its watchdog.
//!
//! One future on the runtime that serves sends all of them, so a runtime that is stuck sends no sign
//! of life, and the manager restarts the process. Without `NOTIFY_SOCKET` nothing is done.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::time::Duration;

use llamapool_relay::LinkState;
use llamapool_server::ServerLoad;
use llamapool_settings::Environment;
use llamapool_wire::controls_display;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::stop::Stop;

/// Between two looks at the state of the role: what `systemctl status` shows is no older.
const LOOK: Duration = Duration::from_millis(500);
/// The longest wait for the manager to take a notification. One that is busy for longer gets the
/// next one.
#[cfg(unix)]
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Most characters of a status, which is one line of `systemctl status`.
const MAX_STATUS_CHARS: usize = 200;

/// The service manager of this process, if there is one.
pub(crate) struct ServiceManager {
    #[cfg(unix)]
    socket: Option<tokio::net::UnixDatagram>,
    /// The longest silence that the manager's watchdog bears.
    watchdog: Option<Duration>,
}

/// The state of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleState {
    /// Whether the role does what it was started for.
    pub(crate) is_ready: bool,
    /// The state in words.
    pub(crate) status: String,
}

/// What was sent last.
struct Sent {
    is_ready: bool,
    status: String,
    alive: Instant,
}

impl ServiceManager {
    /// Connects to the service manager that the environment names. Must run in the runtime.
    pub(crate) fn of_process() -> Self {
        Self::of(&Environment::of_process(), std::process::id())
    }

    fn of(environment: &Environment, process: u32) -> Self {
        let number = |name: &str| environment.get(name)?.to_str()?.parse::<u64>().ok();
        let is_for_us = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(process));
        let watchdog = number("WATCHDOG_USEC").filter(|&limit| limit > 0 && is_for_us);

        Self {
            #[cfg(unix)]
            socket: connect_logged(environment),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// Returns whether there is a manager that is notified.
    #[cfg(unix)]
    pub(crate) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Returns `false`: such managers are of Unix.
    #[cfg(not(unix))]
    pub(crate) fn is_there(&self) -> bool {
        false
    }

    /// Reports the state of a role until it is dropped: when it is ready, every change of its status,
    /// that it is stopping, and that it is alive.
    pub(crate) async fn report(&self, state: impl Fn() -> RoleState, stop: Stop) -> Infallible {
        if !self.is_there() {
            return pending().await;
        }

        let mut looks = interval(self.watchdog.map_or(LOOK, |limit| LOOK.min(limit / 4)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = Sent {
            is_ready: false,
            status: String::new(),
            alive: Instant::now(),
        };
        let mut stopping = Some(Box::pin(stop.requested()));
        loop {
            let is_stopping = async {
                match &mut stopping {
                    Some(requested) => requested.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // Biased towards the end, which is reported once.
                biased;
                () = is_stopping => {
                    stopping = None;
                    self.send("STOPPING=1").await;
                }
                _ = looks.tick() => {}
            }
            self.send_changes(&mut sent, state(), stopping.is_none())
                .await;
        }
    }

    /// Sends what has changed, and the sign of life when half of the watchdog's patience is over.
    async fn send_changes(&self, sent: &mut Sent, state: RoleState, is_stopping: bool) {
        let mut lines = Vec::new();
        if state.is_ready && !sent.is_ready {
            sent.is_ready = true;
            lines.push("READY=1".to_owned());
        }

        let mut status = one_line(&state.status);
        if is_stopping {
            status.insert_str(0, "draining: ");
        }
        if status != sent.status {
            lines.push(format!("STATUS={status}"));
            sent.status = status;
        }

        let is_due = |limit: Duration| sent.alive.elapsed() >= limit / 4;
        if self.watchdog.is_some_and(is_due) {
            lines.push("WATCHDOG=1".to_owned());
            sent.alive = Instant::now();
        }

        if !lines.is_empty() {
            self.send(&lines.join("\n")).await;
        }
    }

    /// Reports that the process reads its files again, does it, and reports that this is over.
    pub(crate) async fn while_reloading(&self, reload: impl Future<Output = ()>) {
        if !self.is_there() {
            return reload.await;
        }
        let begin = format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_microseconds());
        self.send(&begin).await;
        reload.await;
        self.send("READY=1").await;
    }

    /// Sends a notification. A manager that does not take it in time, or is gone, misses it.
    #[cfg(unix)]
    async fn send(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        match tokio::time::timeout(SEND_TIMEOUT, socket.send(text.as_bytes())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the service manager was not notified"),
            Err(_) => tracing::warn!("the service manager takes no notification"),
        }
    }

    #[cfg(not(unix))]
    async fn send(&self, _: &str) {}
}

/// Returns the state of a server: it listens from its start on.
pub(crate) fn server_state(load: &ServerLoad) -> RoleState {
    RoleState {
        is_ready: true,
        status: format!("{} relays, {} calls", load.relays(), load.calls()),
    }
}

/// Returns the state of a relay: it is ready once its tunnel is up.
pub(crate) fn relay_state(link: &watch::Receiver<LinkState>) -> RoleState {
    let (is_ready, status) = match &*link.borrow() {
        LinkState::Connecting => (false, "connecting to the server".to_owned()),
        LinkState::Connected { .. } => (true, "connected to the server".to_owned()),
        LinkState::Waiting { error } => (false, format!("not connected: {error}")),
    };
    RoleState { is_ready, status }
}

/// Returns a text as one line that a terminal can show.
fn one_line(text: &str) -> String {
    let characters = text.chars().take(MAX_STATUS_CHARS);
    characters
        .map(|c| if controls_display(c) { ' ' } else { c })
        .collect()
}

/// Returns the time of the monotonic clock, by which the manager tells two reloads apart.
#[cfg(unix)]
fn monotonic_microseconds() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[cfg(not(unix))]
fn monotonic_microseconds() -> i64 {
    0
}

/// Connects to the socket of the environment. One that is named and cannot be reached is logged.
#[cfg(unix)]
fn connect_logged(environment: &Environment) -> Option<tokio::net::UnixDatagram> {
    let socket = environment.get("NOTIFY_SOCKET")?;
    connect(socket)
        .inspect_err(|error| {
            let socket = socket.to_string_lossy();
            tracing::warn!(%error, %socket, "cannot reach NOTIFY_SOCKET");
        })
        .ok()
}

#[cfg(unix)]
fn connect(name: &std::ffi::OsStr) -> std::io::Result<tokio::net::UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match abstract_address(name)? {
        Some(address) => socket.connect_addr(&address)?,
        None => socket.connect(name)?,
    }
    tokio::net::UnixDatagram::from_std(socket)
}

/// Returns the address of a name with `@` at its beginning, which is in no file system.
#[cfg(target_os = "linux")]
fn abstract_address(
    name: &std::ffi::OsStr,
) -> std::io::Result<Option<std::os::unix::net::SocketAddr>> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;

    let name = name.as_bytes().strip_prefix(b"@");
    name.map(std::os::unix::net::SocketAddr::from_abstract_name)
        .transpose()
}

#[cfg(all(unix, not(target_os = "linux")))]
fn abstract_address(
    _: &std::ffi::OsStr,
) -> std::io::Result<Option<std::os::unix::net::SocketAddr>> {
    Ok(None)
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
