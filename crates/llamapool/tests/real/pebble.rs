//! Pebble, the authority for tests by the makers of Let's Encrypt's, with the DNS that it asks. Both are
//! Debian's, and everything is on loopback.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{Authority, TlsAnswer, soon, write_pair};

/// A caller over TLS.
pub(crate) type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The bounds of the authority's checks, and the life of its certificates.
#[derive(Clone, Copy)]
pub(crate) struct PebbleOptions {
    /// The seconds of a certificate's life; Pebble's own default is five years.
    pub(crate) life: u64,
}

/// A running authority. Dropping it ends it.
pub(crate) struct Pebble {
    /// The port where it checks a name by a handshake: that of the server's TLS.
    pub(crate) tls_port: u16,
    /// The port where it checks a name by a request: the server's `HTTP_PORT`.
    pub(crate) http_port: u16,
    port: u16,
    management: u16,
    dns_management: u16,
    api: Authority,
    folder: TempDir,
    _processes: [Child; 2],
}

impl Pebble {
    /// Starts an authority, and waits until it answers. A fifth of the nonces is refused, as the
    /// authority of tests does by default, if more rarely.
    pub(crate) async fn start(options: PebbleOptions) -> Self {
        let api = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path(), &api.issue(&["localhost"]));
        fs::write(folder.path().join("ca.pem"), api.pem()).unwrap();

        let ports: Vec<u16> = free_ports(6);
        let path = |name: &str| folder.path().join(name);
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", ports[0]),
            "managementListenAddress": format!("127.0.0.1:{}", ports[1]),
            "certificate": path("chain.pem"),
            "privateKey": path("key.pem"),
            "tlsPort": ports[2],
            "httpPort": ports[3],
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": options.life,
        }});
        fs::write(path("config.json"), config.to_string()).unwrap();

        let dns = format!("127.0.0.1:{}", ports[4]);
        let dns_server = spawn(Command::new("pebble-challtestsrv").args([
            "-dns01",
            &dns,
            "-management",
            &format!("127.0.0.1:{}", ports[5]),
            "-defaultIPv4",
            "127.0.0.1",
            // Otherwise every name has the address ::1 too, where nothing listens.
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ]));
        let authority = spawn(
            Command::new("pebble")
                .arg("-config")
                .arg(path("config.json"))
                .args(["-dnsserver", &dns])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", "20")
                // Every order is checked.
                .env("PEBBLE_AUTHZREUSE", "0"),
        );

        let pebble = Self {
            tls_port: ports[2],
            http_port: ports[3],
            port: ports[0],
            management: ports[1],
            dns_management: ports[5],
            api,
            folder,
            _processes: [authority, dns_server],
        };
        pebble.answers().await;
        pebble
    }

    /// Returns the URL of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// Returns the path of the certificate by which its API is trusted.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the certificate of the authority by which the servers of callers are trusted, in PEM.
    pub(crate) async fn root(&self) -> String {
        let url = format!("https://localhost:{}/roots/0", self.management);
        let answer = self.get(&url).await.unwrap();
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// Has the DNS answer with this address for a name.
    pub(crate) async fn resolve(&self, name: &str, address: &str) {
        let url = format!("http://127.0.0.1:{}/add-a", self.dns_management);
        let body = json!({"host": format!("{name}."), "addresses": [address]});
        let answer = reqwest::Client::new().post(url).json(&body).send().await;
        assert_eq!(answer.unwrap().status(), 200);
    }

    async fn answers(&self) {
        let dns = format!("http://127.0.0.1:{}/", self.dns_management);
        soon("pebble and its DNS answer", async {
            while self.get(&self.directory()).await.is_err() || reqwest::get(&dns).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn get(&self, url: &str) -> Result<TlsAnswer, String> {
        let client = https_client(&self.api.pem(), "localhost");
        let request = http::Request::get(url).body(Full::default()).unwrap();
        TlsAnswer::of(&client, request).await
    }
}

/// Returns a caller that trusts one authority, and asks every server for one name.
pub(crate) fn https_client(root: &str, name: &'static str) -> HttpsClient {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = FixedServerNameResolver::new(ServerName::try_from(name).unwrap());
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .with_server_name_resolver(name)
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Returns ports that are free now: neither program chooses one itself. All are held until the last one
/// is found, so that they differ.
fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < count {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        // The DNS takes both.
        if let Ok(udp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((tcp, udp, port));
        }
    }
    held.iter().map(|(_, _, port)| *port).collect()
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("pebble and pebble-challtestsrv, which ./test installs")
}
