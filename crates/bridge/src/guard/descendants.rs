//! Everything that descends from this process.
//!
//! The one rule: this process itself is never signalled.

use rustix::process::Signal;

/// Sends a signal to all of it.
#[cfg(target_os = "linux")]
pub(super) fn signal_all(signal: Signal) {
    use rustix::process::{getpid, kill_process};
    for pid in linux::below(getpid(), &linux::parents()) {
        // It may have ended by now.
        let _ = kill_process(pid, signal);
    }
}

/// Sends a signal to the rest of this process's group, which the relay made for it: other systems do not say who descends
/// from whom. SIGKILL ends this process with the rest.
#[cfg(not(target_os = "linux"))]
pub(super) fn signal_all(signal: Signal) {
    let _ = rustix::process::kill_current_process_group(signal);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::fs;

    use rustix::process::Pid;

    /// Every process with its parent.
    pub(super) fn parents() -> HashMap<Pid, Pid> {
        let Ok(processes) = fs::read_dir("/proc") else {
            return HashMap::new();
        };
        let pids = processes
            .filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
        pids.filter_map(|pid| {
            Some((
                pid,
                parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?,
            ))
        })
        .collect()
    }

    /// The parent that a line of `/proc/<pid>/stat` names: behind the name, which may have any character in it.
    pub(super) fn parent(stat: &str) -> Option<Pid> {
        let (_, behind_name) = stat.rsplit_once(')')?;
        Pid::from_raw(behind_name.split_ascii_whitespace().nth(1)?.parse().ok()?)
    }

    /// What descends from a process.
    pub(super) fn below(ancestor: Pid, parents: &HashMap<Pid, Pid>) -> Vec<Pid> {
        let descends = |pid: &Pid| {
            let line =
                std::iter::successors(parents.get(pid).copied(), |pid| parents.get(pid).copied());
            // No line is longer than there are processes, even if it was read while it changed.
            line.take(parents.len()).any(|pid| pid == ancestor)
        };
        parents.keys().copied().filter(descends).collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::collections::HashMap;

    use rustix::process::Pid;

    use super::linux::{below, parent};

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).expect("a number above zero")
    }

    #[test]
    fn a_parent_stands_behind_the_name_whatever_the_name_is() {
        assert_eq!(parent("42 (sh) S 7 42 42 0"), Some(pid(7)));
        assert_eq!(parent("42 (a) b (c) S 9) S 7 42"), Some(pid(7)));
        for bad in ["", "42 sh S 7", "42 (sh)", "42 (sh) S", "42 (sh) S x"] {
            assert_eq!(parent(bad), None, "{bad}");
        }
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_nobody_else_is() {
        let parents: HashMap<Pid, Pid> = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (8, 9), (9, 8)]
            .map(|(one, other)| (pid(one), pid(other)))
            .into();
        let mut found = below(pid(2), &parents);
        found.sort_by_key(|pid| pid.as_raw_nonzero());
        assert_eq!(found, [pid(3), pid(4)]);
    }
}
