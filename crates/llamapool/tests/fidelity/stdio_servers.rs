//! The official servers that exist as programs only: every client sees the same of them through
//! llamapool over HTTP as the official client that starts them itself.
//!
//! Only the current time in an answer is not compared.

use std::path::Path;

use serde_json::{Value, json};

use crate::clients::{
    INSPECTOR, LEGACY, MCP_1, MODERN, NODE, Rmcp, bare_command, count, report, run_inspector,
    with_python,
};
use crate::parts::root;
use crate::programs::installed;
use crate::stdio::{Bridge, text};
use crate::stdio_clients::{CLIENTS, assert_same_report, rmcp};

/// A program, and the calls that are made.
struct Server {
    command: Vec<String>,
    /// The tool, the arguments, and the number of steps of progress.
    calls: Value,
    /// The newest era that it supports.
    newest: &'static str,
}

impl Server {
    /// Returns the report of the official client that starts the program itself.
    async fn direct_report(&self) -> Vec<Value> {
        let mut command = with_python(MCP_1, "official_1.py");
        command
            .env("LLAMAPOOL_CALLS", self.calls.to_string())
            .arg("-")
            .args(&self.command);
        without_current_time(report(command).await)
    }

    /// Compares the reports of all clients, except for the negotiated revision, and returns the
    /// direct one.
    async fn compare_all_clients(&self) -> Vec<Value> {
        let direct = self.direct_report().await;
        let bridge = Bridge::to(&self.command).await;
        for client in CLIENTS {
            let stdio = client.calls(&bridge.url(), &self.calls).await;
            self.compare(client.name, client.newest(), &direct, stdio);
        }

        let stdio = Rmcp::calls(&bridge.url(), rmcp(self.newest), &self.calls).await;
        self.compare("rmcp 3.9", self.newest, &direct, stdio);
        self.compare_inspector(&bridge).await;
        direct
    }

    fn compare(
        &self,
        name: &str,
        client_newest: &'static str,
        direct: &[Value],
        stdio: Vec<Value>,
    ) {
        let mut wanted = direct.to_vec();
        // Revisions are dates, which compare as texts.
        wanted[0]["protocol"] = json!(client_newest.min(self.newest));
        assert_same_report(name, &wanted, &without_current_time(stdio));
    }

    /// Compares the output of the Inspector, which shows the complete descriptions of the tools.
    async fn compare_inspector(&self, bridge: &Bridge) {
        let home = tempfile::tempdir().unwrap();
        let mut command = bare_command(installed(NODE));
        command
            .env("HOME", home.path())
            .arg(installed(INSPECTOR))
            .args(["--format", "json", "--method", "tools/list"]);
        command.arg("--").args(&self.command);
        let direct = report(command).await;
        let stdio = run_inspector(
            &bridge.url(),
            &[&["--transport", "http", "--method", "tools/list"]],
        )
        .await;

        assert_eq!(
            direct, stdio,
            "the inspector: direct, then through llamapool"
        );

        let tools = stdio[0]["result"]["tools"]
            .as_array()
            .expect("the tools were listed");
        assert!(
            tools
                .iter()
                .all(|tool| tool["inputSchema"]["type"] == "object"),
            "{tools:?}"
        );
        assert!(tools.len() > 1, "{tools:?}");
    }
}

/// Returns the command of a server that is a Node script of a part.
fn script(path: &str, arguments: &[String]) -> Vec<String> {
    let node = [text(&installed(NODE)), text(&installed(path))];
    node.into_iter().chain(arguments.iter().cloned()).collect()
}

/// Removes the lines with the current time from the texts of the results.
fn without_current_time(mut report: Vec<Value>) -> Vec<Value> {
    for observation in &mut report {
        if let Some(text) = observation["text"].as_str() {
            let is_transient =
                |line: &&str| line.contains(r#""datetime""#) || line.contains(r#""day_of_week""#);
            let rest: Vec<_> = text.lines().filter(|line| !is_transient(line)).collect();
            observation["text"] = json!(rest.join("\n"));
        }
    }
    report
}

/// Returns the text of the result of a tool.
fn result<'a>(report: &'a [Value], tool: &str) -> &'a str {
    let result = report
        .iter()
        .find(|observation| observation["saw"] == "result" && observation["tool"] == tool);
    result
        .and_then(|result| result["text"].as_str())
        .unwrap_or_else(|| panic!("no result of {tool}: {report:?}"))
}

#[tokio::test]
async fn every_client_sees_the_same_of_the_file_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = text(&folder.path().join("grüße.txt"));
    let folder_path = text(folder.path());

    let path = "server-filesystem-2026.8.31/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";
    let server = Server {
        command: script(path, std::slice::from_ref(&folder_path)),
        calls: json!([
            ["write_file", { "path": file, "content": "grüße 🦙\n" }, 0],
            ["read_text_file", { "path": file }, 0],
            ["list_directory", { "path": folder_path }, 0],
        ]),
        newest: LEGACY,
    };
    let seen = server.compare_all_clients().await;

    assert_eq!(result(&seen, "read_text_file"), "grüße 🦙");
    assert_eq!(result(&seen, "list_directory"), "[FILE] grüße.txt");
    assert_eq!(
        std::fs::read_to_string(Path::new(&file)).unwrap(),
        "grüße 🦙\n"
    );
}

#[tokio::test]
async fn every_client_sees_the_same_of_the_memory_server() {
    let folder = tempfile::tempdir().unwrap();
    let memory = format!(
        "MEMORY_FILE_PATH={}",
        text(&folder.path().join("memory.jsonl"))
    );

    let path =
        "server-memory-2026.8.31/node_modules/@modelcontextprotocol/server-memory/dist/index.js";
    let llama = json!({ "name": "llama", "entityType": "animal", "observations": ["grüße 🦙"] });
    let server = Server {
        command: ["env".to_owned(), memory]
            .into_iter()
            .chain(script(path, &[]))
            .collect(),
        calls: json!([
            ["create_entities", { "entities": [llama] }, 0],
            ["read_graph", {}, 0],
            // The next client finds the memory that this one leaves.
            ["delete_entities", { "entityNames": ["llama"] }, 0],
        ]),
        newest: LEGACY,
    };
    let seen = server.compare_all_clients().await;
    let graph: Value = serde_json::from_str(result(&seen, "read_graph")).unwrap();

    assert_eq!(graph, json!({ "entities": [llama], "relations": [] }));
}

/// It supports both eras.
#[tokio::test]
async fn every_client_sees_the_same_of_the_time_server() {
    let times = json!({ "source_timezone": "Etc/UTC", "time": "12:30", "target_timezone": "Asia/Kathmandu" });
    let server = Server {
        command: vec![text(&installed(
            "mcp-server-time-2026.10.19/bin/mcp-server-time",
        ))],
        calls: json!([["convert_time", times, 0], ["get_current_time", { "timezone": "Etc/UTC" }, 0]]),
        newest: MODERN,
    };
    let seen = server.compare_all_clients().await;
    let converted = result(&seen, "convert_time");

    assert!(
        converted.contains(r#""time_difference": "+5.75h""#),
        "{converted}"
    );
}

/// Each is not quite JSON-RPC 2.0, and the client that starts the program itself accepts it.
#[tokio::test]
async fn unusual_answers_of_a_program_reach_the_client() {
    let content = r#""content":[{"type":"text","text":"there"}]"#;
    let answers = [
        format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{{content},"x":[NaN,-Infinity]}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":"$ID","result":{{{content}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","jsonrpc":"2.0","id":$ID,"result":{{{content}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":$ID,"error":null,"result":{{{content}}}}}"#),
    ];
    let write = |answer: &String| json!(["write", { "bytes": format!("{answer}\n") }, 0]);
    let server = Server {
        command: vec![
            text(&installed(&format!("{MCP_1}/bin/python"))),
            text(&root().join("tests/parts/scripted_program.py")),
        ],
        calls: answers.iter().map(write).collect(),
        newest: LEGACY,
    };
    let direct = server.direct_report().await;
    let bridge = Bridge::to(&server.command).await;

    for client in &CLIENTS[..2] {
        let stdio = client.calls(&bridge.url(), &server.calls).await;
        server.compare(client.name, client.newest(), &direct, stdio);
    }
    assert_eq!(count(&direct, "result"), answers.len());
}
