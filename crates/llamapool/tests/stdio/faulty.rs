//! The program that does what a test says, behind a relay.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::{Pool, Process, Settings, WORKER_KEY};
use crate::marked::{MARK, Marked, marked, none_left};
use crate::session::Session;

/// The program itself.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parts/faulty.py");

/// A relay with the program.
pub(crate) struct Faulty {
    pub(crate) relay: Process,
    pub(crate) mark: String,
    /// The public URL of its id.
    pub(crate) url: String,
    id: String,
    http: reqwest::Client,
}

/// The interpreter itself, which may stand behind scripts that find it, and those take their time.
pub(crate) fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let asked = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        String::from_utf8(asked.expect("python3 is installed").stdout)
            .unwrap()
            .trim()
            .to_owned()
    })
}

/// The command line of the program.
pub(crate) fn command<'a>(traits: &[&'a str]) -> Vec<&'a str> {
    [python(), "-I", "-S", PROGRAM]
        .into_iter()
        .chain(traits.iter().copied())
        .collect()
}

/// A mark that no other process has.
pub(crate) fn new_mark() -> String {
    static MARKS: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        MARKS.fetch_add(1, Ordering::Relaxed)
    )
}

impl Faulty {
    /// A relay whose program has these traits, once the server knows it.
    pub(crate) async fn of(pool: &Pool, id: &str, traits: &[&str]) -> Self {
        Self::with(pool, id, traits, &[]).await
    }

    /// The same with these settings besides.
    pub(crate) async fn with(
        pool: &Pool,
        id: &str,
        traits: &[&str],
        settings: Settings<'_>,
    ) -> Self {
        let mark = new_mark();
        let relay = relay(&pool.url, id, &mark, traits, settings);
        pool.connected(id).await;
        Self {
            relay,
            mark,
            url: pool.mcp(id),
            id: id.to_owned(),
            http: pool.http.clone(),
        }
    }

    /// A session of the revision in which an answer that comes at once is one JSON object.
    pub(crate) async fn session(&self) -> Session {
        self.session_of("2025-06-18").await
    }

    /// A session of this revision.
    pub(crate) async fn session_of(&self, revision: &'static str) -> Session {
        Session::begin(&self.http, &self.url, revision).await
    }

    /// A request without anything but a body, as an MCP client posts it.
    pub(crate) fn post(&self, text: impl Into<String>) -> reqwest::RequestBuilder {
        let types = "application/json, text/event-stream";
        let request = self
            .http
            .post(&self.url)
            .header("accept", types)
            .header("content-type", "application/json");
        request.body(text.into())
    }

    /// A request of any kind.
    pub(crate) fn request(&self, method: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), &self.url)
    }

    /// All that runs for it, guards included.
    pub(crate) fn processes(&self) -> Vec<Marked> {
        marked(&self.mark)
    }

    /// The programs that run, with what they left behind.
    pub(crate) fn programs(&self) -> Vec<Marked> {
        self.processes()
            .into_iter()
            .filter(|process| !process.is_guard())
            .collect()
    }

    /// Waits until nothing runs for it.
    pub(crate) async fn none_left(&self) {
        none_left(&self.mark).await;
    }

    /// Waits until the relay has found out that the program knows older revisions alone.
    pub(crate) async fn is_known_to_be_older(&self, pool: &Pool) {
        pool.until_client(&self.id, "it was asked and ended", |client| {
            let bridge = &client["relays"][0]["bridge"];
            bridge["started_total"] == 1 && bridge["children"] == 0
        })
        .await;
    }
}

/// A relay with the program, connected or not.
pub(crate) fn relay(
    server_url: &str,
    id: &str,
    mark: &str,
    traits: &[&str],
    settings: Settings<'_>,
) -> Process {
    let path = std::env::var("PATH").unwrap();
    let mark = format!("{MARK}={mark}");
    let own = [
        ("SERVER_URL", server_url),
        ("WORKER_KEY", WORKER_KEY),
        ("CLIENT_ID", id),
        ("STATUS_ADDR", "off"),
        ("RECONNECT_MIN", "50ms"),
        ("PATH", &path),
    ];
    let named = settings
        .iter()
        .find(|(name, _)| *name == "PROVIDER_ENV")
        .map_or("", |(_, value)| value);
    let provider_env = format!("{mark},{named}");
    let settings = own
        .into_iter()
        .chain(settings.iter().copied())
        .chain([("PROVIDER_ENV", provider_env.as_str())]);
    let command = command(traits);
    let arguments: Vec<&str> = ["mcp", "--reconnect", "--"]
        .into_iter()
        .chain(command)
        .collect();
    Process::llamapool(&arguments, &settings.collect::<Vec<_>>())
}
