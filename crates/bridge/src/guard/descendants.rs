//! The descendants of this process. This process itself is never signalled.

use rustix::process::Signal;

/// Sends a signal to every descendant.
#[cfg(target_os = "linux")]
pub(super) fn signal_all(signal: Signal) {
    use rustix::process::{getpid, kill_process};
    for pid in linux::descendants_of(getpid(), &linux::parents()) {
        // The process may have exited since.
        let _ = kill_process(pid, signal);
    }
}

/// Sends a signal to the process group, which the bridge created for this process: other systems do
/// not list descendants. SIGKILL ends this process with the rest.
#[cfg(not(target_os = "linux"))]
pub(super) fn signal_all(signal: Signal) {
    let _ = rustix::process::kill_current_process_group(signal);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::fs;

    use rustix::process::Pid;

    /// Returns the parent of every process.
    pub(super) fn parents() -> HashMap<Pid, Pid> {
        let Ok(processes) = fs::read_dir("/proc") else {
            return HashMap::new();
        };
        let pids = processes
            .filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
        pids.filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parse_parent(&stat)?))
        })
        .collect()
    }

    /// Parses the parent in a line of `/proc/<pid>/stat`. It follows the name of the program, which
    /// may contain any character.
    pub(super) fn parse_parent(stat: &str) -> Option<Pid> {
        let (_, after_name) = stat.rsplit_once(')')?;
        Pid::from_raw(after_name.split_ascii_whitespace().nth(1)?.parse().ok()?)
    }

    /// Returns the descendants of a process.
    pub(super) fn descendants_of(ancestor: Pid, parents: &HashMap<Pid, Pid>) -> Vec<Pid> {
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

    use super::linux::{descendants_of, parse_parent};

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).expect("a number above zero")
    }

    #[test]
    fn the_parent_is_parsed_after_any_name() {
        assert_eq!(parse_parent("42 (sh) S 7 42 42 0"), Some(pid(7)));
        assert_eq!(parse_parent("42 (a) b (c) S 9) S 7 42"), Some(pid(7)));
        for bad in ["", "42 sh S 7", "42 (sh)", "42 (sh) S", "42 (sh) S x"] {
            assert_eq!(parse_parent(bad), None, "{bad}");
        }
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let parents: HashMap<Pid, Pid> = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (8, 9), (9, 8)]
            .map(|(one, other)| (pid(one), pid(other)))
            .into();
        let mut found = descendants_of(pid(2), &parents);
        found.sort_by_key(|pid| pid.as_raw_nonzero());
        assert_eq!(found, [pid(3), pid(4)]);
    }
}
