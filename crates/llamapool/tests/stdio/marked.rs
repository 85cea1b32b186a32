//! Every process that has a mark in its environment: the programs of one relay, their guards, and whatever they left behind.
//!
//! The one rule: that a process ends is heard of, and not looked for again and again.

use std::fs;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::harness::PATIENCE;

/// The name of the variable that marks processes.
pub(crate) const MARK: &str = "LLAMAPOOL_TEST_MARK";

/// A process with a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) pid: i32,
    /// Its command line, separated by blanks.
    pub(crate) command: String,
    /// Its environment, an entry each.
    pub(crate) environment: Vec<String>,
}

/// All processes with this mark.
pub(crate) fn marked(mark: &str) -> Vec<Marked> {
    let entry = format!("{MARK}={mark}");
    all()
        .filter_map(Marked::of)
        .filter(|it| it.environment.contains(&entry))
        .collect()
}

/// Waits until there is no process with this mark.
pub(crate) async fn none_left(mark: &str) {
    let none_left = async {
        loop {
            let left = marked(mark);
            if left.is_empty() {
                return;
            }
            for process in left {
                process.ended().await;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, none_left).await.is_err() {
        panic!("these are left: {:#?}", marked(mark));
    }
}

/// The processes whose parent this is, also those that have ended and that it has not heard of.
pub(crate) fn children(parent: u32) -> Vec<i32> {
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind_name = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        behind_name.split_ascii_whitespace().nth(1) == Some(&parent.to_string())
    };
    all().filter(is_child).collect()
}

/// The memory that a process has, in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

impl Marked {
    fn of(pid: i32) -> Option<Self> {
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

    /// Whether it guards a program.
    pub(crate) fn is_guard(&self) -> bool {
        self.command.contains(" guard ")
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) {
        let pid = Pid::from_raw(self.pid).expect("a number above zero");
        // It may have ended by now.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        let patience = Timespec::try_from(PATIENCE).expect("not for ever");
        let waiting = move || poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience));
        let ended = tokio::task::spawn_blocking(waiting).await.unwrap().unwrap();
        assert!(ended > 0, "it does not end: {self:#?}");
    }
}
