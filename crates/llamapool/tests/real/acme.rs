//! Certificates by ACME, ordered by a real server from Pebble.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{
    API_KEY, ConnectProxy, Pool, Process, Provider, TlsAnswer, WORKER_KEY, soon, tools_call,
};
use crate::pebble::{HttpsClient, Pebble, PebbleOptions, https_client};

/// The log's line of a new certificate.
const OBTAINED: &str = "a certificate was obtained";
/// The log's line of an order that failed.
const FAILED: &str = "no certificate could be obtained";
/// A life that no test sees the end of.
const LONG: PebbleOptions = PebbleOptions { life: 90 * 86_400 };
/// The most time from an order to its certificate.
const ORDER_TIME: Duration = Duration::from_secs(5);

/// A server whose certificates are Pebble's.
struct Site {
    pebble: Pebble,
    data: TempDir,
    domains: &'static str,
}

impl Site {
    async fn new(domains: &'static str, options: PebbleOptions) -> Self {
        Self {
            pebble: Pebble::start(options).await,
            data: tempfile::tempdir().unwrap(),
            domains,
        }
    }

    fn server(&self, settings: &[(&str, &str)]) -> Process {
        let data = self.data.path().to_str().unwrap().to_owned();
        let ca_file = self.pebble.ca_file();
        let own = [
            ("PORT", self.pebble.tls_port.to_string()),
            ("HTTP_PORT", self.pebble.http_port.to_string()),
            ("BIND_ADDR", "127.0.0.1".to_owned()),
            ("THREADS", "2".to_owned()),
            ("API_KEY", API_KEY.to_owned()),
            ("WORKER_KEY", WORKER_KEY.to_owned()),
            ("DATA_DIR", data),
            ("ACME_DOMAINS", self.domains.to_owned()),
            ("ACME_DIRECTORY", self.pebble.directory()),
            ("ACME_CA_FILE", ca_file.to_str().unwrap().to_owned()),
        ];
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = own.chain(settings.iter().copied()).collect();
        Process::llamapool(&["server"], &settings)
    }

    async fn client(&self, name: &'static str) -> HttpsClient {
        https_client(&self.pebble.root().await, name)
    }

    async fn get(&self, client: &HttpsClient, path: &str) -> Result<TlsAnswer, String> {
        let url = format!("https://127.0.0.1:{}{path}", self.pebble.tls_port);
        let request = http::Request::get(url)
            .header("authorization", format!("Bearer {API_KEY}"))
            .body(Full::default())
            .unwrap();
        TlsAnswer::of(client, request).await
    }

    async fn get_plain(&self, path: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.pebble.http_port);
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn call(&self, client: &HttpsClient, id: &str) -> Result<Value, String> {
        let url = format!("https://127.0.0.1:{}/api/mcp/id/{id}", self.pebble.tls_port);
        let request = http::Request::post(url)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(Full::from(tools_call(1, "echo").to_string()))
            .unwrap();
        let answer = TlsAnswer::of(client, request).await?;
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }

    /// Connects a relay by wss, by the name of the certificate.
    async fn relay(&self, name: &str, provider: &Provider) -> (Process, ConnectProxy) {
        let root = self.data.path().join("root.pem");
        std::fs::write(&root, self.pebble.root().await).unwrap();
        let server = format!("127.0.0.1:{}", self.pebble.tls_port);
        let proxy = ConnectProxy::leading_to(server).await;
        let url = format!("wss://{name}:{}", self.pebble.tls_port);
        let proxy_url = format!("http://{}", proxy.address);
        let settings = [
            ("CA_FILE", root.to_str().unwrap()),
            ("HTTPS_PROXY", &proxy_url),
        ];
        let mut relay = Pool::relay_to(&url, "acme", &provider.url, &settings);
        let connected = |line: &str| line.contains("callers reach it at");
        relay.line("it is connected", connected).await;
        (relay, proxy)
    }
}

impl Site {
    /// Waits until callers reach the provider of the relay, which is some time after the relay is
    /// connected.
    async fn reached(&self, client: &HttpsClient) {
        soon("callers reach the provider", async {
            while self.call(client, "acme").await != Ok(tools_call(1, "echo")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

/// Returns the certificate files below a data directory.
fn certificate_files(data: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for authority in std::fs::read_dir(data.join("acme")).unwrap() {
        let folder = authority.unwrap().path().join("certificates");
        for file in std::fs::read_dir(folder).unwrap() {
            files.push(file.unwrap().file_name().into_string().unwrap());
        }
    }
    files
}

#[tokio::test]
async fn from_an_order_to_a_call_over_tls() {
    let site = Site::new("pool.example", LONG).await;
    let started = Instant::now();
    let mut server = site.server(&[]);
    server.event("the server listens").await;

    server.event(OBTAINED).await;
    let took = started.elapsed();
    println!("from the start of the server to its certificate: {took:?}");
    assert!(took < ORDER_TIME, "{took:?}");

    let client = site.client("pool.example").await;
    let health = site.get(&client, "/healthz").await.unwrap();
    assert_eq!(health.head.status, 200);
    let provider = Provider::echoing().await;
    let _relay = site.relay("pool.example", &provider).await;
    site.reached(&client).await;
    let answer = site.call(&client, "acme").await.unwrap();
    assert_eq!(answer, tools_call(1, "echo"));

    let state = site.get(&client, "/api/state").await.unwrap();
    let state: Value = serde_json::from_slice(&state.body).unwrap();
    let certificate = &state["certificates"][0];
    assert_eq!(certificate["source"], "acme");
    assert_eq!(certificate["names"], json!(["pool.example"]));
    assert_eq!(certificate["last_error"], Value::Null);

    // A restart needs no authority.
    server.kill().await;
    let mut server = site.server(&[("ACME_DIRECTORY", &site.pebble.directory())]);
    server.event("the server listens").await;
    let health = site.get(&client, "/healthz").await;
    assert_eq!(health.unwrap().head.status, 200);
    assert!(server.lines_with(OBTAINED).is_empty());
}

#[tokio::test]
async fn plain_http_answers_the_check_and_the_readiness() {
    let site = Site::new("pool.example", LONG).await;
    let started = Instant::now();
    let mut server = site.server(&[("ACME_CHALLENGE", "http-01")]);

    server.event(OBTAINED).await;
    println!("the same with http-01: {:?}", started.elapsed());

    assert_eq!(site.get_plain("/readyz").await.0, 200);
    let unknown = site.get_plain("/.well-known/acme-challenge/unknown").await;
    assert_eq!(unknown.0, 404);
    let client = site.client("pool.example").await;
    assert_eq!(
        site.get(&client, "/healthz").await.unwrap().head.status,
        200
    );
}

/// Nothing listens at the address of the name.
#[tokio::test]
async fn a_name_that_leads_elsewhere_is_reported_with_the_reason() {
    let site = Site::new("pool.example", LONG).await;
    site.pebble.resolve("pool.example", "127.0.0.2").await;
    let mut server = site.server(&[("ACME_CHALLENGE", "tls-alpn-01")]);

    let event = server.event(FAILED).await;

    let error = event["error"].as_str().unwrap();
    assert!(
        error.starts_with("tls-alpn-01 of pool.example: "),
        "{error}"
    );
    assert!(error.contains("127.0.0.2"), "{error}");
    let next = event["next_try_in"].as_str().unwrap();
    assert!(["59s", "60s"].contains(&next), "{next}");
    let (status, body) = site.get_plain("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("certificate pending: pool.example"), "{body}");
    assert_eq!(site.get_plain("/healthz").await.0, 200);

    // No stand-in: who asks for the page gets an alert, and no certificate.
    let client = site.client("pool.example").await;
    let refused = site.get(&client, "/healthz").await.err().unwrap();
    assert!(refused.contains("AlertReceived"), "{refused}");
}

/// Certificates that live for half a minute are renewed after a quarter of one.
#[tokio::test]
async fn a_renewal_under_load_fails_no_call() {
    let site = Site::new("pool.example", PebbleOptions { life: 24 }).await;
    let mut server = site.server(&[]);
    server.event(OBTAINED).await;
    let provider = Provider::echoing().await;
    let _relay = site.relay("pool.example", &provider).await;
    let root = site.pebble.root().await;
    site.reached(&https_client(&root, "pool.example")).await;

    let site = Arc::new(site);
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let mut callers: JoinSet<Result<(), String>> = JoinSet::new();
    for _ in 0..4 {
        let site = site.clone();
        let root = root.clone();
        let stop = stop.clone();
        let calls = calls.clone();
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Another connection each time: every call is a handshake.
                let client = https_client(&root, "pool.example");
                let answer = site.call(&client, "acme").await?;
                if answer != tools_call(1, "echo") {
                    return Err(answer.to_string());
                }
                calls.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    let is_renewal = |line: &str| line.contains(OBTAINED);
    server
        .nth_line(2, "the certificate is renewed", is_renewal)
        .await;
    let before = calls.load(Ordering::Relaxed);
    soon("calls with the new certificate", async {
        while calls.load(Ordering::Relaxed) < before + 20 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    stop.store(true, Ordering::Relaxed);
    while let Some(result) = callers.join_next().await {
        result.unwrap().unwrap();
    }
    println!("calls during the renewal, each on a connection of its own: {calls:?}");
    assert_eq!(certificate_files(site.data.path()).len(), 1);
}

/// The second run finds the certificate that the first one had ordered, or orders it: at any rate it
/// has one, and the files are whole.
#[tokio::test]
async fn a_server_that_is_killed_during_an_order_gets_its_certificate() {
    let site = Site::new("pool.example,other.example", LONG).await;
    let mut server = site.server(&[]);
    let tries = site.data.path().join("acme");
    let is_ordering = || {
        let folders = std::fs::read_dir(&tries).into_iter().flatten().flatten();
        folders
            .into_iter()
            .any(|it| it.path().join("order.json").exists())
    };
    soon("the order is stored", async {
        while !is_ordering() && server.lines_with(OBTAINED).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    server.kill().await;

    let mut server = site.server(&[]);
    server.event("the server listens").await;
    let client = site.client("other.example").await;
    soon("the certificate is there", async {
        while site.get(&client, "/healthz").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;

    assert_eq!(certificate_files(site.data.path()).len(), 1);
}
