//! The log of one run of a program. Every line names the provider.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use llamapool_wire::{Mark, people_line};

use crate::child::Exit;
use crate::stderr::LastLine;

/// The log of one run of a program. Clones are the same log.
#[derive(Clone, Default)]
pub(crate) struct ProgramLog {
    /// The name of the provider.
    provider: Option<Arc<str>>,
    /// The process id of the program's guard.
    pid: Arc<AtomicU32>,
    /// True while what the program writes repeats what a program before it wrote that failed: it is
    /// logged at level debug.
    is_retry: Arc<AtomicBool>,
    /// The last line on standard error.
    pub(crate) last_line: LastLine,
}

impl ProgramLog {
    /// Creates the log of a run. `is_retry` is true if the run before it failed.
    pub(crate) fn new(provider: Option<Arc<str>>, is_retry: bool) -> Self {
        Self {
            provider,
            is_retry: Arc::new(AtomicBool::new(is_retry)),
            ..Self::default()
        }
    }

    pub(crate) fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Logs that the program was started. Its arguments may contain a secret.
    pub(crate) fn started(&self, command: &[OsString], is_by_bridge: bool) {
        let provider = self.provider();
        let pid = self.pid();
        let program = command.first().map(|program| program.to_string_lossy());
        let program = program.as_deref();
        if is_by_bridge && !self.is_retry() {
            tracing::info!(provider, pid, program, "started the provider's program");
        } else {
            tracing::debug!(provider, pid, program, "started the provider's program");
        }
    }

    /// Logs that the program has not written a message yet.
    pub(crate) fn still_starting(&self, elapsed: Duration) {
        let last_words = self.last_line.get();
        let seconds = elapsed.as_secs();
        let said = match last_words.as_str() {
            "" => "nothing said yet",
            said => said,
        };
        tracing::info!(
            provider = self.provider(),
            pid = self.pid(),
            seconds,
            last_words = last_words.as_str(),
            progress = true,
            people = %people_line(
                Mark::Gone,
                self.word(),
                format_args!("its program still starts, for {seconds} s: {said}"),
            ),
            "the provider's program still starts: it has not answered yet"
        );
    }

    /// Notes that the program wrote a message: what it writes from now on is new.
    pub(crate) fn answered(&self) {
        self.is_retry.store(false, Ordering::Relaxed);
    }

    /// Logs the exit of a program that was asked to end.
    pub(crate) fn ended(&self, exit: &Exit) {
        tracing::debug!(
            provider = self.provider(),
            pid = self.pid(),
            end = %exit,
            "the provider's program has ended"
        );
    }

    /// Logs the exit of a program that was not asked to end, with its last line on standard error.
    pub(crate) fn ended_by_itself(&self, exit: &Exit) {
        tracing::warn!(
            provider = self.provider(),
            pid = self.pid(),
            end = %exit,
            last_words = exit.last_stderr_line,
            people = %ended_line(self.word(), exit),
            "the provider's program has ended by itself"
        );
    }

    /// Logs a line of standard error, and how many before it were left out.
    pub(crate) fn stderr_line(&self, line: &str, left_out: u64) {
        let provider = self.provider();
        let pid = self.pid();
        if left_out > 0 {
            tracing::warn!(
                provider,
                pid,
                left_out,
                "the provider says more on standard error than is logged"
            );
        }
        if self.is_retry() {
            tracing::debug!(provider, pid, line, "the provider says");
        } else {
            tracing::info!(provider, pid, line, "the provider says");
        }
    }

    /// Returns the word of the provider in lines for people.
    fn word(&self) -> &str {
        let label = self.provider().unwrap_or("program");
        if label.starts_with('#') {
            "provider"
        } else {
            label
        }
    }

    fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    fn is_retry(&self) -> bool {
        self.is_retry.load(Ordering::Relaxed)
    }
}

/// Returns the line for people about a program that has ended by itself. Of one that has not
/// answered anything the health of the provider is enough.
fn ended_line(word: &str, exit: &Exit) -> String {
    if !exit.has_answered {
        return String::new();
    }
    let last_words = match exit.last_stderr_line.as_str() {
        "" => String::new(),
        last_words => format!(": {last_words}"),
    };
    let text = format!("a program has ended by itself ({exit}){last_words}");
    people_line(Mark::Failing, word, text).to_string()
}
