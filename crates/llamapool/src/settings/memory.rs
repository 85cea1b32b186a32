//! The memory that a process may hold for callers, the same setting in every role.
//!
//! Its default is half of what this process may have: of the memory of its machine, or of its cgroup
//! where that has a limit.

use std::fs;
use std::path::Path;

use llamapool_settings::value::MEMORY;
use llamapool_settings::{Setting, SettingsError, Sources, TypedSetting};

use super::group::LIMITS;

/// The least default: less serves no large message at all.
const LEAST_BYTES: u64 = 256 << 20;
/// The memory that is assumed where the system does not report it in the way of Linux.
const ASSUMED_BYTES: u64 = 2 << 30;
/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

static MAX_MEMORY: TypedSetting<usize> = TypedSetting::new(
    "MAX_MEMORY",
    LIMITS,
    MEMORY,
    "Most memory that the process holds for callers: unread bytes, collected messages, kept events. \
     Beyond it calls are refused.",
)
.described_default("half of the memory of the machine or cgroup, at least 256MiB");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[&MAX_MEMORY.setting];

/// Returns the most bytes that the process may hold for callers.
pub(super) fn resolve(sources: &Sources) -> Result<usize, SettingsError> {
    let explicit = sources.explicit(&MAX_MEMORY)?;
    Ok(explicit.unwrap_or_else(default_bytes))
}

fn default_bytes() -> usize {
    let machine = read("/proc/meminfo").and_then(|text| total_of(&text));
    let cgroup = read("/proc/self/cgroup").and_then(|text| limit_of_cgroup(&text, read));
    usize::try_from(half(machine, cgroup)).unwrap_or(usize::MAX)
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Returns half of the memory that there is, and the least default at least.
fn half(machine: Option<u64>, cgroup: Option<u64>) -> u64 {
    let machine = machine.unwrap_or(ASSUMED_BYTES);
    let available = cgroup.map_or(machine, |limit| limit.min(machine));
    LEAST_BYTES.max(available / 2)
}

/// Returns the bytes of `MemTotal` in the text of `/proc/meminfo`.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns the least limit of the cgroups of a process, from the text of its `/proc/self/cgroup`.
/// `None` if none has one.
fn limit_of_cgroup(cgroup: &str, read: impl Fn(String) -> Option<String>) -> Option<u64> {
    let path_of = |controllers: &str| {
        cgroup.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (names, path) = rest.split_once(':')?;
            names
                .split(',')
                .any(|name| name == controllers)
                .then_some(path)
        })
    };
    let limits = |root: String, file: &str, path: &str| {
        // A limit holds for everything below: that of an outer cgroup may be the lower one.
        let cgroups: Vec<_> = Path::new(path).ancestors().collect();
        let files = cgroups
            .into_iter()
            .map(|cgroup| format!("{root}{}/{file}", cgroup.display()));
        let texts: Vec<_> = files.filter_map(&read).collect();
        // Without a limit the file contains `max`.
        texts
            .into_iter()
            .filter_map(|text| text.trim().parse::<u64>().ok())
            .min()
    };

    let unified = path_of("").and_then(|path| limits(CGROUPS.into(), "memory.max", path));
    let v1 = path_of("memory")
        .and_then(|path| limits(format!("{CGROUPS}/memory"), "memory.limit_in_bytes", path));
    unified.into_iter().chain(v1).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_total_of_a_machine_is_read() {
        let meminfo = "MemTotal:       24731648 kB\nMemFree:         1000 kB\n";

        assert_eq!(total_of(meminfo), Some(24_731_648 * 1024));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn the_least_limit_of_all_outer_cgroups_counts() {
        let read = |file: String| match file.as_str() {
            "/sys/fs/cgroup/system.slice/llamapool.service/memory.max" => Some("max\n".to_owned()),
            "/sys/fs/cgroup/system.slice/memory.max" => Some("1073741824\n".to_owned()),
            "/sys/fs/cgroup//memory.max" => Some("4294967296\n".to_owned()),
            "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes" => Some("536870912".to_owned()),
            _ => None,
        };

        let unified = "0::/system.slice/llamapool.service\n";
        assert_eq!(limit_of_cgroup(unified, read), Some(GIB));
        let v1 = "12:cpu,memory:/docker/1\n1:name=systemd:/\n";
        assert_eq!(limit_of_cgroup(v1, read), Some(GIB / 2));
        assert_eq!(limit_of_cgroup("0::/\n", |_| None), None);
    }

    #[test]
    fn the_default_is_half_of_the_lower_limit() {
        assert_eq!(half(Some(8 * GIB), None), 4 * GIB);
        assert_eq!(half(Some(8 * GIB), Some(GIB)), GIB / 2);
        assert_eq!(half(Some(GIB), Some(8 * GIB)), GIB / 2);
        assert_eq!(half(Some(GIB / 8), None), LEAST_BYTES);
        assert_eq!(half(None, None), GIB);
    }
}
