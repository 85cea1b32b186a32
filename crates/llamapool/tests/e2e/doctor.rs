//! `llamapool doctor connect`: against servers as they should be, and each with one fault.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::Value;

use crate::harness::{Authority, Pool, Process, Provider, TlsServer, json_answer, soon};
use crate::identity::command;

/// What a doctor has found.
struct Found {
    code: Option<i32>,
    report: Value,
    output: String,
}

impl Found {
    /// Returns the status of a step, with all that is said about it.
    fn step(&self, name: &str) -> (&str, String) {
        let steps = self.report["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["step"] == name);
        let step = step.unwrap_or_else(|| panic!("no step {name}: {}", self.output));
        (step["status"].as_str().unwrap(), step.to_string())
    }

    /// Checks that a step was the last one, has this status, and says this.
    fn ends_at(&self, name: &str, status: &str, text: &str) {
        let last = self.report["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(last["step"], name, "{}", self.output);
        self.has(name, status, text);
    }

    fn has(&self, name: &str, status: &str, text: &str) {
        let (found, step) = self.step(name);
        assert_eq!(found, status, "{step}");
        assert!(step.contains(text), "expected {text:?} in {step}");
        if status != "ok" {
            let has_remedy = step.contains("\"remedy\"");
            assert!(has_remedy, "{step}");
        }
    }
}

/// Runs the doctor for the id `notes`.
async fn doctor(server: &str, more: &[&str]) -> Found {
    let mut arguments = vec!["doctor", "connect", "notes", "--server", server, "--json"];
    arguments.extend(more);
    let mut command = command(&arguments);
    let output = soon("the doctor ends", command.output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let notes = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_str(&text);
    Found {
        code: output.status.code(),
        report: report.unwrap_or_else(|_| panic!("{text} {notes}")),
        output: text,
    }
}

/// Something in front of a server, which forwards to it and can break what it answers.
struct Front {
    url: String,
    pool: Pool,
    fault: Arc<Mutex<Option<Fault>>>,
    key_file: tempfile::NamedTempFile,
    data: tempfile::TempDir,
    _front: Provider,
}

/// Returns what is answered in place of an answer to a request; its path comes with its agent.
type Fault = fn(&Seen, Response) -> Response;

/// What a fault sees of a request.
struct Seen {
    method: Method,
    path: String,
    agent: String,
}

impl Front {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let fault: Arc<Mutex<Option<Fault>>> = Arc::default();
        let port = free_port().to_string();
        let behind = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let of_front = fault.clone();
        let front = Provider::answering(move |request| {
            forwarded(http.clone(), behind.clone(), request, of_front.clone())
        })
        .await;
        let url = front.url.split("/mcp").next().unwrap().to_owned();

        let data = tempfile::tempdir().unwrap();
        let own = [
            ("DATA_DIR", data.path().to_str().unwrap()),
            ("PUBLIC_URL", &*url),
        ];
        let settings: Vec<_> = own.iter().chain(settings).copied().collect();
        let pool = Pool::on_port(&port, &settings).await;
        let front = Self {
            url,
            pool,
            fault,
            key_file: tempfile::NamedTempFile::new().unwrap(),
            data,
            _front: front,
        };
        let key = front.run(&["key", "create", "caller", "--name", "me", "--ids", "notes"]);
        fs::write(front.key_file.path(), key.await).unwrap();
        front
    }

    /// Runs a command on the data of the server.
    async fn run(&self, arguments: &[&str]) -> String {
        let mut command = command(arguments);
        command.env("DATA_DIR", self.data.path());
        let output = soon("the command ends", command.output()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn relay(&self, provider: &Provider) -> Process {
        self.pool.relay("notes", &provider.url).await
    }

    async fn doctor(&self) -> Found {
        let key = self.key_file.path().to_str().unwrap();
        doctor(&self.url, &["--key-file", key]).await
    }

    async fn broken(&self, fault: Fault) -> Found {
        *self.fault.lock() = Some(fault);
        self.doctor().await
    }
}

async fn forwarded(
    http: reqwest::Client,
    behind: String,
    request: Request,
    fault: Arc<Mutex<Option<Fault>>>,
) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let agent = head.headers.get(header::USER_AGENT);
    let agent = agent
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let seen = Seen {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        agent: agent.to_owned(),
    };
    let forward = http.request(head.method, format!("{behind}{}", head.uri));
    let forward = forward.headers(head.headers).body(body);
    let answer = forward.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    let body = Body::from(answer.bytes().await.unwrap());
    let response = response.body(body).unwrap();
    let fault = *fault.lock();
    match fault {
        Some(fault) => fault(&seen, response),
        None => response,
    }
}

/// Returns the page by which a CDN blocks.
fn blocked() -> Response {
    Response::builder()
        .status(403)
        .header("server", "a CDN")
        .header("content-type", "text/html")
        .body(Body::from("<html>Attention Required"))
        .unwrap()
}

/// Returns another JSON document.
fn document(text: &str) -> Response {
    Response::builder()
        .header("content-type", "application/json")
        .header("access-control-allow-origin", "*")
        .body(Body::from(text.to_owned()))
        .unwrap()
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts an MCP server as far as the doctor calls it.
pub(crate) async fn mcp_server() -> Provider {
    Provider::answering(|request: Request| async move {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
        let message: Value = serde_json::from_slice(&body.unwrap()).unwrap_or_default();
        let mut answer = match message["method"].as_str() {
            Some("initialize") => json_answer(
                r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18",
                "capabilities":{},"serverInfo":{"name":"clock","version":"1"}}}"#,
            ),
            Some("ping") => json_answer(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#),
            Some("tools/list") => {
                let mut answer = json_answer(
                    "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"tools\":[{},{}]}}\n\n",
                );
                let stream = HeaderValue::from_static("text/event-stream");
                answer.headers_mut().insert(header::CONTENT_TYPE, stream);
                answer
            }
            _ => {
                let mut answer = json_answer("");
                *answer.status_mut() = StatusCode::ACCEPTED;
                answer
            }
        };
        let session = HeaderValue::from_static("s1");
        answer.headers_mut().insert("mcp-session-id", session);
        answer
    })
    .await
}

const SIGN_IN: (&str, &str) = ("SIGN_IN", "on");

#[tokio::test]
async fn a_server_as_it_should_be_has_no_failure() {
    let front = Front::start(&[SIGN_IN]).await;
    let provider = mcp_server().await;
    let _relay = front.relay(&provider).await;

    let found = front.doctor().await;

    // This machine is no public one, so there are warnings.
    assert_eq!(found.code, Some(2), "{}", found.output);
    assert_eq!(found.report["failures"], 0);
    found.has("dns", "warn", "is not public");
    found.has("tcp", "ok", "is open");
    found.has("tls", "warn", "no TLS");
    found.has("health", "ok", "ready");
    found.has("challenge", "ok", "led to sign-in");
    found.has("resource", "ok", "/oauth");
    found.has("metadata", "ok", "is described");
    found.has("clients", "ok", "show a document, and register");
    found.has("cors", "ok", "in a browser");
    // Whether the server reaches claude.ai depends on the machine.
    assert_ne!(found.step("page").0, "fail");
    found.has("initialize", "ok", "clock answers, in MCP 2025-06-18");
    found.ends_at("tools", "ok", "2 tools");
    let key = fs::read_to_string(front.key_file.path()).unwrap();
    assert!(!found.output.contains(key.trim()));
    let clients = front.run(&["client", "list", "--json"]).await;
    assert_eq!(clients.trim(), "[]", "nothing was registered");
}

#[tokio::test]
async fn each_fault_in_front_is_named_with_its_step() {
    let front = Front::start(&[SIGN_IN]).await;
    let provider = mcp_server().await;
    let _relay = front.relay(&provider).await;

    let found = front.broken(|seen, answer| match &*seen.path {
        "/readyz" => blocked(),
        _ => answer,
    });
    let found = found.await;
    assert_eq!(found.code, Some(1));
    found.ends_at("health", "fail", "403 of a CDN");

    let found = front.broken(|seen, answer| {
        if seen.agent.starts_with("Claude") {
            blocked()
        } else {
            answer
        }
    });
    let found = found.await;
    found.ends_at("challenge", "fail", "the agent of Claude does not get");

    let found = front.broken(|seen, mut answer| {
        if seen.path.starts_with("/api/mcp") {
            answer.headers_mut().remove("www-authenticate");
        }
        answer
    });
    found.await.has("challenge", "warn", "offers no sign-in");

    let found = front.broken(|seen, answer| {
        if seen.path.contains("protected-resource") {
            blocked()
        } else {
            answer
        }
    });
    found
        .await
        .ends_at("resource", "fail", "expected a document");

    let found = front.broken(|seen, answer| {
        if seen.path.contains("protected-resource") {
            document(r#"{"resource":"https://pool.example/api/mcp/id/notes"}"#)
        } else {
            answer
        }
    });
    found.await.ends_at("resource", "fail", "PUBLIC_URL");

    let found = front.broken(|seen, answer| {
        if seen.path.contains("authorization-server") {
            document(r#"{"issuer":"https://pool.example/"}"#)
        } else {
            answer
        }
    });
    found.await.has("metadata", "fail", "the issuer is");

    let found = front.broken(|seen, answer| match (&seen.method, &*seen.path) {
        (&Method::POST, "/oauth/register") => blocked(),
        _ => answer,
    });
    found
        .await
        .has("clients", "fail", "registrations has the status 403");

    let found = front.broken(|seen, mut answer| {
        if seen.path.starts_with("/oauth") || seen.path.starts_with("/.well-known") {
            answer.headers_mut().remove("access-control-allow-origin");
        }
        answer
    });
    found
        .await
        .has("cors", "warn", "cannot use the token endpoint");

    let found = front.broken(|seen, answer| match &*seen.path {
        "/oauth/authorize" => blocked(),
        _ => answer,
    });
    found.await.has("page", "warn", "does not open for Claude");
}

#[tokio::test]
async fn what_a_key_lacks_is_named() {
    let front = Front::start(&[SIGN_IN]).await;

    let offline = front.doctor().await;
    offline.ends_at("initialize", "fail", "start `llamapool mcp`");

    let other = [
        "key", "create", "caller", "--name", "other", "--ids", "other",
    ];
    let other = front.run(&other).await;
    fs::write(front.key_file.path(), other).unwrap();
    let other = front.doctor().await;
    other.ends_at("initialize", "fail", "not for this id");

    fs::write(front.key_file.path(), "llp_c_wrong").unwrap();
    let wrong = front.doctor().await;
    wrong.ends_at("initialize", "fail", "The key is not valid");
    assert_eq!(wrong.code, Some(1));
}

#[tokio::test]
async fn an_id_without_sign_in_is_a_warning() {
    let keys = Front::start(&[("MCP_ACCESS", "keys")]).await;
    let found = keys.doctor().await;
    found.has("challenge", "warn", "asks for a key, and offers no sign-in");

    let open = Front::start(&[]).await;
    let found = doctor(&open.url, &[]).await;
    found.ends_at("challenge", "fail", "start `llamapool mcp`");
    let provider = mcp_server().await;
    let _relay = open.relay(&provider).await;
    let found = doctor(&open.url, &[]).await;
    assert_eq!(found.code, Some(2));
    found.ends_at("challenge", "warn", "everyone who knows the URL");
}

#[tokio::test]
async fn another_public_url_than_the_typed_one_is_named() {
    let front = Front::start(&[SIGN_IN]).await;
    let typed = front.url.replace("127.0.0.1", "localhost");

    let found = doctor(&typed, &[]).await;

    found.ends_at("challenge", "fail", "PUBLIC_URL");
}

#[tokio::test]
async fn a_server_that_is_not_reached_is_named() {
    let port = free_port();
    let closed = doctor(&format!("http://127.0.0.1:{port}"), &[]).await;
    closed.ends_at("tcp", "fail", "Is the server running");

    let unknown = doctor("https://nothing.invalid", &["--timeout", "5s"]).await;
    unknown.ends_at("dns", "fail", "A record");
    assert_eq!(unknown.code, Some(1));
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_named() {
    let port = free_port().to_string();
    let server = TlsServer::start(&[("HTTP_PORT", &port)]).await;
    let url = server.url("https", "");
    let ca = server.ca_file();
    let trusting = ["--ca-file", ca.to_str().unwrap(), "--http-port", &*port];

    let unknown = doctor(&url, &[]).await;
    unknown.ends_at("tls", "fail", "unknown authority");
    let private = doctor(&url, &trusting).await;
    private.has("tls", "warn", "that this machine knows");
    private.has("tcp", "warn", "443");
    private.has("http", "ok", "leads to https://localhost");
    private.has("health", "ok", "ready");
    let other = doctor(&url.replace("localhost", "127.0.0.1"), &trusting).await;
    other.ends_at("tls", "fail", "another name than 127.0.0.1");

    let plain = Pool::start().await;
    let plain = plain.url.replace("http://", "https://");
    doctor(&plain, &[])
        .await
        .ends_at("tls", "fail", "does not speak TLS");
}

#[tokio::test]
async fn an_expired_certificate_is_named() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let ended = SystemTime::now() - std::time::Duration::from_secs(3600);
    let server = Served::start(&authority.issue_until(&["localhost"], ended)).await;

    let found = doctor(&server.url, &["--ca-file", ca.to_str().unwrap()]).await;

    found.ends_at("tls", "fail", "has expired");
}

/// A listener that does handshakes with a certificate that llamapool itself would not present.
struct Served {
    url: String,
    _task: tokio::task::JoinSet<()>,
}

impl Served {
    async fn start(issued: &crate::harness::Issued) -> Self {
        use tokio_rustls::rustls;
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

        let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
        let chain: Vec<_> = chain.map(|certificate| certificate.unwrap()).collect();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // The other side refuses.
                let _ = acceptor.accept(stream).await;
            }
        });
        Self {
            url: format!("https://localhost:{port}"),
            _task: task,
        }
    }
}

#[tokio::test]
async fn people_get_lines_and_wrong_usage_is_named() {
    let port = free_port();
    let server = format!("http://127.0.0.1:{port}");
    let mut lines = command(&["doctor", "connect", "notes", "--server", &server]);
    let lines = soon("the doctor ends", lines.output()).await.unwrap();
    let text = String::from_utf8(lines.stdout).unwrap();

    assert_eq!(lines.status.code(), Some(1));
    assert!(
        text.starts_with(&format!("{server}/api/mcp/id/notes\n")),
        "{text}"
    );
    assert!(text.contains("\nfail  tcp"), "{text}");
    assert!(text.ends_with("1 failure, 1 warning\n"), "{text}");
    for (arguments, named) in [
        (&["doctor", "connect", "notes"][..], "--server"),
        (
            &["doctor", "connect", "notes", "--server", "pool.example"],
            "https://host",
        ),
        (
            &["doctor", "connect", "a/b", "--server", "https://a.b"],
            "is no id",
        ),
        (&["doctor", "mcp", "--no-such-flag"], "unknown flag"),
        (&["doctor", "sever"], "unknown command"),
    ] {
        let output = command(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(named), "{error}");
    }
    let missing = ["--server", &server, "--key-file", "/nowhere"];
    let output = command(&[&["doctor", "connect", "notes"][..], &missing].concat());
    let mut output = output;
    let output = output.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere"));
}
