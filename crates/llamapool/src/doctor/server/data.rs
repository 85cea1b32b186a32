//! The data directory, and a copy of it on which a start is tried.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use llamapool_identity::Store;
use llamapool_server::DataDirConfig;

use crate::doctor::check::{DATA_DIR, STORE};
use crate::doctor::examination::Examination;

/// The largest file that is copied, in bytes: a store of keys has some hundred KB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// How deep the folders in it are: those of certificates.
const MAX_DEPTH: usize = 3;
/// The tries for a name of a copy that is not taken.
const TRIES: u32 = 100;

/// A copy of a data directory, for its owner alone. Dropping it removes it.
pub(super) struct Copy(PathBuf);

/// Looks at the directory, and at the store in it.
pub(super) fn look(config: &DataDirConfig, runs: bool, examination: &mut Examination) {
    let (path, is_required) = match config {
        DataDirConfig::None => {
            examination.add(DATA_DIR.ok("there is no data directory, as DATA_DIR says"));
            return;
        }
        DataDirConfig::NoPlace => {
            let found =
                "neither DATA_DIR nor HOME is set: a restart forgets keys, ids and sign-ins";
            examination.add(DATA_DIR.warn(found, "Set DATA_DIR, such as /var/lib/llamapool."));
            return;
        }
        DataDirConfig::Default(path) => (path, false),
        DataDirConfig::Required(path) => (path, true),
    };
    let shown = path.display();
    match usable(path) {
        Ok(found) => {
            examination.add(DATA_DIR.ok(format!("{shown} {found}")));
        }
        Err(Problem::Open(mode)) => {
            let found = format!("{shown} has mode {mode:04o}: others can look into it");
            examination.add(DATA_DIR.warn(found, format!("chmod 700 {shown}")));
        }
        Err(Problem::Unusable(error)) => {
            let found = format!("{shown} cannot be used: {error}");
            let remedy = "It must belong to the user of the server, and be writable for it.";
            let looked = if is_required {
                DATA_DIR.fail(found, remedy)
            } else {
                DATA_DIR.warn(format!("{found}; the server would do without"), remedy)
            };
            examination.add(looked);
            return;
        }
    }
    store(path, runs, examination);
}

enum Problem {
    /// Others can enter it.
    Open(u32),
    Unusable(io::Error),
}

/// Returns whether files can be made in it, or it itself where it is not there yet. What is made for that
/// is removed at once.
fn usable(path: &Path) -> Result<&'static str, Problem> {
    let existing = path.ancestors().find(|it| it.exists());
    let existing = existing.unwrap_or(Path::new("/"));
    if !existing.is_dir() {
        let error = io::Error::other(format!("{} is no directory", existing.display()));
        return Err(Problem::Unusable(error));
    }
    if existing != path {
        let missing = path.strip_prefix(existing).unwrap_or(path);
        let first = missing.components().next();
        let first = first.map_or_else(|| path.to_owned(), |first| existing.join(first));
        let made = fs::create_dir(&first).and_then(|()| fs::remove_dir(&first));
        return match made {
            Ok(()) => Ok("is not there yet and can be made"),
            Err(error) => Err(Problem::Unusable(error)),
        };
    }
    let file = path.join(format!("doctor-{}", std::process::id()));
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file);
    made.and_then(|_| fs::remove_file(&file))
        .map_err(Problem::Unusable)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let metadata = fs::metadata(path).map_err(Problem::Unusable)?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Problem::Open(mode));
        }
    }
    Ok("is writable, and closed to others")
}

/// Opens a copy of the store.
fn store(path: &Path, runs: bool, examination: &mut Examination) {
    if !path.join(Store::FILE).exists() {
        examination.add(STORE.ok("there is no store of keys yet; the start makes it"));
        return;
    }
    if runs {
        examination.add(STORE.ok("the server that runs has the store of keys open"));
        return;
    }
    let remedy = "A newer version of llamapool may have written it: use that one, or a backup.";
    let opened = Copy::of(Some(path)).and_then(|copy| {
        let store = Store::open_in(copy.path()).map_err(io::Error::other)?;
        let records = store.load().map_err(io::Error::other)?;
        Ok(records.keys.len())
    });
    let looked = match opened {
        Ok(keys) => {
            let keys = crate::doctor::report::counted(keys, "key");
            STORE.ok(format!(
                "the store of keys can be opened by this version, with {keys}"
            ))
        }
        Err(error) => STORE.fail(error.to_string(), remedy),
    };
    examination.add(looked);
}

impl Copy {
    /// Copies a directory, or makes an empty one.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or there is no room for the copy.
    pub(super) fn of(directory: Option<&Path>) -> io::Result<Self> {
        let copy = Self::empty()?;
        if let Some(directory) = directory.filter(|it| it.exists()) {
            copy_all(directory, &copy.0, MAX_DEPTH)?;
        }
        Ok(copy)
    }

    fn empty() -> io::Result<Self> {
        let folder = std::env::temp_dir();
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        for number in 0..TRIES {
            let name = format!("llamapool-doctor-{}-{number}", std::process::id());
            let path = folder.join(name);
            match builder.create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no name for a folder is free"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns an error about the copy as one about the directory.
    pub(super) fn in_words_of(&self, directory: Option<&Path>, error: &str) -> String {
        let own = self.0.display().to_string();
        let theirs = directory
            .map(|it| it.display().to_string())
            .unwrap_or_default();
        error.replace(&own, &theirs)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It is in the folder for temporary files, if it stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies files and folders. The log of audits is left out: it may be large, and none of it is read at
/// a start.
fn copy_all(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let metadata = entry.metadata()?;
        if metadata.is_dir() && depth > 0 && entry.file_name() != "audit" {
            fs::create_dir(&target)?;
            copy_all(&entry.path(), &target, depth - 1)?;
        } else if metadata.is_file() && metadata.len() <= MAX_FILE_BYTES {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_a_start_reads_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("key"), "secret").unwrap();
        fs::create_dir_all(root.join("acme/a")).unwrap();
        fs::write(root.join("acme/a/account"), "1").unwrap();
        fs::create_dir(root.join("audit")).unwrap();
        fs::write(root.join("audit/1"), "long").unwrap();

        let copy = Copy::of(Some(root)).unwrap();
        let path = copy.path().to_owned();

        assert_eq!(fs::read(path.join("key")).unwrap(), b"secret");
        assert!(path.join("acme/a/account").exists());
        assert!(!path.join("audit").exists());
        let error = format!("{}: no", path.join("key").display());
        let shown = copy.in_words_of(Some(root), &error);
        assert_eq!(shown, format!("{}: no", root.join("key").display()));
        drop(copy);
        assert!(!path.exists());
    }
}
