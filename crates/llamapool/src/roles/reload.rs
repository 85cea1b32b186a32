//! The hangup signal, by which a process is told to read its settings again, and that reading.
//!
//! A wrong file changes nothing. What takes effect at a start alone is named in the log.

use std::fs::File;
use std::future::Future;
use std::io;
use std::sync::Arc;

use super::RoleSettings;
use crate::cli::{CliError, CommandLine, Invocation};
use crate::settings::ConfigError;
use crate::stop::{Hangup, Stop};

/// The hangup signals of a process that reads its settings again.
pub(super) struct ReloadSignals {
    hangup: Hangup,
    terminal: Terminal,
}

/// The terminal of the process has ended, which sends the same signal.
pub(super) struct TerminalGone;

impl ReloadSignals {
    /// Takes the signal, which from now on does not end the process by itself.
    pub(super) fn listen() -> io::Result<Self> {
        // Looked at before the signal is taken, which ends that it is ignored.
        let terminal = Terminal::of_process();
        Ok(Self {
            hangup: Hangup::listen()?,
            terminal,
        })
    }

    /// Waits until the process is told to read its settings again.
    ///
    /// # Errors
    ///
    /// If its terminal is gone instead.
    pub(super) async fn next(&mut self) -> Result<(), TerminalGone> {
        self.hangup.next().await;
        if self.terminal.is_gone() {
            return Err(TerminalGone);
        }
        Ok(())
    }
}

/// Waits until the process is told to stop, or its terminal is gone, while its settings are read again.
pub(super) async fn until_stopped(stop: Stop, rereading: impl Future<Output = TerminalGone>) {
    tokio::select! {
        () = stop.requested() => {}
        TerminalGone = rereading => tracing::info!("the terminal is gone: told to end"),
    }
}

/// Reads the settings of a role as at its start. `None` if they are wrong, which is logged.
pub(super) async fn read_again<T>(
    command_line: &Arc<CommandLine>,
    of_role: fn(RoleSettings) -> Option<T>,
) -> Option<T> {
    tracing::info!("told to read the settings again");
    // Files and programs are looked for on other threads: calls go on.
    let command_line = command_line.clone();
    let read = tokio::task::spawn_blocking(move || parse(&command_line)).await;
    match read {
        // Always of the same role: the arguments are those of the start.
        Ok(Ok(settings)) => of_role(settings),
        Ok(Err(errors)) => {
            log_errors(&errors);
            None
        }
        Err(error) => {
            tracing::error!(%error, "the settings were not read again");
            None
        }
    }
}

/// Logs the settings that have changed and take effect at a start alone.
pub(super) fn log_waiting(settings: &[&'static str]) {
    for setting in settings {
        tracing::warn!(setting, "changed, and takes effect after a restart");
    }
}

/// Returns all that is wrong, a line for each.
fn parse(command_line: &CommandLine) -> Result<RoleSettings, Vec<String>> {
    match command_line.parse() {
        Ok(Invocation::Run(settings)) => Ok(settings),
        Ok(_) => Err(vec![
            "the command line is no longer that of a role".to_owned(),
        ]),
        Err(CliError::Config(ConfigError::Several(errors))) => {
            Err(errors.iter().map(ToString::to_string).collect())
        }
        Err(error) => Err(vec![error.to_string()]),
    }
}

fn log_errors(errors: &[String]) {
    for error in errors {
        tracing::error!(error, "a wrong setting");
    }
    let count = errors.len();
    tracing::error!(
        errors = count,
        "the settings were read again and are wrong: those of before hold on"
    );
}

/// The terminal that controls the process.
///
/// The end of a terminal sends the signal by which services read their files again. A
/// relay that was started by hand ends with its terminal, as before, unless it was started with
/// `nohup`.
struct Terminal {
    ends_the_process: bool,
}

impl Terminal {
    fn of_process() -> Self {
        Self {
            ends_the_process: exists() && !is_hangup_ignored(),
        }
    }

    /// Returns whether the process had a terminal and has none now.
    fn is_gone(&self) -> bool {
        self.ends_the_process && !exists()
    }
}

fn exists() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Returns whether the process was started with the signal ignored; `false` where the system does
/// not show it.
fn is_hangup_ignored() -> bool {
    // Bit 0 of the mask is signal 1 (proc(5), SigIgn).
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}
