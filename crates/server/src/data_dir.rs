//! The data directory: what a server remembers over a restart.
//!
//! It has a key that no one else has, and few small files. Each file is written whole, under
//! another name, and then renamed, so that a crash or a full disk leaves the old one. One process
//! has the directory at a time. Without a directory the same things are remembered for the run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use llamapool_identity::Store;
use llamapool_wire::Secret;

use crate::auth::Keys;

/// The file with the key of this server.
const KEY_FILE: &str = "key";
/// The file with the keys that are created while the server runs.
const STORE_FILE: &str = Store::FILE;
/// The file whose lock shows that a process has the directory.
const LOCK_FILE: &str = "lock";
/// The tries to lock the directory before another process counts as its holder, and the time between
/// two of them.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The most bytes of a file that is read: far more than any file has that was written here.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The choice of the data directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DataDirConfig {
    /// No directory, on purpose: everything is remembered for the run only.
    #[default]
    None,
    /// No directory, because none is set and the environment names no place for one.
    NoPlace,
    /// The default directory; without it, if it cannot be had.
    Default(PathBuf),
    /// The configured directory; the server does not start without it.
    Required(PathBuf),
}

/// A directory that this process has. Clones are the same directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(Arc<OpenDir>);

#[derive(Debug)]
struct OpenDir {
    path: PathBuf,
    /// Held for its lock, which ends with the process.
    _lock: File,
}

/// The data of a server: its key, and the directory where it has more.
pub(crate) struct ServerData {
    /// A key that no one else has: from the directory, or of this run.
    pub(crate) key: Secret,
    /// `None` if nothing outlives the run.
    pub(crate) directory: Option<DataDir>,
}

impl ServerData {
    /// Opens the data directory, if there is to be one, and reads or makes the key in it. Warns of
    /// what a restart loses without it, unless there is to be none.
    ///
    /// # Errors
    ///
    /// If a configured directory cannot be used, or any directory has a file that cannot be read.
    pub(crate) fn open(config: &DataDirConfig, keys: &Keys) -> io::Result<Self> {
        let directory = match config {
            DataDirConfig::None => return Ok(Self::of_this_run()),
            DataDirConfig::NoPlace => {
                warn_of_no_directory(keys, &"neither DATA_DIR nor HOME is set");
                return Ok(Self::of_this_run());
            }
            DataDirConfig::Required(path) => DataDir::open(path)?,
            DataDirConfig::Default(path) => match DataDir::open(path) {
                Ok(directory) => directory,
                Err(error) => {
                    warn_of_no_directory(keys, &error);
                    return Ok(Self::of_this_run());
                }
            },
        };

        if let Some(key) = directory.key()? {
            return Ok(Self {
                key,
                directory: Some(directory),
            });
        }
        let key = Secret::random();
        match directory.write(KEY_FILE, key.expose().as_bytes()) {
            Ok(()) => Ok(Self {
                key,
                directory: Some(directory),
            }),
            // A full disk, where there was no server before.
            Err(error) if matches!(config, DataDirConfig::Default(_)) => {
                warn_of_no_directory(keys, &error);
                Ok(Self::of_this_run())
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the store of keys. `None` without a directory.
    pub(crate) fn open_store(&self) -> io::Result<Option<Store>> {
        let path = self
            .directory
            .as_ref()
            .map(|directory| directory.path(STORE_FILE));
        let store = path.map(|path| Store::open(&path)).transpose();
        store.map_err(io::Error::other)
    }

    fn of_this_run() -> Self {
        Self {
            key: Secret::random(),
            directory: None,
        }
    }
}

/// Returns whether a server has a data directory.
pub fn is_in_use(directory: &Path) -> bool {
    let lock = File::open(directory.join(LOCK_FILE));
    // The lock ends with the file.
    lock.is_ok_and(|lock| lock_now(&lock).is_err())
}

/// Returns the key of the server of a directory; `None` if no server has had it.
///
/// # Errors
///
/// If it cannot be read.
pub fn server_key(directory: &Path) -> io::Result<Option<Secret>> {
    let path = directory.join(KEY_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::other(format!("{}: {error}", path.display()))),
    }
}

/// Warns of what a restart loses.
fn warn_of_no_directory(keys: &Keys, error: &dyn std::fmt::Display) {
    if keys.session.is_some() {
        tracing::warn!(
            %error,
            "no data directory: after a restart ids are not kept for the relays that held them; \
             set DATA_DIR, or DATA_DIR=off if that is intended"
        );
    } else {
        tracing::warn!(
            %error,
            "no data directory: after a restart sessions of ids that several relays share are not \
             found, and ids are not kept for the relays that held them; set DATA_DIR, or \
             SESSION_KEY for the sessions alone, or DATA_DIR=off if that is intended"
        );
    }
}

impl DataDir {
    fn open(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| {
            let error = format!("the data directory {}: {error}", path.display());
            io::Error::other(error)
        };
        create_private_dir(path).map_err(named)?;
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(path.join(LOCK_FILE))
            .map_err(named)?;
        lock_soon(&lock).map_err(named)?;

        Ok(Self(Arc::new(OpenDir {
            path: path.to_owned(),
            _lock: lock,
        })))
    }

    /// Reads a file. `None` if there is none.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error(name, &error)),
        };

        let mut content = Vec::new();
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut content)
            .map_err(|error| self.error(name, &error))?;
        Ok(Some(content))
    }

    /// Replaces a file, whole or not at all. Only the user of this process can read it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let written = self.path(&format!("{name}.new"));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file =
                private(options.create(true).truncate(true).write(true)).open(&written)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&written, self.path(name))
        };
        write().map_err(|error| self.error(name, &error))
    }

    /// Returns the error of a file, with its path.
    pub(crate) fn error(&self, name: &str, error: &dyn std::fmt::Display) -> io::Error {
        io::Error::other(format!("{}: {error}", self.path(name).display()))
    }

    /// Reads the key. `None` if there is none yet.
    fn key(&self) -> io::Result<Option<Secret>> {
        let Some(content) = self.read(KEY_FILE)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&content);
        if text.trim().is_empty() {
            let wrong = "the key is empty; delete the file to get a new one";
            return Err(self.error(KEY_FILE, &wrong));
        }
        Ok(Some(Secret::new(text.trim())))
    }

    /// Returns the path of the directory.
    pub(crate) fn folder(&self) -> &Path {
        &self.0.path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path.join(name)
    }
}

/// Creates a directory that only the user of this process can enter, with its parents. One that
/// exists stays as it is.
fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Lets only the user of this process read a file that is created.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Locks a file. A command that looks whether a server runs has it for an instant.
#[expect(
    clippy::disallowed_methods,
    reason = "the server starts: nothing is served yet"
)]
fn lock_soon(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        if lock_now(file).is_ok() {
            return Ok(());
        }
        thread::sleep(LOCK_PAUSE);
    }
    lock_now(file)
}

#[cfg(unix)]
fn lock_now(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;

    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => io::Error::other("another process of llamapool has it"),
        other => other.into(),
    })
}

#[cfg(not(unix))]
fn lock_now(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let directory = DataDir::open(&path).unwrap();

        assert_eq!(directory.read("x").unwrap(), None);
        directory.write("x", b"one, which is longer").unwrap();
        directory.write("x", b"two").unwrap();

        assert_eq!(directory.read("x").unwrap().unwrap(), b"two");
        assert!(!path.join("x.new").exists());

        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;

            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o700);
            assert_eq!(mode(&path.join("x")), 0o600);
        }
    }

    #[test]
    fn a_key_outlives_the_process_and_one_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = DataDirConfig::Required(folder.path().to_owned());
        let open = || ServerData::open(&config, &Keys::default());

        let first = open().unwrap();
        let key = first.key.expose().to_owned();
        assert_eq!(key.len(), 48);

        let error = open().err().expect("it is in use").to_string();
        assert!(
            error.ends_with("another process of llamapool has it"),
            "{error}"
        );
        let fallback = DataDirConfig::Default(folder.path().to_owned());
        let fallback = ServerData::open(&fallback, &Keys::default()).unwrap();
        assert!(fallback.directory.is_none() && fallback.key.expose() != key);

        drop(first);
        assert_eq!(open().unwrap().key.expose(), key);
        assert_ne!(
            ServerData::open(&DataDirConfig::None, &Keys::default())
                .unwrap()
                .key
                .expose(),
            key
        );
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the pause is that of the tries under test"
    )]
    fn a_command_that_looks_for_a_server_keeps_none_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let config = DataDirConfig::Required(folder.path().to_owned());
        drop(ServerData::open(&config, &Keys::default()).unwrap());
        let looking = File::open(folder.path().join(LOCK_FILE)).unwrap();
        lock_now(&looking).unwrap();

        let instant = thread::spawn(move || {
            thread::sleep(LOCK_PAUSE);
            drop(looking);
        });

        assert!(ServerData::open(&config, &Keys::default()).is_ok());
        instant.join().unwrap();
    }

    /// A directory in the place of a file cannot be written, as nothing can on a full disk.
    #[test]
    fn a_default_directory_that_is_full_ends_no_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        fs::create_dir(path.join("key.new")).unwrap();
        let open = |config| ServerData::open(&config, &Keys::default());

        let data = open(DataDirConfig::Default(path.clone())).unwrap();
        assert!(data.directory.is_none());
        let required = open(DataDirConfig::Required(path)).err().unwrap();
        assert!(required.to_string().contains("key"), "{required}");
    }
}
