//! Finds processes by a mark in their environment: the programs of one relay, their guards, and the
//! descendants that got away.
//!
//! The end of a process is waited for with a pidfd, never by polling.

use std::fs;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::harness::PATIENCE;

/// The name of the environment variable with the mark.
pub(crate) const MARK: &str = "LLAMAPOOL_TEST_MARK";

/// A process with a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MarkedProcess {
    pub(crate) pid: i32,
    /// Its command line, separated by blanks.
    pub(crate) command: String,
    /// Its environment, one `NAME=value` an entry.
    pub(crate) environment: Vec<String>,
}

/// Returns all processes with this mark.
pub(crate) fn processes_with(mark: &str) -> Vec<MarkedProcess> {
    let entry = format!("{MARK}={mark}");
    all_pids()
        .filter_map(MarkedProcess::read)
        .filter(|process| process.environment.contains(&entry))
        .collect()
}

/// Waits until there is no process with this mark; panics after [`PATIENCE`].
pub(crate) async fn until_all_ended(mark: &str) {
    let all_ended = async {
        loop {
            let running = processes_with(mark);
            if running.is_empty() {
                return;
            }
            for process in running {
                process.ended().await;
            }
        }
    };

    if tokio::time::timeout(PATIENCE, all_ended).await.is_err() {
        panic!("these are left: {:#?}", processes_with(mark));
    }
}

/// Returns the children of a process, zombies included.
pub(crate) fn children(parent: u32) -> Vec<i32> {
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind_name = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        behind_name.split_ascii_whitespace().nth(1) == Some(&parent.to_string())
    };
    all_pids().filter(is_child).collect()
}

/// Returns the resident memory of a process in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kibibytes: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kibibytes * 1024
}

fn all_pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

impl MarkedProcess {
    /// Returns `None` if the process has ended or cannot be read.
    fn read(pid: i32) -> Option<Self> {
        let folder = format!("/proc/{pid}");
        let texts = |name: &str| {
            let bytes = fs::read(Path::new(&folder).join(name)).ok()?;
            let texts = bytes
                .split(|byte| *byte == 0)
                .map(|text| String::from_utf8_lossy(text).into_owned());
            Some(texts.collect::<Vec<_>>())
        };

        Some(Self {
            pid,
            command: texts("cmdline")?.join(" "),
            environment: texts("environ")?,
        })
    }

    /// Returns whether it is the guard of a program.
    pub(crate) fn is_guard(&self) -> bool {
        self.command.contains(" guard ")
    }

    /// Waits for its end; panics after [`PATIENCE`].
    pub(crate) async fn ended(&self) {
        let pid = Pid::from_raw(self.pid).expect("a number above zero");
        // An error here means that it has ended already.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };

        let patience = Timespec::try_from(PATIENCE).expect("not for ever");
        let waiting = move || poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience));
        let ended = tokio::task::spawn_blocking(waiting).await.unwrap().unwrap();
        assert!(ended > 0, "it does not end: {self:#?}");
    }
}
