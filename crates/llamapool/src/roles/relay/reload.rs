//! Reads the settings of a relay again, and gives it the providers of now.

use std::io;
use std::sync::Arc;

use llamapool_relay::{ReloadReport, Reloader};

use crate::cli::CommandLine;
use crate::roles::RoleSettings;
use crate::roles::reload::{ReloadSignals, TerminalGone, log_waiting, read_again};
use crate::service_manager::ServiceManager;
use crate::settings::RelaySettings;

/// The signals of one relay, and what it reads then.
pub(in crate::roles) struct Rereading {
    signals: ReloadSignals,
    command_line: Arc<CommandLine>,
    running: RelaySettings,
}

impl Rereading {
    /// Takes the signal, which from now on does not end the process by itself.
    pub(in crate::roles) fn listen(
        command_line: CommandLine,
        running: RelaySettings,
    ) -> io::Result<Self> {
        Ok(Self {
            signals: ReloadSignals::listen()?,
            command_line: Arc::new(command_line),
            running,
        })
    }

    /// Reads the settings again at every signal. Returns when the terminal of the process is gone.
    pub(in crate::roles) async fn run(
        mut self,
        reloader: Reloader,
        manager: &ServiceManager,
    ) -> TerminalGone {
        loop {
            if let Err(gone) = self.signals.next().await {
                return gone;
            }
            manager.while_reloading(self.read_again(&reloader)).await;
        }
    }

    async fn read_again(&mut self, reloader: &Reloader) {
        let of_relay = |settings| match settings {
            RoleSettings::Relay(settings) => Some(*settings),
            _ => None,
        };
        let Some(settings) = read_again(&self.command_line, of_relay).await else {
            return;
        };

        log_notes(&settings);
        log_waiting(&settings.waiting_for_restart(&self.running));
        match reloader.reload(settings.config.providers.clone()).await {
            Ok(report) => {
                log_report(&report);
                self.running = settings.with_start_of(&self.running);
            }
            Err(error) => tracing::error!(%error, "the providers are as they were"),
        }
    }
}

fn log_report(report: &ReloadReport) {
    for provider in &report.added {
        tracing::info!(provider, "added");
    }
    for provider in &report.changed {
        tracing::info!(provider, "replaced by one with other settings");
    }
    for provider in &report.removed {
        tracing::info!(provider, "removed");
    }
    tracing::info!(
        added = report.added.len(),
        changed = report.changed.len(),
        removed = report.removed.len(),
        unchanged = report.unchanged,
        "the settings were read again"
    );
}

/// Logs the notes on the file of MCP servers.
pub(super) fn log_notes(settings: &RelaySettings) {
    let notes = settings.servers_file.iter().flat_map(|file| file.notes());
    for note in notes {
        tracing::warn!("{note}");
    }
}
