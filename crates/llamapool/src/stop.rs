//! When a process is told to end: the first signal asks it to finish what runs, the second ends it now.

use std::future::Future;

use anyhow::bail;
use tokio::sync::watch;

/// Runs a role with a future that resolves at the first signal. The second drops the role where it stands.
pub(crate) async fn run_until_told<R, F>(role: R) -> anyhow::Result<()>
where
    R: FnOnce(Stop) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let mut signals = Signals::listen()?;
    let (told, stop) = watch::channel(false);
    let watching = async {
        signals.next().await;
        tracing::info!("told to end; once more to end now");
        told.send_replace(true);
        signals.next().await;
    };
    tokio::select! {
        // Biased towards the role: if it has ended by itself, no signal matters.
        biased;
        ended = role(Stop(stop)) => ended,
        () = watching => bail!("ended by a second signal"),
    }
}

/// Resolves when the process is told to end.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    pub(crate) async fn told(mut self) {
        // It errs only if the watcher is gone, and with it the role.
        let _ = self.0.wait_for(|told| *told).await;
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without a console there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
