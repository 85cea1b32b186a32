//! A certificate and its key in files that another program keeps, and replaces while the server runs.
//!
//! Looking is cheap, so it is done often: size, times and inode of both files, with symbolic links
//! followed. That covers an editor, a rename, and the switch of a link by which Kubernetes and certbot
//! replace both files at once. Notifications of the system would need a watch on every directory of
//! every link, and do not come from network file systems.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::certificate::{Certificate, CertificateError};
use crate::resolver::{Certificates, Slot, Source};

/// The most bytes of a file: a chain has some ten thousand.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The paths of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The file with the chain, the server's own certificate first, in PEM.
    pub chain: PathBuf,
    /// The file with the key, in PEM.
    pub key: PathBuf,
}

/// The reason why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read.
    #[error("the {kind} file {path:?} cannot be read: {error}")]
    Unreadable {
        /// The content of the file.
        kind: FileKind,
        /// The path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A file is no PEM of a certificate or key.
    #[error("the {kind} file {path:?} has more than {MAX_FILE_BYTES} bytes, expected PEM")]
    TooLarge {
        /// The content of the file.
        kind: FileKind,
        /// The path.
        path: PathBuf,
    },
    /// Other users of the machine can read the key, or replace it.
    #[error(
        "the key file {path:?} has mode {mode:04o}, expected one without access for others, such as \
         0600 or 0640"
    )]
    OpenKey {
        /// The path.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
    },
    /// The content of the files is wrong.
    #[error("the certificate in {chain:?} with the key in {key:?}: {error}")]
    Content {
        /// The path of the chain.
        chain: PathBuf,
        /// The path of the key.
        key: PathBuf,
        /// The reason.
        error: CertificateError,
    },
}

/// The content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The chain of certificates.
    Certificate,
    /// The private key.
    Key,
}

/// A certificate in files, with its slot. Dropping it takes the certificate away.
#[derive(Debug)]
pub struct WatchedFiles {
    files: CertificateFiles,
    slot: Slot,
    seen: [Fingerprint; 2],
}

/// The result of a look at files.
#[derive(Debug)]
pub enum Look {
    /// They are as they were.
    Unchanged,
    /// They have changed, and their certificate is presented from now on, until this time.
    Renewed(SystemTime),
    /// They have changed, and cannot be used; the certificate of before stays.
    Failed(FileError),
}

impl WatchedFiles {
    /// Reads the files for the first time, and presents their certificate.
    ///
    /// # Errors
    ///
    /// Any [`FileError`].
    pub fn open(
        certificates: &Certificates,
        files: CertificateFiles,
        now: SystemTime,
    ) -> Result<Self, FileError> {
        let seen = files.fingerprints();
        let certificate = files.read(now)?;

        let slot = certificates.slot(Source::File, files.chain.display().to_string());
        slot.publish(certificate);
        Ok(Self { files, slot, seen })
    }

    /// Returns the paths.
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// Reads the files again if they have changed since the last look. A failure is so found once for
    /// each change.
    pub fn look(&mut self, now: SystemTime) -> Look {
        if self.files.fingerprints() == self.seen {
            return Look::Unchanged;
        }
        self.reload(now)
    }

    /// Reads the files again, changed or not.
    pub fn reload(&mut self, now: SystemTime) -> Look {
        // Before they are read: a change in between is seen by the next look.
        self.seen = self.files.fingerprints();
        match self.files.read(now) {
            Ok(certificate) => {
                let not_after = certificate.not_after();
                self.slot.publish(certificate);
                Look::Renewed(not_after)
            }
            Err(error) => {
                self.slot.report_failure(&error, now);
                Look::Failed(error)
            }
        }
    }
}

impl CertificateFiles {
    fn read(&self, now: SystemTime) -> Result<Certificate, FileError> {
        let chain = read(FileKind::Certificate, &self.chain)?;
        let key = read(FileKind::Key, &self.key)?;
        Certificate::from_pem(&chain, &key, now).map_err(|error| FileError::Content {
            chain: self.chain.clone(),
            key: self.key.clone(),
            error,
        })
    }

    fn fingerprints(&self) -> [Fingerprint; 2] {
        [&self.chain, &self.key].map(|path| Fingerprint::of(path))
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
        })
    }
}

fn read(kind: FileKind, path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |error| FileError::Unreadable {
        kind,
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(unreadable)?;
    // Of the file that is open, as its path may lead to another one meanwhile.
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    if kind == FileKind::Key {
        refuse_open_key(path, &metadata)?;
    }

    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(FileError::TooLarge {
            kind,
            path: path.to_owned(),
        });
    }
    Ok(content)
}

/// Refuses a key that every user of the machine has access to. Its group may: packages of
/// distributions and Kubernetes give keys to services by it.
#[cfg(unix)]
fn refuse_open_key(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    use std::os::unix::fs::MetadataExt;

    /// The permissions of a mode.
    const PERMISSIONS: u32 = 0o7777;
    /// Those of users who are neither the owner nor in the group.
    const OTHERS: u32 = 0o007;

    let mode = metadata.mode() & PERMISSIONS;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(FileError::OpenKey {
        path: path.to_owned(),
        mode,
    })
}

#[cfg(not(unix))]
fn refuse_open_key(_: &Path, _: &Metadata) -> Result<(), FileError> {
    Ok(())
}

/// The properties by which a changed file is recognized; `None` if it cannot be looked at.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint(Option<FileState>);

#[derive(Debug, PartialEq, Eq)]
struct FileState {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and the time of the inode's last change, which a new mode changes too.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Fingerprint {
    fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path);
        Self(metadata.ok().map(|metadata| FileState {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (
                    metadata.dev(),
                    metadata.ino(),
                    metadata.ctime(),
                    metadata.ctime_nsec(),
                )
            },
        }))
    }
}

#[cfg(test)]
mod tests;
