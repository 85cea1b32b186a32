//! A relay whose provider is the scripted program `tests/parts/scripted_program.py`.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::harness::{Pool, Process, Settings, WORKER_KEY};
use crate::processes::{MARK, MarkedProcess, processes_with, until_all_ended};
use crate::session_client::Session;

/// The path of the program.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/parts/scripted_program.py"
);

/// A relay with the scripted program.
pub(crate) struct ScriptedProgram {
    pub(crate) relay: Process,
    pub(crate) mark: String,
    /// The public URL of its id.
    pub(crate) url: String,
    id: String,
    http: reqwest::Client,
}

/// Returns the path of the Python interpreter. The `python3` in the `PATH` may be a script that
/// looks for it, which takes time at every start.
pub(crate) fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();

    PYTHON.get_or_init(|| {
        let output = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        String::from_utf8(output.expect("python3 is installed").stdout)
            .unwrap()
            .trim()
            .to_owned()
    })
}

/// Returns the command line of the program.
pub(crate) fn command<'a>(traits: &[&'a str]) -> Vec<&'a str> {
    [python(), "-I", "-S", PROGRAM]
        .into_iter()
        .chain(traits.iter().copied())
        .collect()
}

/// Returns a mark that no other process has.
pub(crate) fn new_mark() -> String {
    static MARKS: AtomicU32 = AtomicU32::new(0);

    let number = MARKS.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}", std::process::id())
}

impl ScriptedProgram {
    /// Starts a relay whose program has these traits, and waits until it is connected.
    pub(crate) async fn start(pool: &Pool, id: &str, traits: &[&str]) -> Self {
        Self::start_with(pool, id, traits, &[]).await
    }

    /// Like `start`, with more settings of the relay.
    pub(crate) async fn start_with(
        pool: &Pool,
        id: &str,
        traits: &[&str],
        settings: Settings<'_>,
    ) -> Self {
        let mark = new_mark();
        let relay = start_relay(&pool.url, id, &mark, traits, settings);
        pool.connected(id).await;

        Self {
            relay,
            mark,
            url: pool.mcp(id),
            id: id.to_owned(),
            http: pool.http.clone(),
        }
    }

    /// Begins a session of the revision in which an answer that comes at once is one JSON object.
    pub(crate) async fn session(&self) -> Session {
        self.session_of("2025-06-18").await
    }

    /// Begins a session of this revision.
    pub(crate) async fn session_of(&self, revision: &'static str) -> Session {
        Session::begin(&self.http, &self.url, revision).await
    }

    /// Returns a `POST` with the media types of an MCP client and no other headers.
    pub(crate) fn post(&self, text: impl Into<String>) -> reqwest::RequestBuilder {
        self.http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(text.into())
    }

    /// Returns a request of any method, without headers and body.
    pub(crate) fn request(&self, method: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), &self.url)
    }

    /// Returns all processes that run for it, guards included.
    pub(crate) fn processes(&self) -> Vec<MarkedProcess> {
        processes_with(&self.mark)
    }

    /// Returns the programs that run, and the processes that they left behind.
    pub(crate) fn programs(&self) -> Vec<MarkedProcess> {
        self.processes()
            .into_iter()
            .filter(|process| !process.is_guard())
            .collect()
    }

    /// Waits until no process runs for it.
    pub(crate) async fn until_all_ended(&self) {
        until_all_ended(&self.mark).await;
    }

    /// Waits until the program has answered the relay's question for its revisions.
    pub(crate) async fn until_probed(&self, pool: &Pool) {
        pool.until_client(&self.id, "it was probed", |client| {
            client["provider"]["status"] == "reachable"
        })
        .await;
    }

    /// Waits until the program that was probed has ended, as no caller has used it for
    /// `SESSION_IDLE_TIMEOUT`.
    pub(crate) async fn until_spare_ended(&self, pool: &Pool) {
        self.until_probed(pool).await;
        pool.until_client(&self.id, "the probed program has ended", |client| {
            client["relays"][0]["bridge"]["children"] == 0
        })
        .await;
    }

    /// Checks how many programs the relay has started for it. The state is behind for a moment.
    pub(crate) async fn assert_started(&self, pool: &Pool, count: u64) {
        let total = |client: &Value| client["relays"][0]["bridge"]["started_total"].as_u64();
        let client = pool.until_client(&self.id, "the programs are counted", |client| {
            total(client).is_some_and(|total| total >= count)
        });

        assert_eq!(total(&client.await), Some(count));
        assert!(
            self.programs().len() as u64 <= count,
            "{:#?}",
            self.programs()
        );
    }
}

/// Starts a relay with the program, without waiting for its connection.
pub(crate) fn start_relay(
    server_url: &str,
    id: &str,
    mark: &str,
    traits: &[&str],
    settings: Settings<'_>,
) -> Process {
    let path = std::env::var("PATH").unwrap();
    let own = [
        ("SERVER_URL", server_url),
        ("WORKER_KEY", WORKER_KEY),
        ("CLIENT_ID", id),
        ("STATUS_ADDR", "off"),
        ("RECONNECT_MIN", "50ms"),
        ("PATH", &path),
    ];

    // The mark is added to the environment that the test asks for.
    let named = settings
        .iter()
        .find(|(name, _)| *name == "PROVIDER_ENV")
        .map_or("", |(_, value)| value);
    let provider_env = format!("{MARK}={mark},{named}");
    let settings: Vec<_> = own
        .into_iter()
        .chain(settings.iter().copied())
        .chain([("PROVIDER_ENV", provider_env.as_str())])
        .collect();

    let arguments: Vec<&str> = ["mcp", "--reconnect", "--"]
        .into_iter()
        .chain(command(traits))
        .collect();
    Process::llamapool(&arguments, &settings)
}
