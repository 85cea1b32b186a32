//! A clock of one process that a fault can set, by libfaketime where that is installed.
//!
//! Only the wall clock: the monotonic clock of a machine goes on when its wall clock is set.

use std::path::{Path, PathBuf};

/// Where Debian installs the library.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A clock that can be set.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Returns whether clocks can be set on this machine.
    pub(crate) fn is_available() -> bool {
        Path::new(LIBRARY).exists()
    }

    /// A clock that reads its offset from a file.
    pub(crate) fn in_file(file: PathBuf) -> Self {
        let clock = Self { file };
        clock.set(0);
        clock
    }

    /// Sets it to the true time and so many seconds.
    pub(crate) fn set(&self, offset: i64) {
        let sign = ["+", "-"][usize::from(offset < 0)];
        let _ = std::fs::write(&self.file, format!("{sign}{}\n", offset.unsigned_abs()));
    }

    /// Returns the environment of a process that follows the clock.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        let pairs = [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }
}
