//! The real parts: the programs in `tests/parts`, each run with the Python that `./test` installed
//! for it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Process, Settings, soon};

/// The version of FastMCP that the walkthrough's clock was written for.
pub(crate) const FASTMCP_2: &str = "fastmcp-2.11.3";
/// The newest version of FastMCP.
pub(crate) const FASTMCP_4: &str = "fastmcp-4.1.0";
/// The official client.
const MCP: &str = "mcp-1.30.0";
/// The `PATH` of every part; nothing else of the environment reaches it.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Returns the folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the Python of a part.
pub(crate) fn python(part: &str) -> PathBuf {
    file(part, "bin/python")
}

/// Returns the folder in which the official file server is installed.
pub(crate) fn file_server() -> PathBuf {
    file("server-filesystem-2026.8.31", "")
}

/// Returns a file or folder of a part.
pub(crate) fn file(part: &str, name: &str) -> PathBuf {
    let how = "run ./test once, then: LLAMAPOOL_PARTS=$PWD/target/parts cargo test -p llamapool --test real";
    let Some(parts) = std::env::var_os("LLAMAPOOL_PARTS") else {
        panic!("LLAMAPOOL_PARTS does not say where the real parts are: {how}");
    };
    let file = Path::new(&parts).join(part).join(name);

    assert!(
        file.is_absolute(),
        "LLAMAPOOL_PARTS is not an absolute path: {parts:?}"
    );
    assert!(
        file.exists(),
        "the part {part} is not installed in {parts:?}: {how}"
    );

    file
}

/// Builds the command that runs a program of `tests/parts` with a part.
pub(crate) fn program(part: &str, name: &str) -> Command {
    let mut command = Command::new(python(part));
    command.arg(root().join("tests/parts").join(name));
    command
        .env_clear()
        .env("PATH", PATH)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1");
    command
}

/// An MCP server of `tests/parts`. Dropping it ends it.
pub(crate) struct Served {
    /// Its MCP endpoint.
    pub(crate) url: String,
    _process: Process,
}

impl Served {
    /// Starts the server and waits until it accepts requests.
    pub(crate) async fn start(part: &str, name: &str) -> Self {
        let mut process = Process::start(program(part, name));
        let ready = process
            .line("ready", |line| line.starts_with("ready "))
            .await;
        let port = ready
            .strip_prefix("ready ")
            .expect("it was there a moment ago");
        Self {
            url: format!("http://127.0.0.1:{port}/mcp"),
            _process: process,
        }
    }

    /// Returns its MCP endpoint with a slash at the end, which FastMCP 2 redirects to the one
    /// without.
    pub(crate) fn redirecting_url(&self) -> String {
        format!("{}/", self.url)
    }
}

/// Runs the official client at a URL with these calls, each a tool, arguments, and the number of
/// progress steps. Returns the results that the client saw.
pub(crate) async fn see(url: &str, calls: &Value) -> Vec<Value> {
    let mut command = program(MCP, "clients/official_1.py");
    command
        .env("LLAMAPOOL_CALLS", calls.to_string())
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = soon("the client is through", command.output())
        .await
        .expect("the client starts");

    assert!(
        output.status.success(),
        "the client has failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let seen = String::from_utf8(output.stdout).expect("UTF-8");
    seen.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect()
}

/// Runs `drive.py` with so many official clients at the URL of a `stateful.py`. Returns the
/// observations of each.
pub(crate) async fn drive(url: &str, clients: usize) -> Vec<Vec<Value>> {
    drive_with(url, clients, &[]).await
}

/// Does the same with these variables in the environment of the clients.
pub(crate) async fn drive_with(
    url: &str,
    clients: usize,
    environment: Settings<'_>,
) -> Vec<Vec<Value>> {
    let mut command = program(MCP, "drive.py");
    command
        .envs(environment.iter().copied())
        .args([url, &clients.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = soon("the clients are through", command.output())
        .await
        .expect("the clients start");
    let errors = String::from_utf8_lossy(&output.stderr);
    let seen = String::from_utf8(output.stdout).expect("UTF-8");

    assert!(
        output.status.success(),
        "the clients have failed:\n{seen}\n{errors}"
    );

    let mut by_client = vec![Vec::new(); clients];

    for line in seen.lines() {
        let mut observation: Value = serde_json::from_str(line).expect("a JSON object a line");
        let client = observation
            .as_object_mut()
            .and_then(|observation| observation.remove("client"));
        let client = client
            .and_then(|client| client.as_u64())
            .expect("the number of the client");
        by_client[client as usize].push(observation);
    }

    by_client
}
