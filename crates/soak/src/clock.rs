//! A clock of one process that a fault can set, by libfaketime where that is installed.
//!
//! Only the wall clock: the monotonic clock of a machine goes on when its wall clock is set.

use std::path::PathBuf;

/// Where Debian installs the library, below a folder that is named after the architecture.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock that can be set.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that reads its offset from a file; `None` where the library is not installed.
    pub(crate) fn in_file(file: PathBuf) -> Option<Self> {
        let library = library()?;
        let clock = Self { file, library };
        clock.set(0);
        Some(clock)
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
            ("LD_PRELOAD", self.library.display().to_string()),
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

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir(LIBRARIES).ok()?;
    let mut libraries = folders.filter_map(|folder| Some(folder.ok()?.path().join(LIBRARY)));
    libraries.find(|library| library.exists())
}
