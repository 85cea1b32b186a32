//! The files of one directory of an authority, below the data directory: the account, the
//! certificates with their keys, the order that runs, and what was tried.
//!
//! Every file can be read by the user of this process alone. It is written whole, under another name,
//! made durable and renamed, so that a crash or a full disk leaves the old one. A certificate and its
//! key are one file: no crash leaves one of them beside an older other.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::name::DomainName;
use super::plan::History;

/// The file whose lock shows that a process has the directory.
const LOCK_FILE: &str = "lock";
const ACCOUNT_FILE: &str = "account.json";
const ORDER_FILE: &str = "order.json";
const TRIES_FILE: &str = "tries.json";
const CERTIFICATES: &str = "certificates";
const SUFFIX: &str = ".pem";
/// The most bytes of a file that is read: a chain has some ten thousand.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The most certificate files that are read: names times two, as an order may have replaced each.
const MAX_FILES: usize = 256;

/// The files of one directory of an authority. One process has them at a time; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Storage(Arc<OpenStorage>);

#[derive(Debug)]
struct OpenStorage {
    folder: PathBuf,
    /// Held for its lock, which ends with the process.
    _lock: File,
}

/// The file that cannot be read or written, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{path:?}: {reason}")]
pub struct StorageError {
    path: PathBuf,
    reason: String,
}

/// A certificate file.
#[derive(Debug)]
pub(super) struct StoredCertificate {
    pub(super) file: String,
    /// Chain and key in PEM.
    pub(super) pem: Vec<u8>,
    /// The time at which the file was written.
    pub(super) written: SystemTime,
}

/// An order that was made, and may have got its certificate when the process ended.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredOrder {
    /// The URL of the order, which is its identity.
    pub(super) url: String,
    pub(super) names: Vec<String>,
    /// The key of the certificate, in PEM.
    pub(super) key: String,
}

/// What is remembered of a name, in seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
struct StoredHistory {
    own_failures: u32,
    failures: u32,
    paused_at: Option<u64>,
    pause: u64,
    tries: Vec<u64>,
}

impl Storage {
    /// Takes a folder, and makes it if there is none.
    pub(super) fn open(folder: &Path) -> Result<Self, StorageError> {
        let certificates = folder.join(CERTIFICATES);
        create_private_dir(&certificates).map_err(|error| error_of(&certificates, &error))?;

        let path = folder.join(LOCK_FILE);
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(&path)
            .map_err(|error| error_of(&path, &error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => error_of(&path, &"another process has it"),
            TryLockError::Error(error) => error_of(&path, &error),
        })?;

        Ok(Self(Arc::new(OpenStorage {
            folder: folder.to_owned(),
            _lock: lock,
        })))
    }

    /// Reads the account. `None` if there is none.
    pub(super) fn account<T: DeserializeOwned>(&self) -> Result<Option<T>, StorageError> {
        self.read_json(ACCOUNT_FILE)
    }

    pub(super) async fn write_account(&self, account: &impl Serialize) -> Result<(), StorageError> {
        self.write_json(ACCOUNT_FILE, account).await
    }

    pub(super) async fn remove_account(&self) -> Result<(), StorageError> {
        self.remove(ACCOUNT_FILE.to_owned()).await
    }

    /// Reads the order that ran when the process ended. `None` if there is none.
    pub(super) fn order(&self) -> Result<Option<StoredOrder>, StorageError> {
        self.read_json(ORDER_FILE)
    }

    pub(super) async fn write_order(&self, order: &StoredOrder) -> Result<(), StorageError> {
        self.write_json(ORDER_FILE, order).await
    }

    pub(super) async fn remove_order(&self) -> Result<(), StorageError> {
        self.remove(ORDER_FILE.to_owned()).await
    }

    /// Reads what is remembered of the names.
    pub(super) fn histories(&self) -> Result<BTreeMap<DomainName, History>, StorageError> {
        let stored: Option<BTreeMap<String, StoredHistory>> = self.read_json(TRIES_FILE)?;
        let stored = stored.unwrap_or_default().into_iter();
        let histories = stored.filter_map(|(name, it)| Some((name.parse().ok()?, it.history())));
        Ok(histories.collect())
    }

    pub(super) async fn write_histories(
        &self,
        histories: &BTreeMap<DomainName, History>,
    ) -> Result<(), StorageError> {
        let stored = histories.iter();
        let stored = stored.map(|(name, it)| (name.as_str(), StoredHistory::of(it)));
        let stored: BTreeMap<&str, StoredHistory> = stored.collect();
        self.write_json(TRIES_FILE, &stored).await
    }

    /// Reads the certificate files; what is no regular file is left out.
    pub(super) fn certificates(&self) -> Result<Vec<StoredCertificate>, StorageError> {
        let folder = self.path(CERTIFICATES);
        let entries = fs::read_dir(&folder).map_err(|error| error_of(&folder, &error))?;

        let mut stored = Vec::new();
        for entry in entries.take(MAX_FILES) {
            let entry = entry.map_err(|error| error_of(&folder, &error))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let Some(metadata) = entry.metadata().ok().filter(fs::Metadata::is_file) else {
                continue;
            };
            if !name.ends_with(SUFFIX) {
                continue;
            }
            let file = format!("{CERTIFICATES}/{name}");
            if let Some(pem) = self.read(&file)? {
                let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                stored.push(StoredCertificate { file, pem, written });
            }
        }
        Ok(stored)
    }

    /// Writes a certificate with its key, in place of an earlier one for the same names. Returns the
    /// file.
    pub(super) async fn write_certificate(
        &self,
        names: &[DomainName],
        pem: String,
    ) -> Result<String, StorageError> {
        let file = certificate_file(names);
        self.write(&file, pem.into_bytes()).await?;
        Ok(file)
    }

    /// Removes a file, if it is there.
    pub(super) async fn remove(&self, file: String) -> Result<(), StorageError> {
        self.aside(move |storage| {
            let path = storage.path(&file);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error_of(&path, &error))
                }
                _ => Ok(()),
            }
        })
        .await
    }

    fn read_json<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, StorageError> {
        let Some(text) = self.read(file)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&text);
        // The error's own text could quote a key.
        let wrong = "it is not what was written here; delete it to begin anew";
        let value = value.map_err(|_| error_of(&self.path(file), &wrong))?;
        Ok(Some(value))
    }

    async fn write_json(&self, file: &str, value: &impl Serialize) -> Result<(), StorageError> {
        let text = serde_json::to_vec(value);
        let text = text.map_err(|error| error_of(&self.path(file), &error))?;
        self.write(file, text).await
    }

    fn read(&self, file: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.path(file);
        let read = || {
            let mut content = Vec::new();
            let file = File::open(&path)?;
            file.take(MAX_FILE_BYTES).read_to_end(&mut content)?;
            Ok::<_, io::Error>(content)
        };
        match read() {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error_of(&path, &error)),
        }
    }

    async fn write(&self, file: &str, content: Vec<u8>) -> Result<(), StorageError> {
        let file = file.to_owned();
        self.aside(move |storage| storage.replace(&file, &content))
            .await
    }

    /// Works on the files on a thread that may wait for the disk.
    async fn aside(
        &self,
        work: impl FnOnce(&Self) -> Result<(), StorageError> + Send + 'static,
    ) -> Result<(), StorageError> {
        let storage = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&storage)).await;
        done.map_err(|error| error_of(&self.0.folder, &error))?
    }

    /// Replaces a file, whole or not at all, so that it is durable when this returns.
    fn replace(&self, file: &str, content: &[u8]) -> Result<(), StorageError> {
        let path = self.path(file);
        let new = self.path(&format!("{file}.new"));
        let write = || {
            let mut options = OpenOptions::new();
            let mut written =
                private(options.create(true).truncate(true).write(true)).open(&new)?;
            written.write_all(content)?;
            written.sync_all()?;
            fs::rename(&new, &path)?;
            path.parent().map_or(Ok(()), sync_dir)
        };
        write().map_err(|error| error_of(&path, &error))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.folder.join(file)
    }
}

impl StoredHistory {
    fn of(history: &History) -> Self {
        let (paused_at, pause) = history.pause.unzip();
        Self {
            own_failures: history.own_failures,
            failures: history.failures,
            paused_at: paused_at.map(seconds),
            pause: pause.unwrap_or_default().as_secs(),
            tries: history.tries.iter().map(|at| seconds(*at)).collect(),
        }
    }

    fn history(&self) -> History {
        let pause = Duration::from_secs(self.pause);
        History {
            own_failures: self.own_failures,
            failures: self.failures,
            pause: self.paused_at.map(|at| (time(at), pause)),
            tries: self.tries.iter().map(|at| time(*at)).collect(),
        }
    }
}

fn seconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn time(seconds: u64) -> SystemTime {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    at.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns the file of the certificate for these names: readable, and another one for other names.
fn certificate_file(names: &[DomainName]) -> String {
    let first = names.first().map_or("none", DomainName::as_str);
    let all = digest(&SHA256, super::name::list(names).as_bytes());
    let all = all.as_ref().iter().take(4);
    let all: String = all.map(|byte| format!("{byte:02x}")).collect();
    format!("{CERTIFICATES}/{first}-{all}{SUFFIX}")
}

fn error_of(path: &Path, reason: &dyn Display) -> StorageError {
    StorageError {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Creates a directory that only the user of this process can enter, with its parents. One that
/// exists stays as it is.
fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
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

/// Makes the names of a directory durable.
fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<DomainName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn files_are_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&folder.path().join("acme/test")).unwrap();
        let names = names(&["pool.example"]);

        let write = |pem: &str| storage.write_certificate(&names, pem.to_owned());
        write("one, longer").await.unwrap();
        let file = write("two").await.unwrap();

        let stored = storage.certificates().unwrap();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].file, file);
        assert_eq!(stored[0].pem, b"two");

        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;

            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&storage.path(&file)), 0o600);
            assert_eq!(mode(&storage.path("")), 0o700);
        }
    }

    #[test]
    fn one_process_has_a_directory_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();

        let error = Storage::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("another process has it"), "{error}");

        drop(storage);
        Storage::open(folder.path()).unwrap();
    }

    #[tokio::test]
    async fn tries_are_remembered_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let history = History {
            own_failures: 1,
            failures: 2,
            pause: Some((at(1_800_000_000), Duration::from_secs(300))),
            tries: vec![at(1_799_999_000), at(1_800_000_000)],
        };
        let histories: BTreeMap<_, _> = [("pool.example".parse().unwrap(), history)].into();

        assert!(storage.histories().unwrap().is_empty());
        storage.write_histories(&histories).await.unwrap();

        assert_eq!(storage.histories().unwrap(), histories);
    }

    /// A key in a broken file must not get into the log.
    #[test]
    fn a_broken_file_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        fs::write(folder.path().join(ORDER_FILE), r#"{"url":1,"key":"secret"#).unwrap();

        let error = storage.order().err().unwrap().to_string();
        assert!(error.contains("order.json"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn names_of_other_orders_have_other_files() {
        let one = certificate_file(&names(&["a.example", "b.example"]));
        let other = certificate_file(&names(&["a.example"]));
        assert_ne!(one, other);
        assert!(one.starts_with("certificates/a.example-"), "{one}");
    }
}
