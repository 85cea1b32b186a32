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

/// Returns all processes with this mark, and the guards that are their parents: the environment of a
/// guard cannot be read by all users.
pub(crate) fn processes_with(mark: &str) -> Vec<MarkedProcess> {
    let entry = format!("{MARK}={mark}");
    let mut processes: Vec<MarkedProcess> = all_pids()
        .filter_map(MarkedProcess::read)
        .filter(|process| process.environment.contains(&entry))
        .collect();

    let parents = processes.iter().filter_map(|process| parent(process.pid));
    let guards: Vec<MarkedProcess> = parents
        .filter_map(MarkedProcess::read_command)
        .filter(MarkedProcess::is_guard)
        .collect();
    for guard in guards {
        if processes.iter().all(|known| known.pid != guard.pid) {
            processes.push(guard);
        }
    }
    processes
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
    let is_child = |pid: &i32| self::parent(*pid).map(i64::from) == Some(parent.into());
    all_pids().filter(is_child).collect()
}

/// Returns the parent of a process, `None` if the process has ended.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(1)?.parse().ok()
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

/// Returns the texts of a file of a process.
fn texts(pid: i32, name: &str) -> Option<Vec<String>> {
    let bytes = fs::read(Path::new(&format!("/proc/{pid}")).join(name)).ok()?;
    let texts = bytes
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned());
    Some(texts.collect())
}

impl MarkedProcess {
    /// Returns `None` if the process has ended or cannot be read.
    fn read(pid: i32) -> Option<Self> {
        Some(Self {
            environment: texts(pid, "environ")?,
            ..Self::read_command(pid)?
        })
    }

    /// Returns the process without its environment, `None` if it has ended.
    fn read_command(pid: i32) -> Option<Self> {
        Some(Self {
            pid,
            command: texts(pid, "cmdline")?.join(" "),
            environment: Vec::new(),
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
        let look = move || poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience));
        // A signal to the process of the tests, such as that of a child that ended, interrupts it.
        let waiting = move || rustix::io::retry_on_intr(look);
        let ended = tokio::task::spawn_blocking(waiting).await.unwrap().unwrap();
        assert!(ended > 0, "it does not end: {self:#?}");
    }
}
