//! The files of an audit log: their folder and their names, from which their order is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder of the files in a data directory.
pub const AUDIT_FOLDER: &str = "audit";

/// The digits of the number in a name, so that names sort as their numbers do.
const DIGITS: usize = 12;
const SUFFIX: &str = ".jsonl";

/// A file of an audit log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditFile {
    /// The number of its first line.
    pub first: u64,
    /// The day on which it was begun, as `2026-11-27` in UTC.
    pub day: String,
    /// Its path.
    pub path: PathBuf,
}

impl AuditFile {
    /// Returns the file that begins with a line at a moment.
    pub fn new(folder: &Path, first: u64, at: SystemTime) -> Self {
        let day = Self::day_of(at);
        let path = folder.join(format!("{first:0DIGITS$}-{day}{SUFFIX}"));
        Self { first, day, path }
    }

    /// Returns the day of a moment in UTC.
    pub fn day_of(at: SystemTime) -> String {
        let text = humantime::format_rfc3339_seconds(at).to_string();
        text.split('T').next().unwrap_or_default().to_owned()
    }

    /// Returns the file of a path, `None` if its name is none of an audit log.
    fn of(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
        let (first, day) = name.split_at_checked(DIGITS)?;
        let day = day.strip_prefix('-')?;
        let is_day = day.len() == 10 && day.bytes().all(|c| c.is_ascii_digit() || c == b'-');
        let is_number = first.bytes().all(|c| c.is_ascii_digit());
        (is_day && is_number).then_some(())?;
        Some(Self {
            first: first.parse().ok()?,
            day: day.to_owned(),
            path,
        })
    }
}

/// Returns the files of an audit log, the oldest first.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn audit_files(folder: &Path) -> io::Result<Vec<AuditFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.extend(AuditFile::of(entry?.path()));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn files_are_in_the_order_of_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let day = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
        let written = [(900, 3), (1, 5), (30, 1)]
            .map(|(first, at)| AuditFile::new(folder.path(), first, day(at)));
        for file in &written {
            fs::write(&file.path, "").unwrap();
        }
        for other in [
            "a.jsonl",
            "000000000001.jsonl",
            "000000000001-x.jsonl",
            "notes",
        ] {
            fs::write(folder.path().join(other), "").unwrap();
        }

        let found = audit_files(folder.path()).unwrap();

        let [last, first, middle] = written;
        assert_eq!(first.day, "1970-01-06");
        assert_eq!(found, [first, middle, last]);
    }
}
