//! Reads the settings of a server again, and gives it the keys and the access of now. Its certificate
//! files are read again, too.

use std::io;
use std::sync::Arc;

use llamapool_server::{AccessChanges, AccessReload, CertificateReload, LlmAccess, Server};

use super::{log_access, log_llm_access};
use crate::cli::CommandLine;
use crate::roles::RoleSettings;
use crate::roles::reload::{ReloadSignals, TerminalGone, log_waiting, read_again};
use crate::service_manager::ServiceManager;
use crate::settings::ServerSettings;

/// The signals of a server, and what it reads then.
pub(super) struct Rereading {
    signals: ReloadSignals,
    command_line: Arc<CommandLine>,
    running: ServerSettings,
}

/// The parts of a running server that are replaced.
pub(super) struct Replaced {
    access: AccessReload,
    certificates: Option<CertificateReload>,
    llm_access: LlmAccess,
    is_local: bool,
}

impl Replaced {
    /// The parts of a server; `is_local`: only this machine reaches it.
    pub(super) fn of(server: &Server, is_local: bool) -> Self {
        Self {
            access: server.access_reload(),
            certificates: server.certificate_reload(),
            llm_access: server.llm_access(),
            is_local,
        }
    }
}

impl Rereading {
    /// Takes the signal, which from now on does not end the process by itself.
    pub(super) fn listen(command_line: CommandLine, running: ServerSettings) -> io::Result<Self> {
        Ok(Self {
            signals: ReloadSignals::listen()?,
            command_line: Arc::new(command_line),
            running,
        })
    }

    /// Reads the settings again at every signal. Returns when the terminal of the process is gone.
    pub(super) async fn run(mut self, parts: Replaced, manager: &ServiceManager) -> TerminalGone {
        loop {
            if let Err(gone) = self.signals.next().await {
                return gone;
            }
            manager.while_reloading(self.read_again(&parts)).await;
        }
    }

    async fn read_again(&self, parts: &Replaced) {
        // Whatever the settings are: a new certificate must not wait for a mistake in them.
        if let Some(certificates) = &parts.certificates {
            certificates.request();
        }
        let of_server = |settings| match settings {
            RoleSettings::Server(settings) => Some(*settings),
            _ => None,
        };
        let Some(settings) = read_again(&self.command_line, of_server).await else {
            return;
        };

        log_waiting(&settings.waiting_for_restart(&self.running));
        let signs_in = |settings: &ServerSettings| settings.config.sign_in.is_some();
        if signs_in(&settings) != signs_in(&self.running) {
            // What ids ask of their callers depends on it.
            return tracing::error!("SIGN_IN has changed: keys and access wait for a restart, too");
        }
        match parts.access.replace(settings.config.identity).await {
            Ok(changes) => {
                log_changes(&changes);
                if !changes.rules.is_empty() {
                    log_access(&parts.access.access(), parts.is_local);
                }
                if !changes.is_empty() {
                    let has_keys = parts.access.has_llm_keys();
                    log_llm_access(parts.llm_access, has_keys, parts.is_local);
                }
            }
            Err(error) => tracing::error!(%error, "the keys and the access are as they were"),
        }
    }
}

fn log_changes(changes: &AccessChanges) {
    for key in &changes.keys_added {
        tracing::info!(key, "added");
    }
    for key in &changes.keys_changed {
        tracing::info!(key, "changed");
    }
    for key in &changes.keys_removed {
        tracing::info!(key, "removed");
    }
    for ids in &changes.rules {
        tracing::info!(ids, "the access has changed");
    }
    tracing::info!(
        keys_added = changes.keys_added.len(),
        keys_changed = changes.keys_changed.len(),
        keys_removed = changes.keys_removed.len(),
        rules = changes.rules.len(),
        ended = changes.ended,
        "the settings were read again"
    );
}
