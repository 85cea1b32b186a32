//! HTTPS to an authority, within bounds. Notes what its answers contain beside their bodies: the time
//! before the next try, and its clock.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The time for one request and its whole answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of an answer: a chain has some ten thousand.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The reason why `ACME_CA_FILE` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificates of the authority in {path:?} cannot be used: {reason}")]
pub struct CaFileError {
    path: PathBuf,
    reason: String,
}

/// A client of one authority. Clones share their connections and notes.
#[derive(Clone)]
pub(super) struct AuthorityClient {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    notes: Arc<Mutex<Notes>>,
}

/// What the newest answers contained beside their bodies.
#[derive(Debug, Clone, Copy, Default)]
struct Notes {
    /// The time before which the authority wants no other try, of the newest refusal.
    retry_at: Option<SystemTime>,
    /// The authority's clock, and ours at the same moment.
    clocks: Option<(SystemTime, SystemTime)>,
}

impl AuthorityClient {
    /// Makes a client that trusts the public authorities, and those of the file.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, CaFileError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(path) = ca_file {
            add_file(&mut roots, path)?;
        }
        let failed = |error: rustls::Error| CaFileError {
            path: ca_file.unwrap_or(Path::new("")).to_owned(),
            reason: error.to_string(),
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_no_client_auth();

        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            notes: Arc::default(),
        })
    }

    /// Returns the earliest time of another try, if the newest refusal since the last call named one.
    pub(super) fn take_retry_at(&self) -> Option<SystemTime> {
        self.notes.lock().retry_at.take()
    }

    /// Returns the authority's clock, and ours at the same moment, as of the newest answer.
    pub(super) fn clocks(&self) -> Option<(SystemTime, SystemTime)> {
        self.notes.lock().clocks
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let exchange = async {
            let response = self.client.request(request).await.map_err(other)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
            Ok::<_, Error>((parts, body.map_err(Error::Other)?.to_bytes()))
        };
        let (parts, body) = tokio::time::timeout(REQUEST_TIMEOUT, exchange)
            .await
            .map_err(|_| Error::Other("no answer within 30 s".into()))??;

        self.note(&parts.headers, parts.status.is_success());
        let body = Full::new(body);
        Ok(BytesResponse::from(Response::from_parts(parts, body)))
    }

    fn note(&self, headers: &HeaderMap, is_success: bool) {
        let now = SystemTime::now();
        let text = |name: HeaderName| headers.get(name)?.to_str().ok();
        let mut notes = self.notes.lock();
        if let Some(theirs) = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()) {
            notes.clocks = Some((theirs, now));
        }
        if !is_success {
            notes.retry_at = text(RETRY_AFTER).and_then(|text| retry_at(text, now));
        }
    }
}

impl HttpClient for AuthorityClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

/// Returns the time of a `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_at(text: &str, now: SystemTime) -> Option<SystemTime> {
    match text.trim().parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok(),
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), CaFileError> {
    let failed = |reason: String| CaFileError {
        path: path.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path);
    let certificates = certificates.map_err(|error| failed(error.to_string()))?;

    let mut added = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        let result = roots.add(certificate);
        result.map_err(|error| failed(error.to_string()))?;
        added += 1;
    }
    if added == 0 {
        let missing = "there is no certificate, expected PEM with BEGIN CERTIFICATE";
        return Err(failed(missing.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_a_number_of_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_000);
        let after = |text| retry_at(text, now)?.duration_since(now).ok();

        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        let date = after("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date, Some(Duration::from_secs(777)));
        assert_eq!(after("soon"), None);
        assert_eq!(retry_at("18446744073709551615", now), None);
    }

    #[test]
    fn a_file_without_a_certificate_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let error = |path: &Path| {
            let error = AuthorityClient::new(Some(path)).err().unwrap();
            error.to_string()
        };

        assert!(error(&path).contains("ca.pem"), "{}", error(&path));
        std::fs::write(&path, "nothing").unwrap();
        assert!(error(&path).contains("expected PEM"), "{}", error(&path));
    }
}
