//! Requests to a server, with bounds: on the time, and on the bytes of an answer.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use llamapool_wire::{Secret, error_chain};
use serde_json::Value;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::flags::Target;
use super::{NO_PERMISSION, PROBLEM, UNAVAILABLE};

/// The largest answer that is read, in bytes. The state of ten thousand ids has some ten millions.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// The agent of all requests.
const AGENT: &str = concat!("llamapool/", env!("CARGO_PKG_VERSION"));

/// A client of one server.
pub(super) struct Client {
    target: Target,
    http: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer with its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What was in the way of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// There was no answer.
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    /// The answer did not come within the time.
    #[error("{url} did not answer within {}", humantime::format_duration(*.within))]
    TooSlow { url: String, within: Duration },
    /// The answer is none of llamapool.
    #[error(
        "{url} answers with {what}, which is not what a llamapool server answers: is --server right?"
    )]
    Strange { url: String, what: String },
    /// The key is not accepted.
    #[error("{message}")]
    Refused { message: String },
    /// The server reports an error.
    #[error("{message} ({word})")]
    Failed { word: String, message: String },
}

impl RemoteError {
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::TooSlow { .. } | Self::Strange { .. } => UNAVAILABLE,
            Self::Refused { .. } => NO_PERMISSION,
            Self::Failed { .. } => PROBLEM,
        }
    }
}

impl Client {
    /// Returns a client.
    ///
    /// # Errors
    ///
    /// If the file with the authority cannot be read.
    pub(super) fn new(target: Target) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&target)?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            target,
            http: HyperClient::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Returns the server, and how it is reached.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Gets JSON from a path of the server.
    pub(super) async fn get_json(&self, path: &str) -> Result<Value, RemoteError> {
        Ok(self.json(Method::GET, path).await?.0)
    }

    /// Gets JSON from a path of the server, and its text.
    pub(super) async fn get_text(&self, path: &str) -> Result<(Value, Vec<u8>), RemoteError> {
        self.json(Method::GET, path).await
    }

    /// Posts nothing to a path of the server, and returns its JSON.
    pub(super) async fn post_json(&self, path: &str) -> Result<Value, RemoteError> {
        Ok(self.json(Method::POST, path).await?.0)
    }

    async fn json(&self, method: Method, path: &str) -> Result<(Value, Vec<u8>), RemoteError> {
        let url = self.target.address.url(path);
        let answer = self.request(method, &url, &[], Bytes::new()).await?;
        let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let json = json.filter(|_| answer.is_json());
        let text = |name: &str| {
            let value = json.as_ref().and_then(|json| json[name].as_str());
            value.map(str::to_owned)
        };
        let strange = || RemoteError::Strange {
            url: url.clone(),
            what: format!("status {}", answer.status.as_u16()),
        };

        match answer.status {
            StatusCode::OK => match json {
                Some(json) => Ok((json, answer.body)),
                None => Err(strange()),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                let message = text("message").ok_or_else(strange)?;
                let hint = match self.target.key {
                    None => "; no key was given: set API_KEY, or --api-key-file",
                    Some(_) => "",
                };
                Err(RemoteError::Refused {
                    message: format!("{url} refuses: {message}{hint}"),
                })
            }
            _ => match (text("error"), text("message")) {
                (Some(word), Some(message)) => Err(RemoteError::Failed { word, message }),
                _ => Err(strange()),
            },
        }
    }

    /// Sends a request, with the key, and reads its answer whole.
    pub(super) async fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, RemoteError> {
        let exchange = async {
            let (head, body) = self.send(method, url, headers, body).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| RemoteError::Unreachable {
                url: url.to_owned(),
                why: format!("the answer broke off: {error}"),
            })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes().to_vec(),
            })
        };
        self.within(url, exchange).await
    }

    /// Waits for something no longer than a request may take.
    pub(super) async fn within<T>(
        &self,
        url: &str,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let within = self.target.timeout;
        let done = tokio::time::timeout(within, work).await;
        done.unwrap_or_else(|_| {
            Err(RemoteError::TooSlow {
                url: url.to_owned(),
                within,
            })
        })
    }

    /// Sends a request, with the key, and returns as soon as the head of its answer is there.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<http::Response<Incoming>, RemoteError> {
        let unreachable = |why: String| RemoteError::Unreachable {
            url: url.to_owned(),
            why,
        };
        let request = Request::builder()
            .method(method)
            .uri(url)
            .body(Full::new(body));
        let mut request = request.map_err(|error| unreachable(error.to_string()))?;
        let map = request.headers_mut();
        map.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        map.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(key) = self.target.key.as_ref().and_then(authorization) {
            map.insert(AUTHORIZATION, key);
        }
        for (name, value) in headers {
            map.insert(name, value.clone());
        }

        let answer = self.http.request(request).await;
        answer.map_err(|error| unreachable(without_frame(&error_chain(&error))))
    }
}

impl Answer {
    /// Returns whether the answer is JSON by its type.
    pub(super) fn is_json(&self) -> bool {
        let media_type = self.headers.get(CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok());
        media_type.is_some_and(|it| it.to_ascii_lowercase().contains("json"))
    }
}

/// Returns the credential of a key.
fn authorization(key: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns an error without the words of the library that come first in all of them.
fn without_frame(error: &str) -> String {
    let frames = ["client error (Connect): ", "tcp connect error: "];
    let bare = frames.iter().fold(error, |error, frame| {
        error.strip_prefix(frame).unwrap_or(error)
    });
    bare.to_owned()
}

fn tls(target: &Target) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &target.ca_file {
        let pem = std::fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
        let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.with_context(|| format!("{path:?} is no PEM"))?;
        if certificates.is_empty() {
            anyhow::bail!("{path:?} has no certificate, expected PEM with BEGIN CERTIFICATE");
        }
        roots.add_parsable_certificates(certificates);
    }
    let config = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
