//! A server as a process that speaks TLS, and its callers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{API_KEY, Authority, Issued, Pool, Process, Settings, WORKER_KEY, soon};

/// A caller over TLS that keeps its connections.
pub type TlsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A server on loopback with a certificate in files, for the name `localhost`.
pub struct TlsServer {
    /// The process of the server.
    pub server: Process,
    /// The authority of its certificate.
    pub authority: Authority,
    /// The port of TLS.
    pub port: u16,
    folder: TempDir,
}

/// An answer that was read whole.
pub struct TlsAnswer {
    /// The head.
    pub head: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

impl TlsServer {
    /// Starts a server with these settings besides.
    pub async fn start(settings: Settings<'_>) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a folder");
        write_pair(folder.path(), &authority.issue(&["localhost"]));
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a disk with room");

        let mut server = Self::process(folder.path(), settings);
        let event = server.event("the server listens").await;
        let address = event["address"].as_str().expect("the address is logged");
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        Self {
            server,
            authority,
            port: port.expect("a port"),
            folder,
        }
    }

    /// Starts the process of a server whose certificate is in a folder.
    pub fn process(folder: &Path, settings: Settings<'_>) -> Process {
        let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
        let [chain, key] = ["chain.pem", "key.pem"].map(path);
        let own = [
            ("PORT", "0"),
            ("BIND_ADDR", "127.0.0.1"),
            ("THREADS", "2"),
            ("API_KEY", API_KEY),
            ("WORKER_KEY", WORKER_KEY),
            ("TLS_CERT_FILE", &chain),
            ("TLS_KEY_FILE", &key),
        ];
        let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
        Process::llamapool(&["server"], &settings)
    }

    /// Returns a URL of the server.
    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://localhost:{}{path}", self.port)
    }

    /// Returns the path of the authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the folder of the certificate.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the certificate's files.
    pub fn write(&self, issued: &Issued) {
        write_pair(self.folder.path(), issued);
    }

    /// Connects a relay by wss, and waits until calls get to it.
    pub async fn relay(&mut self, id: &str, provider_url: &str) -> Process {
        let ca = self.ca_file();
        let settings = [("CA_FILE", ca.to_str().expect("UTF-8"))];
        let relay = Pool::relay_to(&self.url("wss", ""), id, provider_url, &settings);
        self.server.event("relay connected").await;
        relay
    }

    /// Returns how a client that trusts the authority speaks TLS.
    pub fn client_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der()).expect("a certificate");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// Returns a caller that offers HTTP/2 and HTTP/1.1.
    pub fn client(&self) -> TlsClient {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.client_config())
            .https_only()
            .enable_all_versions()
            .build();
        Client::builder(TokioExecutor::new()).build(connector)
    }

    /// Returns a caller that offers HTTP/1.1.
    pub fn http1_client(&self) -> TlsClient {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.client_config())
            .https_only()
            .enable_http1()
            .build();
        Client::builder(TokioExecutor::new()).build(connector)
    }

    /// Does one handshake, for this name.
    pub async fn handshake(
        &self,
        config: ClientConfig,
        name: &'static str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from(name).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        soon("the handshake ends", connector.connect(name, stream)).await
    }

    /// Gets a path with the API key.
    pub async fn get(&self, client: &TlsClient, path: &str) -> TlsAnswer {
        let request = http::Request::get(self.url("https", path))
            .header("authorization", format!("Bearer {API_KEY}"))
            .body(Full::default())
            .expect("a request");
        TlsAnswer::of(client, request).await.expect("an answer")
    }

    /// Sends an MCP call to an id.
    pub async fn call(&self, client: &TlsClient, id: &str) -> Result<TlsAnswer, String> {
        let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let request = http::Request::post(self.url("https", &format!("/api/mcp/id/{id}")))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(Full::from(message))
            .expect("a request");
        TlsAnswer::of(client, request).await
    }

    /// Returns the certificates in the state.
    pub async fn certificates(&self) -> Value {
        let answer = self.get(&self.client(), "/api/state").await;
        let state: Value = serde_json::from_slice(&answer.body).expect("JSON");
        state["certificates"].clone()
    }
}

impl TlsAnswer {
    /// Sends a request, and reads the answer.
    pub async fn of(
        client: &TlsClient,
        request: http::Request<Full<Bytes>>,
    ) -> Result<Self, String> {
        let answer = soon("an answer", client.request(request)).await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let (head, body) = answer.into_parts();
        let body = soon("a body", body.collect()).await;
        let body = body.map_err(|error| format!("{error:?}"))?.to_bytes();
        Ok(Self { head, body })
    }
}

/// Writes a certificate and its key as a careful program does: each whole, under another name first,
/// the key before the certificate.
pub fn write_pair(folder: &Path, issued: &Issued) {
    for (name, content, mode) in [
        ("key.pem", &issued.key, 0o600),
        ("chain.pem", &issued.chain, 0o644),
    ] {
        let written = folder.join("written");
        fs::write(&written, content).expect("a disk with room");
        fs::set_permissions(&written, fs::Permissions::from_mode(mode)).expect("own file");
        fs::rename(&written, folder.join(name)).expect("the same disk");
    }
}
