//! The tasks of a running relay that a reload changes: one for each tunnel, one for each provider.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::plan::{Step, plan};
use super::{Reload, ReloadReport, Reloads};
use crate::app::App;
use crate::config::ProviderConfig;
use crate::dial::Dialer;
use crate::providers::entry::ProviderEntry;
use crate::relay::PROGRAMS_END;
use crate::relay_tunnel::RelayTunnel;
use crate::slot::Slot;
use crate::supervisor::{self, DisconnectedError};

/// The time in which calls arrive that were on their way when a provider was removed.
const CALLS_ARRIVE: Duration = Duration::from_secs(2);

/// The tasks of the tunnels and of the providers. Dropping it ends them.
pub(crate) struct Running {
    app: Arc<App>,
    dialer: Dialer,
    tunnels: JoinSet<Result<(), DisconnectedError>>,
    /// The number of the next tunnel.
    next_tunnel: usize,
    providers: JoinSet<()>,
}

impl Running {
    /// Starts to attend to the providers, and dials.
    pub(crate) fn start(app: &Arc<App>, dialer: Dialer) -> Self {
        let mut running = Self {
            app: app.clone(),
            dialer: dialer.clone(),
            tunnels: JoinSet::new(),
            next_tunnel: 1,
            providers: JoinSet::new(),
        };
        for entry in app.providers() {
            running.attend(entry);
        }
        let first = RelayTunnel::first(dialer, app.roster.slots());
        running.tunnels.spawn(supervisor::run(app.clone(), first));
        running
    }

    /// Serves the tunnels until the relay stops, and replaces the providers when that is requested.
    ///
    /// # Errors
    ///
    /// That of a tunnel which is not to reconnect.
    pub(crate) async fn until_over(
        &mut self,
        mut reloads: Reloads,
    ) -> Result<(), DisconnectedError> {
        loop {
            tokio::select! {
                // Biased towards the end, after which there is nothing to replace.
                biased;
                ended = self.tunnels.join_next() => match ended {
                    None => return Ok(()),
                    Some(Ok(Err(error))) => return Err(error),
                    // A tunnel all of whose ids were left; a panic has been logged.
                    Some(_) => {}
                },
                reload = reloads.next() => {
                    if !self.app.stop.is_cancelled() {
                        let Reload { providers, done } = reload;
                        let report = self.replace(providers);
                        // The requester may have left.
                        let _ = done.send(report);
                    }
                }
                Some(_) = self.providers.join_next() => {}
            }
        }
    }

    /// Stops attending to the providers: nothing starts a program any more.
    pub(crate) async fn stop_attending(&mut self) {
        self.providers.shutdown().await;
    }

    /// Replaces the providers.
    fn replace(&mut self, after: Vec<ProviderConfig>) -> ReloadReport {
        let old_slots = self.app.roster.slots();
        let entries: Vec<_> = old_slots.iter().map(|slot| slot.entry()).collect();
        let before: Vec<_> = entries.iter().map(|entry| &entry.config).collect();
        let steps = plan(&before, &after);

        let is_draining = self.app.is_draining();
        let mut report = ReloadReport::default();
        let mut slots = Vec::new();
        let mut added = Vec::new();
        for (step, config) in steps.into_iter().zip(after) {
            match step {
                Step::Keep(place) => {
                    report.unchanged += 1;
                    slots.push(old_slots[place].clone());
                }
                Step::Replace(place) => {
                    let slot = &old_slots[place];
                    let entry = self.app.roster.make(config, Some(slot));
                    entry.status.set_draining(is_draining);
                    report.changed.push(entry.label().to_owned());
                    self.retire(slot.replace(entry.clone()));
                    self.attend(entry);
                    slots.push(slot.clone());
                }
                Step::Add => {
                    let entry = self.app.roster.make(config, None);
                    entry.status.set_draining(is_draining);
                    report.added.push(entry.label().to_owned());
                    let slot = Slot::new(entry.clone());
                    self.attend(entry);
                    added.push(slot.clone());
                    slots.push(slot);
                }
            }
        }

        let is_kept = |slot: &Arc<Slot>| slots.iter().any(|kept| Arc::ptr_eq(kept, slot));
        let removed: Vec<_> = old_slots.iter().filter(|slot| !is_kept(slot)).collect();
        self.app.roster.set_slots(slots.clone());
        for slot in removed {
            slot.leave();
            let entry = slot.entry();
            report.removed.push(entry.label().to_owned());
            self.retire(entry);
        }
        self.connect(added);
        report
    }

    /// Dials for providers that were added.
    fn connect(&mut self, slots: Vec<Arc<Slot>>) {
        if slots.is_empty() {
            return;
        }
        let tunnel = RelayTunnel::added(self.next_tunnel, &self.dialer, slots);
        self.next_tunnel += 1;
        self.tunnels
            .spawn(supervisor::run(self.app.clone(), tunnel));
    }

    /// Attends to a provider until it is retired and has ended.
    fn attend(&mut self, entry: Arc<ProviderEntry>) {
        let app = self.app.clone();
        self.providers.spawn(async move {
            tokio::select! {
                // Biased towards the end: it comes once.
                biased;
                () = retired_and_idle(&entry, app.config.drain_timeout) => {}
                () = entry.provider.run() => {}
            }
            if tokio::time::timeout(PROGRAMS_END, entry.provider.shutdown())
                .await
                .is_err()
            {
                tracing::warn!(
                    provider = entry.label(),
                    "the program of a removed provider has not ended in time; its guard goes on ending it"
                );
            }
            app.roster.forget(&entry);
            tracing::info!(provider = entry.label(), "a removed provider has ended");
        });
    }

    /// Lets a provider that is in no slot any more finish its calls, and ends it.
    fn retire(&self, entry: Arc<ProviderEntry>) {
        entry.retire();
        self.app.roster.add_retiring(entry);
    }
}

/// Waits until a provider was removed and its calls are over, or the time for that is.
async fn retired_and_idle(entry: &ProviderEntry, patience: Duration) {
    entry.retired().await;

    let idle = async {
        tokio::time::sleep(CALLS_ARRIVE.min(patience)).await;
        entry.status.calls().until_idle().await;
    };
    let ending_listeners = async {
        entry.end_listeners_when_idle().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // Biased towards the end of the calls.
        biased;
        () = idle => {}
        () = ending_listeners => {}
        () = tokio::time::sleep(patience) => {
            let calls = entry.status.calls().running();
            tracing::warn!(
                provider = entry.label(), calls,
                "drain timeout of a removed provider: ending what still runs"
            );
        }
    }
}
