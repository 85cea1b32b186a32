//! Real clients see the same of a provider that is a program, through llamapool, as of the same
//! provider directly over HTTP: of the project's own, which has both eras, and of the official
//! example server.

use rmcp::model::ProtocolVersion;
use rmcp::service::ClientLifecycleMode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::clients::{
    LEGACY, MCP_1, MODERN, Rmcp, count, report, run_inspector, tools, with_node, with_python,
};
use crate::parts::FASTMCP_4;
use crate::programs::Program;
use crate::stdio::Bridge;

/// A client that is a program.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    start: fn() -> Command,
    /// The eras that it supports, the newest one last.
    eras: &'static [&'static str],
}

const PYTHON_1: Client = Client {
    name: "mcp 1.30",
    start: || with_python(MCP_1, "official_1.py"),
    eras: &[LEGACY],
};
const PYTHON_2: Client = Client {
    name: "mcp 2.3",
    start: || with_python(FASTMCP_4, "official_2.py"),
    eras: &[LEGACY, MODERN],
};
const FASTMCP: Client = Client {
    name: "fastmcp 4.1",
    start: || with_python(FASTMCP_4, "fastmcp_4.py"),
    eras: &[LEGACY, MODERN],
};
const TYPESCRIPT_1: Client = Client {
    name: "typescript 1.32",
    start: || with_node("typescript_1.mjs"),
    eras: &[LEGACY],
};
const TYPESCRIPT_2: Client = Client {
    name: "typescript 2.4",
    start: || with_node("typescript_2.mjs"),
    eras: &[LEGACY, MODERN],
};

/// The clients of `tests/parts/clients`.
pub(crate) const CLIENTS: &[Client] = &[PYTHON_1, PYTHON_2, FASTMCP, TYPESCRIPT_1, TYPESCRIPT_2];

impl Client {
    /// Returns the newest era that it supports.
    pub(crate) fn newest(&self) -> &'static str {
        self.eras.last().expect("an era")
    }

    /// Makes the walk at a URL in an era, and returns the report.
    async fn walk(&self, url: &str, era: &str) -> Vec<Value> {
        report(self.command(url, era)).await
    }

    /// Makes other calls in the newest era that it and the provider support, and returns the
    /// report.
    pub(crate) async fn calls(&self, url: &str, calls: &Value) -> Vec<Value> {
        let mut command = self.command(url, self.newest());
        command.env("LLAMAPOOL_CALLS", calls.to_string());
        report(command).await
    }

    fn command(&self, url: &str, era: &str) -> Command {
        let mut command = (self.start)();
        command.arg(url);

        // Only clients with both eras take this argument.
        if self.eras.len() > 1 {
            command.arg(if era == LEGACY { "legacy" } else { "auto" });
        }
        command
    }
}

/// Returns the lifecycle of the official Rust client in an era.
pub(crate) fn rmcp(era: &str) -> ClientLifecycleMode {
    if era == LEGACY {
        return ClientLifecycleMode::Initialize;
    }
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

/// Asserts that two complete reports are the same, the second one being of a program.
pub(crate) fn assert_same_report(name: &str, direct: &[Value], stdio: &[Value]) {
    assert_eq!(
        direct, stdio,
        "{name}: direct, then the program through llamapool"
    );
    assert_eq!(stdio.last(), Some(&json!({ "saw": "done" })), "{name}");

    let counts = ["result", "progress", "sampling", "elicitation"].map(|kind| count(stdio, kind));
    #[allow(
        clippy::print_stdout,
        reason = "the counts are what a reader of the log wants"
    )]
    {
        let [results, progress, sampling, elicitation] = counts;
        let hello = &stdio[0];
        println!(
            "{name}, {}, {}, stdio: {} tools, {results} results, {progress} notifications of progress, {sampling} and \
             {elicitation} answers for the model and the user",
            hello["server"],
            hello["protocol"],
            tools(stdio).len()
        );
    }
}

// --- The project's own provider ------------------------------------------------------------------

/// Compares the walks of a client: directly over HTTP, and with the same provider as a program.
async fn compare_walks(name: &str, era: &str, client: impl AsyncFn(&str) -> Vec<Value>) {
    let program = Program::conformance().await;
    let direct = client(&program.url()).await;
    let bridge = Bridge::conformance().await;
    let stdio = client(&bridge.url()).await;
    assert_same_report(name, &direct, &stdio);

    assert_eq!(
        stdio[0],
        json!({ "saw": "initialize", "server": "llamapool-conformance", "protocol": era }),
        "{name}"
    );

    let counts = ["sampling", "elicitation", "result"].map(|kind| count(&stdio, kind));
    assert_eq!(counts, [1, 1, 4], "{name}: {stdio:?}");
    assert!(count(&stdio, "progress") >= 3, "{name}: {stdio:?}");
}

async fn compare_walks_in_all_eras(client: &Client) {
    for era in client.eras {
        compare_walks(client.name, era, async |url| client.walk(url, era).await).await;
    }
}

#[tokio::test]
async fn the_python_client_sees_the_same_of_a_program() {
    compare_walks_in_all_eras(&PYTHON_1).await;
}

#[tokio::test]
async fn the_python_client_of_two_eras_sees_the_same_of_a_program() {
    compare_walks_in_all_eras(&PYTHON_2).await;
}

#[tokio::test]
async fn fastmcps_client_sees_the_same_of_a_program() {
    compare_walks_in_all_eras(&FASTMCP).await;
}

#[tokio::test]
async fn the_typescript_client_sees_the_same_of_a_program() {
    compare_walks_in_all_eras(&TYPESCRIPT_1).await;
}

#[tokio::test]
async fn the_typescript_client_of_two_eras_sees_the_same_of_a_program() {
    compare_walks_in_all_eras(&TYPESCRIPT_2).await;
}

#[tokio::test]
async fn the_rust_client_sees_the_same_of_a_program() {
    for era in [LEGACY, MODERN] {
        compare_walks("rmcp 3.9", era, async |url| {
            Rmcp::walk(url, rmcp(era)).await
        })
        .await;
    }
}

#[tokio::test]
async fn the_inspector_sees_the_same_of_a_program() {
    let program = Program::conformance().await;
    let bridge = Bridge::conformance().await;
    let greet = [
        "--method",
        "tools/call",
        "--tool-name",
        "greet",
        "--tool-arg",
        "name=grüße 🦙",
    ];

    for era in ["legacy", "modern"] {
        let how = ["--transport", "http", "--protocol-era", era];
        let runs = [
            [&how[..], &["--method", "tools/list"]].concat(),
            [&how[..], &greet].concat(),
        ];
        let runs: Vec<&[&str]> = runs.iter().map(Vec::as_slice).collect();
        let direct = run_inspector(&program.url(), &runs).await;
        let stdio = run_inspector(&bridge.url(), &runs).await;

        assert_eq!(
            direct, stdio,
            "{era}: direct, then the program through llamapool"
        );
        assert_eq!(
            stdio[1]["result"]["content"][0]["text"], "Hello, grüße 🦙!",
            "{era}"
        );
    }
}

// --- The official example server -----------------------------------------------------------------

/// It supports the older era alone, and clients with both must find that out.
#[tokio::test]
async fn every_client_sees_the_same_of_the_example_server() {
    let program = Program::everything("streamableHttp").await;
    let bridge = Bridge::everything().await;
    let calls = json!([
        ["echo", { "message": "grüße 🦙" }, 0],
        ["trigger-long-running-operation", { "duration": 0.2, "steps": 4 }, 4],
        ["trigger-sampling-request", { "prompt": "Say grüße 🦙" }, 0],
        ["trigger-elicitation-request", {}, 0],
    ]);

    for client in CLIENTS {
        let direct = client.calls(&program.url(), &calls).await;
        let stdio = client.calls(&bridge.url(), &calls).await;
        assert_same_calls(client.name, &direct, &stdio);
    }

    let direct = Rmcp::calls(&program.url(), rmcp(LEGACY), &calls).await;
    let stdio = Rmcp::calls(&bridge.url(), rmcp(LEGACY), &calls).await;
    assert_same_calls("rmcp 3.9", &direct, &stdio);
}

/// Asserts that two reports of the example server are the same and complete.
fn assert_same_calls(name: &str, direct: &[Value], stdio: &[Value]) {
    assert_same_report(name, direct, stdio);
    let hello =
        json!({ "saw": "initialize", "server": "mcp-servers/everything", "protocol": LEGACY });
    assert_eq!(stdio[0], hello, "{name}");
    let counts = ["progress", "sampling", "elicitation", "result"].map(|kind| count(stdio, kind));
    assert_eq!(counts, [4, 1, 1, 4], "{name}: {stdio:?}");
}
