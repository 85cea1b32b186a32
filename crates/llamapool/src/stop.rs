//! Stopping a process: the first signal requests it to finish the running calls, the second ends it
//! at once.

use std::future::Future;

use anyhow::bail;
use tokio::sync::watch;

/// Runs a role, with a handle that resolves at the first signal. The second signal drops the role.
///
/// # Errors
///
/// Those of the role, and one for the second signal.
pub(crate) async fn run_until_stopped<R, F>(role: R) -> anyhow::Result<()>
where
    R: FnOnce(Stop) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let mut signals = Signals::listen()?;
    let (requested, stop) = watch::channel(false);

    let second_signal = async {
        signals.next().await;
        tracing::info!("told to end; once more to end now");
        requested.send_replace(true);
        signals.next().await;
    };

    tokio::select! {
        // Biased towards the role: once it has ended by itself, no signal matters.
        biased;
        ended = role(Stop(stop)) => ended,
        () = second_signal => bail!("ended by a second signal"),
    }
}

/// A request to stop.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the process is requested to stop.
    pub(crate) async fn requested(mut self) {
        // It fails only if the sender is gone, and with it the role.
        let _ = self.0.wait_for(|requested| *requested).await;
    }

    /// Returns a request that is made through the sender.
    #[cfg(test)]
    pub(crate) fn for_test() -> (Self, watch::Sender<bool>) {
        let (requested, stop) = watch::channel(false);
        (Self(stop), requested)
    }
}

/// The signal by which a process reads its files again.
#[cfg(unix)]
pub(crate) struct Hangup(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangup {
    /// Takes the signal, which from now on does not end the process.
    pub(crate) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the signal.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// The signal by which a process reads its files again.
#[cfg(not(unix))]
pub(crate) struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    /// There is no such signal here.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Waits for ever.
    pub(crate) async fn next(&mut self) {
        std::future::pending().await
    }
}

/// The signals that stop a process.
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

/// The signals that stop a process.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without a console no signal can arrive.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
