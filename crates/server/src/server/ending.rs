//! The end of the server: nothing new is taken, what runs may end, and then everything is closed.

use std::time::Duration;

use llamapool_tunnel::CloseReason;
use llamapool_wire::{Mark, people_line};
use tokio::task::JoinSet;

use super::SharedParts;

/// The time for closing tunnels and connections once all calls are over.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);
/// The time of a drain after which it is logged what it waits for, and the interval after that.
const FIRST_DRAIN_REPORT: Duration = Duration::from_secs(2);
const DRAIN_REPORTS: Duration = Duration::from_secs(30);

/// Returns the line for people about the end; empty if it waits for nothing.
fn finishing_line(calls: usize) -> String {
    let word = if calls == 1 { "call" } else { "calls" };
    match calls {
        0 => String::new(),
        calls => {
            let text = format!("{calls} {word}; Ctrl-C again ends now");
            people_line(Mark::Draining, "finishing", text).to_string()
        }
    }
}

impl SharedParts {
    /// Closes tunnels and listeners, and waits for their ends for a while.
    pub(super) async fn close(&self, mut listeners: JoinSet<()>) {
        self.registry.close_all(CloseReason::GoingAway);
        self.farewell.cancel();

        let all_ended = async {
            while listeners.join_next().await.is_some() {}
            self.tunnels.close();
            self.tunnels.wait().await;
        };
        if tokio::time::timeout(FAREWELL, all_ended).await.is_err() {
            tracing::debug!("connections were still open at the end");
        }
    }

    /// Takes nothing new, and waits for the calls that run.
    pub(super) async fn drain(&self, patience: Duration) {
        self.gate.close();
        let calls = self.gate.running();
        tracing::info!(
            calls, ?patience,
            progress = true,
            people = %finishing_line(calls),
            "draining"
        );

        let ending_listeners = async {
            self.listeners.end_when_idle(|| self.gate.running()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // Biased towards the end, after which there is nothing to report.
            biased;
            () = self.gate.empty() => {}
            () = tokio::time::sleep(patience) => tracing::warn!(
                calls = self.gate.running(),
                "drain timeout: ending what still runs"
            ),
            () = self.report_waiting() => {}
            () = ending_listeners => {}
        }
    }

    /// Logs what a drain waits for. Never returns.
    async fn report_waiting(&self) {
        let mut pause = FIRST_DRAIN_REPORT;
        loop {
            tokio::time::sleep(pause).await;
            pause = DRAIN_REPORTS;

            let stats = self.directory.all_stats();
            let calls = stats
                .iter()
                .flat_map(|(id, stats)| stats.active().into_iter().map(move |call| (id, call)));
            let Some((id, call)) = calls.min_by_key(|(_, call)| call.started) else {
                continue;
            };
            tracing::info!(
                calls = self.gate.running(),
                event_streams = self.listeners.open(),
                oldest = %id,
                method = call.label().as_str(),
                runs_for = ?call.duration(),
                progress = true,
                people = %people_line(
                    Mark::Draining,
                    "finishing",
                    format_args!(
                        "{} calls still run; the oldest is {} of {id}, for {} s; Ctrl-C again ends now",
                        self.gate.running(),
                        call.label().as_str(),
                        call.duration().as_secs()
                    ),
                ),
                "waiting for running calls; a second signal ends them"
            );
        }
    }
}
