//! Tests of files that change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::test_certificates::{Authority, Pem};

struct Folder {
    folder: TempDir,
    authority: Authority,
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
        }
    }

    fn files(&self) -> CertificateFiles {
        CertificateFiles {
            chain: self.folder.path().join("chain.pem"),
            key: self.folder.path().join("key.pem"),
        }
    }

    fn write(&self, pem: &Pem) {
        let files = self.files();
        fs::write(&files.chain, &pem.chain).unwrap();
        write_key(&files.key, &pem.key);
    }

    fn open(&self, certificates: &Certificates) -> Result<WatchedFiles, FileError> {
        WatchedFiles::open(certificates, self.files(), SystemTime::now())
    }

    /// The files with a certificate for `a.example`, which is presented.
    fn opened(&self, certificates: &Certificates) -> WatchedFiles {
        self.write(&self.authority.issue(&["a.example"]));
        self.open(certificates).unwrap()
    }
}

fn write_key(path: &Path, key: &str) {
    fs::write(path, key).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn error_of(result: Result<WatchedFiles, FileError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_changed_pair_is_presented_and_an_unchanged_one_not_read() {
    let folder = Folder::new();
    let certificates = Certificates::new();
    let mut watched = folder.opened(&certificates);
    assert!(matches!(watched.look(SystemTime::now()), Look::Unchanged));

    folder.write(&folder.authority.issue(&["b.example"]));
    let look = watched.look(SystemTime::now());

    assert!(matches!(look, Look::Renewed(_)), "{look:?}");
    assert_eq!(certificates.status()[0].names, ["b.example"]);
    assert!(matches!(watched.look(SystemTime::now()), Look::Unchanged));
}

#[test]
fn a_wrong_pair_is_reported_once_and_the_old_one_stays() {
    let folder = Folder::new();
    let certificates = Certificates::new();
    let mut watched = folder.opened(&certificates);
    let next = folder.authority.issue(&["b.example"]);

    fs::write(&folder.files().chain, &next.chain).unwrap();
    let look = watched.look(SystemTime::now());

    assert!(
        matches!(&look, Look::Failed(error) if error.to_string().contains("does not belong")),
        "{look:?}"
    );
    assert!(matches!(watched.look(SystemTime::now()), Look::Unchanged));
    let status = &certificates.status()[0];
    assert_eq!(
        (&*status.names, status.failures),
        (&["a.example".to_owned()][..], 1)
    );
    assert!(status.last_error.is_some());

    write_key(&folder.files().key, &next.key);
    assert!(matches!(watched.look(SystemTime::now()), Look::Renewed(_)));
    let status = &certificates.status()[0];
    assert_eq!(
        (&*status.names, &status.last_error),
        (&["b.example".to_owned()][..], &None)
    );
}

/// As Kubernetes and certbot replace files.
#[test]
fn a_switched_link_is_noticed() {
    let folder = Folder::new();
    let path = folder.folder.path();
    for (name, pem) in [("1", "a.example"), ("2", "b.example")] {
        let pem = folder.authority.issue(&[pem]);
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("tls.crt"), pem.chain).unwrap();
        write_key(&path.join(name).join("tls.key"), &pem.key);
    }
    symlink("1", path.join("data")).unwrap();
    let files = CertificateFiles {
        chain: path.join("data/tls.crt"),
        key: path.join("data/tls.key"),
    };
    let certificates = Certificates::new();
    let mut watched = WatchedFiles::open(&certificates, files, SystemTime::now()).unwrap();

    symlink("2", path.join("next")).unwrap();
    fs::rename(path.join("next"), path.join("data")).unwrap();

    assert!(matches!(watched.look(SystemTime::now()), Look::Renewed(_)));
    assert_eq!(certificates.status()[0].names, ["b.example"]);
}

#[test]
fn a_half_written_file_and_an_expired_one_are_not_used() {
    let folder = Folder::new();
    let certificates = Certificates::new();
    let mut watched = folder.opened(&certificates);

    let next = folder.authority.issue(&["b.example"]);
    let half = &next.chain[..next.chain.len() / 2];
    fs::write(&folder.files().chain, half).unwrap();
    let look = watched.look(SystemTime::now());
    assert!(matches!(look, Look::Failed(_)), "{look:?}");

    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    folder.write(&folder.authority.issue_until(&["b.example"], hour_ago));
    let look = watched.look(SystemTime::now());
    assert!(
        matches!(&look, Look::Failed(error) if error.to_string().ends_with("expired 60 minutes ago")),
        "{look:?}"
    );

    fs::remove_file(folder.files().chain).unwrap();
    let look = watched.look(SystemTime::now());
    assert!(
        matches!(look, Look::Failed(FileError::Unreadable { .. })),
        "{look:?}"
    );
    assert_eq!(certificates.status()[0].names, ["a.example"]);
}

#[test]
fn a_key_that_others_can_read_is_refused_until_its_mode_changes() {
    let folder = Folder::new();
    let certificates = Certificates::new();
    let mut watched = folder.opened(&certificates);
    let key = folder.files().key;

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = error_of(folder.open(&certificates));
    assert!(
        error.contains("mode 0644") && error.contains("0600"),
        "{error}"
    );
    assert!(matches!(watched.look(SystemTime::now()), Look::Failed(_)));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(watched.look(SystemTime::now()), Look::Renewed(_)));
}

#[test]
fn an_error_at_the_start_names_file_and_expectation() {
    let folder = Folder::new();
    let certificates = Certificates::new();
    let files = folder.files();
    let missing = error_of(folder.open(&certificates));
    assert!(
        missing.contains("the certificate file") && missing.contains("chain.pem"),
        "{missing}"
    );

    let pem = folder.authority.issue(&["a.example"]);
    fs::write(&files.chain, &pem.key).unwrap();
    write_key(&files.key, &pem.key);
    let no_chain = error_of(folder.open(&certificates));
    assert!(no_chain.contains("BEGIN CERTIFICATE"), "{no_chain}");

    fs::write(&files.chain, &pem.chain).unwrap();
    write_key(&files.key, &pem.chain);
    let no_key = error_of(folder.open(&certificates));
    assert!(no_key.contains("BEGIN PRIVATE KEY"), "{no_key}");

    write_key(
        &files.key,
        &"x".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1),
    );
    let large = error_of(folder.open(&certificates));
    assert!(
        large.contains("key.pem") && large.contains("1048576 bytes"),
        "{large}"
    );
    assert!(certificates.status().is_empty());
}
