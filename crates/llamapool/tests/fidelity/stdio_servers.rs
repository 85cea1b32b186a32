//! The official servers that are programs and nothing else: every client sees the same of them, through llamapool over HTTP,
//! as the official client does that starts them itself.
//!
//! The one rule: what a server says of the moment is left out, and nothing else.

use std::path::Path;

use serde_json::{Value, json};

use crate::clients::{
    INSPECTOR, LEGACY, MCP_1, MODERN, NODE, Rmcp, bare, inspected, report, with_python,
};
use crate::programs::installed;
use crate::stdio::{Bridge, text};
use crate::stdio_clients::{CLIENTS, is_the_same, rmcp};

/// A program, and what it is asked.
struct Server {
    command: Vec<String>,
    /// Tool, arguments, and how many steps of progress there are.
    calls: Value,
    /// The newest era that it knows.
    newest: &'static str,
}

impl Server {
    /// What the official client sees that starts the program itself.
    async fn straight(&self) -> Vec<Value> {
        let mut command = with_python(MCP_1, "official_1.py");
        command
            .env("LLAMAPOOL_CALLS", self.calls.to_string())
            .arg("-")
            .args(&self.command);
        without_the_moment(report(command).await)
    }

    /// Every client in turn sees the same, but for the revision that it agreed on.
    async fn is_the_same_to_every_client(&self) -> Vec<Value> {
        let straight = self.straight().await;
        let bridge = Bridge::to(&self.command).await;
        for client in CLIENTS {
            let stdio = client.calls(&bridge.url(), &self.calls).await;
            self.compare(client.name, client.newest(), &straight, stdio);
        }
        let stdio = Rmcp::calls(&bridge.url(), rmcp(self.newest), &self.calls).await;
        self.compare("rmcp 3.9", self.newest, &straight, stdio);
        self.is_the_same_to_the_inspector(&bridge).await;
        straight
    }

    fn compare(
        &self,
        name: &str,
        client_newest: &'static str,
        straight: &[Value],
        stdio: Vec<Value>,
    ) {
        let mut wanted = straight.to_vec();
        // Revisions are dates, which are compared as texts are.
        wanted[0]["protocol"] = json!(client_newest.min(self.newest));
        is_the_same(name, &wanted, &without_the_moment(stdio));
    }

    /// The Inspector shows everything that is said of the tools.
    async fn is_the_same_to_the_inspector(&self, bridge: &Bridge) {
        let home = tempfile::tempdir().unwrap();
        let mut command = bare(installed(NODE));
        command
            .env("HOME", home.path())
            .arg(installed(INSPECTOR))
            .args(["--format", "json", "--method", "tools/list"]);
        command.arg("--").args(&self.command);
        let straight = report(command).await;
        let stdio = inspected(
            &bridge.url(),
            &[&["--transport", "http", "--method", "tools/list"]],
        )
        .await;
        assert_eq!(
            straight, stdio,
            "the inspector: straight, then through llamapool"
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

/// A server that is a script of a part.
fn script(path: &str, arguments: &[String]) -> Vec<String> {
    let node = [text(&installed(NODE)), text(&installed(path))];
    node.into_iter().chain(arguments.iter().cloned()).collect()
}

/// The texts of the results, without the lines of a JSON text that say when it is.
fn without_the_moment(mut report: Vec<Value>) -> Vec<Value> {
    for observation in &mut report {
        if let Some(text) = observation["text"].as_str() {
            let is_of_the_moment =
                |line: &&str| line.contains(r#""datetime""#) || line.contains(r#""day_of_week""#);
            let rest: Vec<_> = text
                .lines()
                .filter(|line| !is_of_the_moment(line))
                .collect();
            observation["text"] = json!(rest.join("\n"));
        }
    }
    report
}

/// The text of the result of a tool.
fn result<'a>(report: &'a [Value], tool: &str) -> &'a str {
    let result = report
        .iter()
        .find(|observation| observation["saw"] == "result" && observation["tool"] == tool);
    result
        .and_then(|result| result["text"].as_str())
        .unwrap_or_else(|| panic!("no result of {tool}: {report:?}"))
}

#[tokio::test]
async fn the_file_server_is_the_same_to_every_client() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, file) = (text(folder.path()), text(&folder.path().join("grüße.txt")));
    let path = "server-filesystem-2026.8.31/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";
    let server = Server {
        command: script(path, std::slice::from_ref(&folder)),
        calls: json!([
            ["write_file", { "path": file, "content": "grüße 🦙\n" }, 0],
            ["read_text_file", { "path": file }, 0],
            ["list_directory", { "path": folder }, 0],
        ]),
        newest: LEGACY,
    };
    let seen = server.is_the_same_to_every_client().await;
    assert_eq!(result(&seen, "read_text_file"), "grüße 🦙");
    assert_eq!(result(&seen, "list_directory"), "[FILE] grüße.txt");
    assert_eq!(
        std::fs::read_to_string(Path::new(&file)).unwrap(),
        "grüße 🦙\n"
    );
}

#[tokio::test]
async fn the_memory_server_is_the_same_to_every_client() {
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
            // For the next client, which finds what this one leaves.
            ["delete_entities", { "entityNames": ["llama"] }, 0],
        ]),
        newest: LEGACY,
    };
    let seen = server.is_the_same_to_every_client().await;
    let graph: Value = serde_json::from_str(result(&seen, "read_graph")).unwrap();
    assert_eq!(graph, json!({ "entities": [llama], "relations": [] }));
}

/// It knows both eras.
#[tokio::test]
async fn the_time_server_is_the_same_to_every_client() {
    let times = json!({ "source_timezone": "Etc/UTC", "time": "12:30", "target_timezone": "Asia/Kathmandu" });
    let server = Server {
        command: vec![text(&installed(
            "mcp-server-time-2026.10.19/bin/mcp-server-time",
        ))],
        calls: json!([["convert_time", times, 0], ["get_current_time", { "timezone": "Etc/UTC" }, 0]]),
        newest: MODERN,
    };
    let seen = server.is_the_same_to_every_client().await;
    let converted = result(&seen, "convert_time");
    assert!(
        converted.contains(r#""time_difference": "+5.75h""#),
        "{converted}"
    );
}
