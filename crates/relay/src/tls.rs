//! The certificates that the relay trusts: the public authorities, those of the machine, and those
//! of `CA_FILE`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("CA_FILE {0:?}: {1}")]
    File(PathBuf, String),
    /// The file contains no certificate.
    #[error("CA_FILE {0:?} has no certificate, expected PEM with BEGIN CERTIFICATE")]
    Empty(PathBuf),
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Returns the configuration of every TLS connection that the relay makes.
pub(crate) fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    // A machine without a certificate store, such as a small container, still gets the public
    // authorities.
    let of_machine = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(of_machine.certs);
    if let Some(file) = ca_file {
        add_file(&mut roots, file)?;
    }

    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    let unreadable = |error: String| TlsError::File(file.to_owned(), error);
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| unreadable(error.to_string()))?;

    let mut added = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unreadable(error.to_string()))?;
        added += 1;
    }
    if added == 0 {
        Err(TlsError::Empty(file.to_owned()))
    } else {
        Ok(())
    }
}
