//! A process under test: started, signalled, measured, and ended with its value.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::process::{Child, Command};

/// Size from which the log of a running process is emptied.
const MAX_LOG_BYTES: u64 = 4 * 1024 * 1024;
/// The longest wait for the end of a process that was asked to end. Longer than it may drain.
const UNTIL_ENDED: Duration = Duration::from_secs(15);

/// The way to start a process, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// The file that both outputs go to.
    pub(crate) log: PathBuf,
}

/// The place that the log of a process goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogDisk {
    /// The file of the recipe.
    Free,
    /// `/dev/full`, where every write fails for lack of space.
    Full,
}

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts a process.
    pub(crate) fn start(recipe: &Recipe, disk: LogDisk) -> anyhow::Result<Self> {
        let log = match disk {
            LogDisk::Free => append(&recipe.log)?,
            LogDisk::Full => append(Path::new("/dev/full"))?,
        };
        let mut command = Command::new(&recipe.program);
        command
            .args(&recipe.arguments)
            .env_clear()
            .envs(recipe.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("the start of {}", recipe.program.display()))?;

        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self {
            pid: pid.context("the id of a process that was just started")?,
            child,
            log: recipe.log.clone(),
        })
    }

    /// Returns its id.
    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Returns its exit status, `None` while it runs.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it, as `kill -9` does, and waits for its end.
    pub(crate) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Asks it to end and waits for its end; kills it if that takes too long. Returns whether it
    /// ended by itself.
    pub(crate) async fn terminate(&mut self) -> bool {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(UNTIL_ENDED, self.child.wait()).await;
        if ended.is_err() {
            self.kill().await;
        }
        ended.is_ok()
    }

    /// Stops it until it is resumed.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // Its id is not another process's while it has not been waited for.
        let _ = rustix::process::kill_process(self.pid, signal);
    }

    /// Leaves it no free descriptor: sets its soft limit to the number of those that are open.
    /// Returns the limits from before.
    pub(crate) fn exhaust_descriptors(&self) -> Option<Rlimit> {
        let open: u64 = self.descriptors().try_into().ok()?;
        let before = rustix::process::getrlimit(Resource::Nofile);
        let limit = Rlimit {
            current: Some(open),
            maximum: before.maximum,
        };
        rustix::process::prlimit(Some(self.pid), Resource::Nofile, limit).ok()
    }

    /// Gives back the limit from before.
    pub(crate) fn restore_descriptors(&self, before: Rlimit) {
        let _ = rustix::process::prlimit(Some(self.pid), Resource::Nofile, before);
    }

    /// Returns the number of its open descriptors, 0 if it has ended.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.id()));
        folder.map_or(0, Iterator::count)
    }

    /// Returns its resident memory in bytes, 0 if it has ended.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    /// Empties its log if that has become long.
    pub(crate) fn bound_log(&self) {
        let length = std::fs::metadata(&self.log).map_or(0, |it| it.len());
        if length > MAX_LOG_BYTES
            && let Ok(file) = append(&self.log)
        {
            let _ = file.set_len(0);
        }
    }
}

fn append(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("the log {}", path.display()))
}

/// Returns the ids of the processes whose command line contains a text.
pub(crate) fn with_argument(text: &str) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let has_text = |id: &i32| {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.any(|word| word == text.as_bytes())
    };
    ids.filter(has_text).filter_map(Pid::from_raw).collect()
}

/// Kills a process that this one did not start.
pub(crate) fn kill(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}
