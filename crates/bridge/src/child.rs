//! One run of the program that is the provider, from its start to its end.
//!
//! Who hears it is told of every line and, last, of the end. The one rule: the program is started by the guard, which sees
//! to it that nothing of it outlives its input; here its input is closed, and nothing else is done to end it.

use std::fmt;
use std::future::Future;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llamapool_wire::Cause;
use tokio::process::{Child as Process, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use crate::config::BridgeConfig;
use crate::crew::Crew;
use crate::guard_command::Patience;
use crate::input::{Input, input};
use crate::lines::{Lines, NoLine};
use crate::stderr::{self, LastWords};

/// From the end of a program's input to SIGTERM, and from there to SIGKILL.
const GUARD_PATIENCE: Patience = Patience {
    input: Duration::from_secs(2),
    term: Duration::from_secs(2),
};
/// How long a program that has closed its output may take to end before this is called its end.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// What the guard adds to a signal's number, as shells do.
const BY_SIGNAL: i32 = 128;

/// Who hears a program.
pub(crate) trait Hears: Send + Sync + 'static {
    /// It wrote a line. Nothing more is read until this is done.
    fn heard(&self, line: Bytes) -> impl Future<Output = ()> + Send;
    /// It has ended.
    fn ended(&self, end: &Ended);
}

/// How a program ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    status: Option<i32>,
    /// Why it was given up, if it was.
    why: Option<String>,
    /// Its last line on standard error, for the log alone.
    pub(crate) last_words: String,
    /// Whether it was asked to.
    pub(crate) was_asked: bool,
    /// Whether it has said anything before.
    pub(crate) has_spoken: bool,
}

impl Ended {
    /// An end with an exit status, after it has spoken.
    #[cfg(test)]
    pub(crate) fn by_itself(status: i32) -> Self {
        Self {
            status: Some(status),
            why: None,
            last_words: String::new(),
            was_asked: false,
            has_spoken: true,
        }
    }

    /// What a call that waited for it failed of.
    pub(crate) fn cause(&self) -> Cause {
        if self.why.is_some() {
            Cause::ProviderGarbage
        } else {
            Cause::ProviderExited
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.why, self.status) {
            (Some(why), _) => f.write_str(why),
            (None, Some(status)) if status > BY_SIGNAL => {
                write!(f, "exit status {status}, signal {}", status - BY_SIGNAL)
            }
            (None, Some(status)) => write!(f, "exit status {status}"),
            (None, None) => f.write_str("ended by force"),
        }
    }
}

/// A program that runs and that nobody hears yet.
pub(crate) struct Child {
    pub(crate) input: Input,
    process: Process,
    lines: Lines<ChildStdout>,
    last_words: LastWords,
}

impl Child {
    /// Starts the program; its input is closed at the latest with `bridge`.
    pub(crate) fn start(
        config: &BridgeConfig,
        crew: &Crew,
        bridge: &CancellationToken,
    ) -> io::Result<Self> {
        let mut command = Command::new(&config.guard);
        command
            .args(GUARD_PATIENCE.to_arguments())
            .args(&config.command)
            .env_clear()
            .envs(config.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A terminal's Ctrl-C is for the relay, which then ends its programs in order.
        #[cfg(unix)]
        command.process_group(0);
        if let Some(directory) = &config.directory {
            command.current_dir(directory);
        }
        let mut process = command.spawn()?;
        let pipes = (
            process.stdin.take(),
            process.stdout.take(),
            process.stderr.take(),
        );
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other(
                "the program has no standard input and output",
            ));
        };
        let (input, outgoings) = input(bridge);
        let last_words = LastWords::default();
        crew.take(outgoings.write_to(stdin));
        crew.take(stderr::log(
            stderr,
            process.id().unwrap_or_default(),
            last_words.clone(),
        ));
        Ok(Self {
            input,
            process,
            lines: Lines::new(stdout, config.max_message_bytes),
            last_words,
        })
    }

    /// The process that guards the program.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Hands on every line until the program's end, and then that.
    pub(crate) async fn attend<H: Hears>(mut self, hears: Arc<H>) -> Ended {
        let pid = self.pid();
        let mut has_spoken = false;
        let why = loop {
            match self.next(pid).await {
                Ok(Some(line)) => {
                    has_spoken = true;
                    hears.heard(line).await;
                }
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        let was_asked = self.input.is_closed() && why.is_none();
        // A program that has closed its output, or whose output is of no use, has nothing to live for.
        self.input.close();
        drop(self.lines);
        let gives_up = why.is_some();
        if gives_up {
            // How it ends says nothing more, so nobody need wait for that.
            hears.ended(&Ended {
                status: None,
                why: why.clone(),
                last_words: String::new(),
                was_asked,
                has_spoken,
            });
        }
        let status = match tokio::time::timeout(END_PATIENCE, self.process.wait()).await {
            Ok(Ok(status)) => code(status),
            Ok(Err(_)) | Err(_) => None,
        };
        if status.is_none() {
            end_group(pid);
        }
        let last_words = self.last_words.get();
        let ended = Ended {
            status,
            why,
            last_words,
            was_asked,
            has_spoken,
        };
        if !gives_up {
            hears.ended(&ended);
        }
        ended
    }

    /// The next line; none at the end of the output. The guard ends last; where it was ended by force, that is the end of the
    /// program, too.
    async fn next(&mut self, pid: u32) -> Result<Option<Bytes>, NoLine> {
        let status = tokio::select! {
            // Biased towards what was said: all of it counts.
            biased;
            line = self.lines.next() => return line,
            status = self.process.wait() => status,
        };
        if status.ok().and_then(code).is_none() {
            end_group(pid);
        }
        // What was said before is there; who got away and holds the output is not waited for.
        tokio::time::timeout(END_PATIENCE, self.lines.next())
            .await
            .unwrap_or(Ok(None))
    }
}

/// The exit code; none where the guard itself was ended by force.
fn code(status: std::process::ExitStatus) -> Option<i32> {
    status.code()
}

/// Where the guard could not do its work any more, its group is ended by force.
fn end_group(pid: u32) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        // Nothing may be left of it.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = pid;
}
