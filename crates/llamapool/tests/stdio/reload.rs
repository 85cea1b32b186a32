//! Programs that are added, replaced and removed while the relay runs, and the end of the terminal of
//! a relay, which is the same signal.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{Pool, Process, WORKER_KEY};
use crate::processes::{MARK, processes_with, until_all_ended};
use crate::scripted_program::{command, new_mark, python};
use crate::session_client::Session;

/// A relay whose programs are the entries of a file of MCP servers.
struct Reloading {
    process: Process,
    directory: TempDir,
    reloads: usize,
}

impl Reloading {
    fn start(pool: &Pool, servers: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = write(directory.path(), servers);
        let path = std::env::var("PATH").unwrap();
        let settings = [
            ("MCP_SERVERS", file.as_str()),
            ("SERVER_URL", &pool.url),
            ("WORKER_KEY", WORKER_KEY),
            ("STATUS_ADDR", "off"),
            ("DRAIN_TIMEOUT", "20s"),
            ("PATH", &path),
        ];
        Self {
            process: Process::llamapool(&["mcp", "--reconnect"], &settings),
            directory,
            reloads: 0,
        }
    }

    async fn reload(&mut self, servers: &Value) {
        write(self.directory.path(), servers);
        self.process.signal("HUP").await;
        self.reloads += 1;
        let done = "\"the settings were read again\"";
        let is_it = |line: &str| line.contains(done);
        self.process.nth_line(self.reloads, done, is_it).await;
    }
}

/// Writes the file of MCP servers. Returns its path.
fn write(directory: &Path, servers: &Value) -> String {
    let file = directory.join("mcp.json");
    std::fs::write(&file, json!({ "mcpServers": servers }).to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Returns the entry of a scripted program with a mark.
fn server(mark: &str) -> Value {
    let words = command(&[]);
    json!({ "command": words[0], "args": words[1..], "env": { MARK: mark } })
}

async fn begin(pool: &Pool, id: &str) -> Session {
    pool.connected(id).await;
    Session::begin(&pool.http, &pool.mcp(id), "2025-06-18").await
}

/// The session of the program that stays is the same one all the while, with the same process.
#[tokio::test]
async fn a_session_lives_on_while_other_programs_come_and_go() {
    let pool = Pool::start().await;
    let stays = new_mark();
    let first = new_mark();
    let mut relay = Reloading::start(
        &pool,
        &json!({ "stays": server(&stays), "other": server(&first) }),
    );
    let session = Arc::new(begin(&pool, "stays").await);
    let _other = begin(&pool, "other").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut calling = tokio::task::JoinSet::new();
    calling.spawn({
        let session = session.clone();
        let stop = stop.clone();
        async move {
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                session.call_tool("environment", json!({})).await;
                calls += 1;
            }
            calls
        }
    });

    // Replaced, removed, added.
    let second = new_mark();
    relay
        .reload(&json!({ "stays": server(&stays), "other": server(&second) }))
        .await;
    until_all_ended(&first).await;
    let other = begin(&pool, "other").await;
    let environment = other.call_tool("environment", json!({})).await;
    assert_eq!(environment["environment"][MARK], json!(second));
    relay.reload(&json!({ "stays": server(&stays) })).await;
    until_all_ended(&second).await;
    let third = new_mark();
    relay
        .reload(&json!({ "third": server(&third), "stays": server(&stays) }))
        .await;
    begin(&pool, "third").await;

    stop.store(true, Ordering::Relaxed);
    let calls = calling.join_next().await.unwrap().unwrap();
    assert!(calls > 10, "{calls} calls");
    assert!(!processes_with(&stays).is_empty() && !processes_with(&third).is_empty());
    let lines = relay.process.lines_with("a removed provider has ended");
    assert_eq!(lines.len(), 2, "{lines:?}");
    relay.process.signal("TERM").await;
    until_all_ended(&stays).await;
    until_all_ended(&third).await;
}

/// A terminal that is closed sends the signal that services get to read their files again.
#[tokio::test]
async fn a_relay_ends_with_its_terminal() {
    let pool = Pool::start().await;
    let mark = new_mark();
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), &json!({ "mine": server(&mark) }));
    // A terminal whose other end is closed when its standard input ends.
    // Under `nohup` the tests ignore the signal, and what they start would, too.
    let in_a_terminal = "import os, pty, signal, sys\n\
         signal.signal(signal.SIGHUP, signal.SIG_DFL)\n\
         pid, terminal = pty.fork()\n\
         if pid == 0: os.execv(sys.argv[1], sys.argv[1:])\n\
         sys.stdin.read()\n\
         os.close(terminal)\n\
         print(os.waitpid(pid, 0)[1], flush=True)\n";
    let mut terminal = Command::new(python());
    terminal
        .args([
            "-c",
            in_a_terminal,
            env!("CARGO_BIN_EXE_llamapool"),
            "mcp",
            "-r",
        ])
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("MCP_SERVERS", &file)
        .env("SERVER_URL", &pool.url)
        .env("WORKER_KEY", WORKER_KEY)
        .env("STATUS_ADDR", "off");
    let mut terminal = Process::start(terminal);
    pool.connected("mine").await;

    terminal.close_input();

    terminal
        .line("the relay has ended", |line| line == "0")
        .await;
    until_all_ended(&mark).await;
}
