//! Agents work a task of several tools, whose model and whose MCP servers are all behind one server.

use serde_json::{Value, json};

use crate::agents::{Agent, Report, scripted};
use crate::harness::{Process, WORKER_KEY};
use crate::parts::{FASTMCP_4, PATH, file, program};
use crate::runtimes::Runtime;
use crate::workers::{LlmPool, worker_of};

/// The official server of memory, a program.
const MEMORY: &str = "server-memory-2026.8.31";
/// What the agent is asked. The script decides what it does.
const TASK: &str = "Add the numbers, note the sum and remember it.";

/// A server with a scripted runtime and two MCP servers behind it: one over HTTP, one a program.
struct Setup {
    pool: LlmPool,
    runtime: Runtime,
    notes: Process,
    folder: tempfile::TempDir,
    _relays: [Process; 3],
}

impl Setup {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script.json");
        std::fs::write(&script, script_of_task().to_string()).unwrap();
        let runtime = scripted(Some(&script), &[]).await;
        let mut notes = Process::start(program(FASTMCP_4, "notes.py"));
        let ready = notes.line("ready", |line| line.starts_with("ready ")).await;
        let port = ready.strip_prefix("ready ").unwrap();

        let pool = LlmPool::start().await;
        let worker = pool
            .worker_with("alpha", &runtime, &[("API_STYLE", "openai")])
            .await;
        let notes_relay = pool
            .relay("notes", &format!("http://127.0.0.1:{port}/mcp"))
            .await;
        let memory_relay = memory(&pool, folder.path().join("memory.json").to_str().unwrap()).await;
        Self {
            pool,
            runtime,
            notes,
            folder,
            _relays: [worker, notes_relay, memory_relay],
        }
    }

    /// Everything that the agent did is what the script had asked for.
    async fn assert_task_was_done(&self, report: &Report) {
        assert_eq!(report.text(), "Noted: the sum is 42, then 3");
        self.assert_tools_were_called();
        self.assert_results_reached_the_model().await;
    }

    fn assert_tools_were_called(&self) {
        let called = self.notes.lines_with("called ");
        let mut called: Vec<Value> = called
            .iter()
            .map(|line| serde_json::from_str(line.strip_prefix("called ").unwrap()).unwrap())
            .collect();
        // The first two are of one answer, and an agent may make them at once.
        called[..2].sort_by_key(|call| call["arguments"]["a"].as_u64());
        assert_eq!(
            Value::Array(called),
            json!([
                { "tool": "add", "arguments": { "a": 1, "b": 2 } },
                { "tool": "add", "arguments": { "a": 20, "b": 22 } },
                { "tool": "write_note", "arguments": { "text": "the sum is 42, then 3" } },
                { "tool": "read_notes", "arguments": {} },
            ])
        );

        let memory = std::fs::read_to_string(self.folder.path().join("memory.json")).unwrap();
        let memory: Value = serde_json::from_str(memory.trim()).unwrap();
        assert_eq!(memory["name"], "sum", "{memory}");
        assert_eq!(memory["observations"], json!(["note 1: 42"]), "{memory}");
    }

    async fn assert_results_reached_the_model(&self) {
        let calls = self.runtime.calls().await;
        let turns: Vec<_> = calls
            .iter()
            .filter(|call| !call["tools"].as_array().unwrap().is_empty())
            .collect();
        let results = |call: &Value| call["results"].as_array().unwrap().len();

        let counts: Vec<_> = turns.iter().map(|call| results(call)).collect();
        assert_eq!(counts, [0, 2, 3, 4, 5], "{calls:?}");
        let last = &turns[4]["results"];
        assert_eq!([&last[0], &last[1], &last[2]], ["42", "3", "note 1"]);
        for call in &calls {
            assert_eq!(call["end"], "complete", "{call}");
            assert_eq!(call["headers"].get("authorization"), None, "{call}");
        }
        let state = self.pool.state().await;
        let processed = &worker_of(&state, "alpha")["processed_total"];
        assert_eq!(processed.as_u64(), Some(calls.len() as u64), "{state}");
    }
}

fn script_of_task() -> Value {
    let entity = json!({ "name": "sum", "entityType": "number", "observations": ["{2}: {0}"] });
    json!({
        "turns": [
            [["add", { "a": 20, "b": 22 }], ["add", { "a": 1, "b": 2 }]],
            [["write_note", { "text": "the sum is {0}, then {1}" }]],
            [["create_entities", { "entities": [entity] }]],
            [["read_notes", {}]],
        ],
        "text": "Noted: {4}",
    })
}

/// Starts a relay with the server of memory, and waits until it is connected.
async fn memory(pool: &LlmPool, path: &str) -> Process {
    let server = "node_modules/@modelcontextprotocol/server-memory/dist/index.js";
    let server = file(MEMORY, server);
    let settings = [
        ("PATH", PATH),
        ("MEMORY_FILE_PATH", path),
        ("PROVIDER_ENV", "MEMORY_FILE_PATH"),
        ("SERVER_URL", &*pool.url),
        ("WORKER_KEY", WORKER_KEY),
        ("CLIENT_ID", "memory"),
        ("STATUS_ADDR", "off"),
    ];
    let arguments = ["mcp", "--reconnect", "--", "node", server.to_str().unwrap()];
    let relay = Process::llamapool(&arguments, &settings);
    pool.connected("memory").await;
    relay
}

#[tokio::test]
async fn codex_works_a_task_with_model_and_tools_of_a_pool() {
    let setup = Setup::start().await;
    let codex = Agent::codex(&setup.pool.url, "agent", &["notes", "memory"]);

    let report = codex.work(TASK).await;

    setup.assert_task_was_done(&report).await;
}

#[tokio::test]
async fn opencode_works_a_task_with_model_and_tools_of_a_pool() {
    let setup = Setup::start().await;
    let opencode = Agent::opencode(&setup.pool.url, "agent", &["notes", "memory"]);

    let report = opencode.work(TASK).await;

    setup.assert_task_was_done(&report).await;
}
