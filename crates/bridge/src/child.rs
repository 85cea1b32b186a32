//! One run of a program, from its start to its exit.
//!
//! An observer receives every line and, last, the exit. The program is started by the guard, which
//! ensures that nothing of it outlives its input. This module closes the input, and does nothing
//! else to end a program.

use std::fmt;
use std::future::Future;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llamapool_limits::MemoryAccount;
use llamapool_mcp::parse_messages;
use llamapool_wire::{CallError, Cause};
use tokio::process::{Child as Process, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::BridgeConfig;
use crate::guard_command::Patience;
use crate::guard_input::GuardInput;
use crate::line_reader::{LineError, LineReader};
use crate::program_input::{ProgramInput, program_input};
use crate::program_log::ProgramLog;
use crate::stderr::{self, LastLine};

/// From the end of a program's input to SIGTERM, and from there to SIGKILL.
const GUARD_PATIENCE: Patience = Patience {
    input: Duration::from_secs(2),
    term: Duration::from_secs(2),
};
/// How long a program that has closed its output may take to exit before it counts as exited.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last lines on standard error are awaited after the exit.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The guard adds this to the number of the signal that ended a program, as shells do.
const BY_SIGNAL: i32 = 128;

/// Observes a program.
pub(crate) trait ProgramObserver: Send + Sync + 'static {
    /// Receives a line of standard output. The next line is read when the future completes.
    fn on_line(&self, line: Bytes) -> impl Future<Output = ()> + Send;

    /// Receives the exit, after every line.
    fn on_exit(&self, exit: &Exit);
}

/// How a program ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    /// `None` if the guard was killed, or the exit was not awaited.
    status: Option<i32>,
    /// Why the bridge gave the program up, if it did.
    reason: Option<String>,
    /// The last line on standard error, for the log alone.
    pub(crate) last_stderr_line: String,
    /// True if the program closed its standard input and went on.
    has_closed_input: bool,
    /// True if the bridge closed the program's input before.
    pub(crate) is_requested: bool,
    /// True if the program wrote a message before.
    pub(crate) has_answered: bool,
}

impl Exit {
    /// Creates an exit with a status, after a line and not requested.
    #[cfg(test)]
    pub(crate) fn with_status(status: i32) -> Self {
        Self {
            status: Some(status),
            reason: None,
            last_stderr_line: String::new(),
            has_closed_input: false,
            is_requested: false,
            has_answered: true,
        }
    }

    /// Returns the exit of a program that is not attended to any more: the runtime ends.
    pub(crate) fn unattended() -> Self {
        Self {
            status: None,
            reason: None,
            last_stderr_line: String::new(),
            has_closed_input: false,
            is_requested: true,
            has_answered: true,
        }
    }

    /// Returns the failure of a call that was waiting for the program.
    pub(crate) fn failure(&self) -> CallError {
        // A program that has answered nothing was only asked how to talk to it.
        if !self.has_answered {
            let message = format!("the MCP server ended before it answered anything ({self})");
            return CallError::new(Cause::ProviderNotStarted, message);
        }

        let cause = if self.reason.is_some() {
            Cause::ProviderGarbage
        } else {
            Cause::ProviderExited
        };
        let message = format!(
            "the MCP server has ended ({self}) before it had answered; it may have executed the call"
        );
        CallError::new(cause, message)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Writing also fails when the program has just exited by itself.
        let was_ended = self.status.is_none_or(|status| status > BY_SIGNAL);
        if self.has_closed_input && was_ended {
            f.write_str("it had closed its standard input, ")?;
        }
        match (&self.reason, self.status) {
            (Some(reason), _) => f.write_str(reason),
            (None, Some(status)) if status > BY_SIGNAL => {
                write!(f, "exit status {status}, signal {}", status - BY_SIGNAL)
            }
            (None, Some(status)) => write!(f, "exit status {status}"),
            (None, None) => f.write_str("ended by force"),
        }
    }
}

/// How attending to a program ended.
pub(crate) enum Attended {
    /// The program exited, and its observer has received the exit.
    Exited(Exit),
    /// Another observer is to attend to the program. No line is lost.
    Released(Box<Child>),
}

/// A program that runs and has no observer.
pub(crate) struct Child {
    pub(crate) input: ProgramInput,
    process: Process,
    lines: LineReader<ChildStdout>,
    /// The task that logs standard error.
    stderr: JoinHandle<()>,
    last_line: LastLine,
    /// True once the program wrote a message.
    has_answered: bool,
}

impl Child {
    /// Starts the program. Its input is closed at the latest when `bridge` is cancelled.
    pub(crate) fn start(
        config: &BridgeConfig,
        tasks: &TaskTracker,
        bridge: &CancellationToken,
        memory: &MemoryAccount,
        log: &ProgramLog,
    ) -> io::Result<Self> {
        let guard_input = GuardInput::open()?;
        let mut process = command(config).stdin(guard_input.guard).spawn()?;
        let missing = || io::Error::other("the program has no standard output");
        let stdout = process.stdout.take().ok_or_else(missing)?;
        let stderr = process.stderr.take().ok_or_else(missing)?;

        let (input, writer) = program_input(bridge, memory);
        let input = input.of_provider(config.label.clone());
        let stdin = guard_input.program;
        let lifeline = guard_input.lifeline;
        tasks.spawn(async move {
            writer.write_to(stdin).await;
            drop(lifeline);
        });

        log.set_pid(process.id().unwrap_or_default());
        let stderr = tasks.spawn(stderr::log_lines(stderr, log.clone()));

        Ok(Self {
            input,
            process,
            lines: LineReader::new(stdout, config.max_message_bytes, memory),
            stderr,
            last_line: log.last_line.clone(),
            has_answered: false,
        })
    }

    /// Returns the process id of the program's guard.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Counts the program's messages in another account from now on.
    pub(crate) fn count_in(&mut self, memory: &MemoryAccount) {
        self.lines.count_in(memory);
    }

    /// Passes every line to the observer until the program exits, and then the exit. Once `release`
    /// is cancelled, returns the program between two lines.
    pub(crate) async fn attend<O: ProgramObserver>(
        mut self,
        observer: Arc<O>,
        release: &CancellationToken,
    ) -> Attended {
        let pid = self.pid();
        let reason = loop {
            let next = tokio::select! {
                // Biased towards the release, so that a program that writes all the time is
                // released, too. Reading a line can be given up without losing any of it.
                biased;
                () = release.cancelled() => return Attended::Released(Box::new(self)),
                next = self.next(pid) => next,
            };
            match next {
                Ok(Some(line)) => {
                    self.has_answered = self.has_answered || is_message(&line);
                    observer.on_line(line).await;
                }
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        Attended::Exited(self.end(&observer, reason).await)
    }

    /// Ends a program that has closed its output, or whose output is unusable for a `reason`, and
    /// passes the exit to the observer.
    async fn end<O: ProgramObserver>(mut self, observer: &Arc<O>, reason: Option<String>) -> Exit {
        let pid = self.pid();
        let has_answered = self.has_answered;
        let has_closed_input = self.input.is_broken();
        let is_requested = self.input.is_closed() && !has_closed_input && reason.is_none();
        // A program that has closed its output, or whose output is unusable, has nothing to live
        // for.
        self.input.close();
        drop(self.lines);

        let gives_up = reason.is_some();
        if gives_up {
            // The status would add nothing to the reason, so calls need not wait for it.
            observer.on_exit(&Exit {
                status: None,
                reason: reason.clone(),
                last_stderr_line: String::new(),
                has_closed_input,
                is_requested,
                has_answered,
            });
        }

        let status = match tokio::time::timeout(END_PATIENCE, self.process.wait()).await {
            Ok(Ok(status)) => status.code(),
            Ok(Err(_)) | Err(_) => None,
        };
        if status.is_none() {
            kill_group(pid);
        }
        // Its last words may still be in the pipe. A descendant that escaped can hold the pipe open.
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.stderr).await;

        let exit = Exit {
            status,
            reason,
            last_stderr_line: self.last_line.get(),
            has_closed_input,
            is_requested,
            has_answered,
        };
        if !gives_up {
            observer.on_exit(&exit);
        }
        exit
    }

    /// Returns the next line of standard output, `None` at its end. If the guard itself was killed,
    /// the program counts as ended.
    async fn next(&mut self, pid: u32) -> Result<Option<Bytes>, LineError> {
        let status = tokio::select! {
            // Biased towards lines: everything that was written counts.
            biased;
            line = self.lines.next() => return line,
            status = self.process.wait() => status,
        };
        if status.ok().and_then(|status| status.code()).is_none() {
            kill_group(pid);
        }

        // Lines that were written before the exit are in the pipe. A process that escaped and holds
        // the pipe open is not waited for.
        tokio::time::timeout(END_PATIENCE, self.lines.next())
            .await
            .unwrap_or(Ok(None))
    }
}

/// Returns whether a line is a message, or several: anything else is chatter.
pub(crate) fn is_message(line: &Bytes) -> bool {
    parse_messages(line).is_ok()
}

/// Returns the command that starts the guard with the program.
fn command(config: &BridgeConfig) -> Command {
    let mut command = Command::new(&config.guard);
    command
        .args(GUARD_PATIENCE.to_arguments())
        .args(&config.command)
        .env_clear()
        .envs(config.environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A terminal's Ctrl-C is for the bridge's process, which then ends its programs in order.
    #[cfg(unix)]
    command.process_group(0);
    if let Some(directory) = &config.directory {
        command.current_dir(directory);
    }
    command
}

/// Kills the group of a guard that was killed or does not end: nothing of it may be left.
fn kill_group(pid: u32) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = pid;
}
