//! README.md's walkthrough without Docker, block by block, as a newcomer runs it; and its one line for a program.
//!
//! The one rule: every replaced text is listed here, and must be there. Ports become free ones, the
//! built executable stands in for `cargo run`, and installed parts for the downloads of `pip` and
//! `npx`.

use std::path::Path;

use serde_json::{Value, json};

use crate::by_hand::initialize;
use crate::harness::{Pool, Process, soon};
use crate::parts::{FASTMCP_2, file_server, python, root, see};
use crate::shell::{bash, blocks, run_json};

/// Returns the shell blocks of one section.
fn section(name: &str) -> Vec<String> {
    let document = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = document
        .split_once(&format!("\n## {name}\n"))
        .expect("the section begins");
    blocks(rest.split("\n## ").next().expect("the section"))
}

/// Returns a block with texts replaced that it must have.
fn with(block: &str, replacements: &[(&str, &str)]) -> String {
    replacements
        .iter()
        .fold(block.to_owned(), |block, (old, new)| {
            assert!(block.contains(old), "there is no {old} in:\n{block}");
            block.replace(old, new)
        })
}

/// Starts a block that is left running in its terminal.
fn terminal(block: &str, folder: &Path) -> Process {
    let mut command = bash(block);
    command.current_dir(folder).env("PYTHONUNBUFFERED", "1");
    Process::start(command)
}

/// Waits for a text in a terminal. Returns the number behind it.
async fn number_after(terminal: &mut Process, text: &str) -> String {
    let line = terminal.line(text, |line| line.contains(text)).await;
    let (_, rest) = line.split_once(text).expect("it was there a moment ago");
    rest.chars().take_while(char::is_ascii_digit).collect()
}

#[tokio::test]
async fn the_walkthrough_of_the_readme_works_block_by_block() {
    let guide = std::fs::read_to_string(root().join("docs/guides/walkthrough.md")).unwrap();
    let blocks = blocks(&guide);
    let [clock, server, relay, commands @ ..] = &blocks[..] else {
        panic!("blocks are missing: {blocks:?}")
    };
    let folder = tempfile::tempdir().unwrap();
    let part = python(FASTMCP_2)
        .parent()
        .and_then(Path::parent)
        .expect("a part is a folder")
        .to_owned();
    let install = format!("ln -s {} clock", part.display());
    let llamapool = concat!("exec ", env!("CARGO_BIN_EXE_llamapool"));

    let clock_here = [
        (
            "python3 -m venv clock && clock/bin/pip install fastmcp==2.11.3",
            &*install,
        ),
        ("port=7777", "port=0"),
        (
            "\nclock/bin/python clock.py",
            "\nexec clock/bin/python clock.py",
        ),
    ];
    let mut clock = terminal(&with(clock, &clock_here), folder.path());
    let clock_port = number_after(&mut clock, "running on http://127.0.0.1:").await;

    let server_here = [
        ("PORT=8080 METRICS_PORT=9090", "PORT=0 METRICS_PORT=0"),
        ("cargo run --release --", llamapool),
    ];
    let mut server = terminal(&with(server, &server_here), folder.path());

    let port = number_after(&mut server, "the server listens address=0.0.0.0:").await;

    let here = format!("localhost:{port}");
    let there = format!("localhost:{clock_port}");
    let relay_here = [
        ("localhost:8080", &*here),
        ("localhost:7777", &there),
        ("cargo run --release --", llamapool),
    ];
    let mut relay = terminal(&with(relay, &relay_here), folder.path());

    relay
        .line("connected", |line| line.contains("connected"))
        .await;

    let [state, list, call] = commands else {
        panic!("three commands, found {commands:?}")
    };
    let answer = async |command: &str| run_json(&with(command, &[("localhost:8080", &here)])).await;
    let state = answer(state).await;
    let client = &state["mcp"]["clients"][0];

    assert_eq!(client["id"], "mcp-1234", "{state}");
    assert_eq!(client["status"], "idle", "{state}");

    let list = answer(list).await;
    assert_eq!(list["result"]["tools"][0]["name"], "time/now", "{list}");

    let call = answer(call).await;
    let result = &call["result"];

    assert_eq!(result["isError"], Value::Bool(false), "{call}");
    assert_eq!(
        result["content"][0]["text"], result["structuredContent"]["result"],
        "{call}"
    );
}

/// `npx` finds the package in its folder, without the network.
#[tokio::test]
async fn the_one_line_of_the_readme_makes_a_program_of_npm_reachable() {
    let blocks = section("A program of yours");
    let line = blocks
        .iter()
        .find(|block| block.contains("-- npx -y "))
        .expect("the one line");
    let pool = Pool::start().await;

    let home = tempfile::tempdir().unwrap();
    let notes = home.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    std::fs::write(notes.join("llama.txt"), "grüße 🦙").unwrap();
    let llamapool = concat!("exec ", env!("CARGO_BIN_EXE_llamapool"), " mcp");
    let server = pool.url.replace("http", "ws");
    let mut relay = bash(&with(
        line,
        &[
            ("llamapool mcp", llamapool),
            ("ws://server.example:8080", &server),
        ],
    ));

    relay
        .env("HOME", home.path())
        .env("STATUS_ADDR", "off")
        .env("PROVIDER_DIR", file_server());
    relay.env(
        "PROVIDER_ENV",
        "npm_config_offline=true,npm_config_update_notifier=false",
    );
    let mut relay = Process::start(relay);

    pool.connected("notes").await;

    let file = notes.join("llama.txt");
    let calls =
        json!([["list_directory", { "path": notes }, 0], ["read_text_file", { "path": file }, 0]]);
    let seen = see(&pool.mcp("notes"), &calls).await;
    let texts: Vec<_> = seen
        .iter()
        .filter(|it| it["saw"] == "result")
        .map(|it| it["text"].clone())
        .collect();

    assert_eq!(texts, ["[FILE] llama.txt", "grüße 🦙"], "{seen:?}");

    // A client that leaves its session open.
    let answer = pool
        .post("notes", &initialize())
        .await
        .text()
        .await
        .unwrap();

    assert!(answer.contains("secure-filesystem-server"), "{answer}");

    let path = notes.to_str().expect("UTF-8");
    assert!(
        is_running(|command| command.contains("mcp-server-filesystem") && command.contains(path)),
        "the program runs"
    );

    relay.signal("INT").await;

    assert_eq!(relay.ended().await.code(), Some(0), "{}", relay.log());

    let ends = async {
        while is_running(|command| command.contains(path)) {
            tokio::task::yield_now().await;
        }
    };
    soon("nothing is left of npx", ends).await;
}

/// The file is where an editor has it, and `npx` finds the package of its server without the network.
#[tokio::test]
async fn the_file_of_an_editor_works_as_the_readme_says() {
    let blocks = section("Your `mcpServers` file");
    let [line] = &blocks[..] else {
        panic!("one block, found {blocks:?}")
    };
    let pool = Pool::start().await;
    let home = tempfile::tempdir().unwrap();
    let notes = home.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    std::fs::write(notes.join("llama.txt"), "grüße 🦙").unwrap();
    let file = json!({"mcpServers": {"notes": {
        "command": "npx",
        "args": ["-y", "@modelcontextprotocol/server-filesystem", "~/notes"],
        "cwd": file_server(),
        "env": {"npm_config_offline": "true", "npm_config_update_notifier": "false"},
    }}});
    std::fs::create_dir(home.path().join(".cursor")).unwrap();
    std::fs::write(home.path().join(".cursor/mcp.json"), file.to_string()).unwrap();

    let llamapool = concat!("exec ", env!("CARGO_BIN_EXE_llamapool"), " mcp");
    let server = pool.url.replace("http", "ws");
    let mut relay = bash(&with(
        line,
        &[
            ("llamapool mcp", llamapool),
            ("ws://server.example:8080", &server),
        ],
    ));
    relay.env("HOME", home.path()).env("STATUS_ADDR", "off");
    let _relay = Process::start(relay);
    pool.connected("notes").await;

    let file = notes.join("llama.txt");
    let calls = json!([["read_text_file", { "path": file }, 0]]);
    let seen = see(&pool.mcp("notes"), &calls).await;
    let answers = seen.iter().filter(|it| it["saw"] == "result");
    let texts: Vec<_> = answers.map(|it| it["text"].clone()).collect();
    assert_eq!(texts, ["grüße 🦙"], "{seen:?}");
}

/// Whether a process runs with a command line like this, whose words are separated by zero bytes.
fn is_running(is_it: impl Fn(&str) -> bool) -> bool {
    let processes = std::fs::read_dir("/proc").expect("a list of processes");
    let command = |process: std::fs::DirEntry| {
        std::fs::read(process.path().join("cmdline")).unwrap_or_default()
    };
    processes
        .flatten()
        .any(|process| is_it(&String::from_utf8_lossy(&command(process))))
}
