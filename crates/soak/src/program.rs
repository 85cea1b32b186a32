//! The program behind the bridge: an MCP server on standard input and output, as a process.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::plant::Plant;
use crate::tool;
use crate::work::{Executed, Work};

/// Lines that were read and not taken yet, at most.
const LINES: usize = 16;

/// The revisions of MCP that a program supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// Those with sessions.
    Sessions,
    /// Those without.
    Stateless,
}

/// The program.
struct Program {
    era: Era,
    work: Work,
    /// The calls that run, by the text of their ids.
    running: Mutex<HashMap<String, Running>>,
}

struct Running {
    nonce: String,
    /// A cancelled call writes no further message. Its task is not aborted, as that could cut a line.
    is_cancelled: Arc<AtomicBool>,
}

/// Serves standard input until its end.
pub(crate) async fn run(era: Era, journal: &Path, plant: Plant) -> anyhow::Result<()> {
    let program = Arc::new(Program {
        era,
        work: Work::new(journal, plant)?,
        running: Mutex::default(),
    });

    let mut calls = JoinSet::new();
    let mut lines = input();
    while let Some(line) = lines.recv().await {
        let message: Value = serde_json::from_str(&line)?;
        program.take(message, &mut calls)?;
        while calls.try_join_next().is_some() {}
    }
    Ok(())
}

/// Returns the lines of standard input, which a thread of its own reads.
fn input() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if line.is_ok_and(|line| sender.blocking_send(line).is_ok()) {
                continue;
            }
            return;
        }
    });
    lines
}

impl Program {
    /// Takes one message.
    fn take(self: &Arc<Self>, message: Value, calls: &mut JoinSet<()>) -> anyhow::Result<()> {
        let id = &message["id"];
        match message["method"].as_str() {
            Some("tools/call") => {
                self.call(&message, calls)?;
            }
            Some("notifications/cancelled") => {
                let id = message["params"]["requestId"].to_string();
                let running = self.running.lock().remove(&id);
                if let Some(running) = running {
                    running.is_cancelled.store(true, Ordering::Relaxed);
                    self.work.record_cancellation(&running.nonce, &message)?;
                }
            }
            Some("initialize") if self.era == Era::Sessions => {
                let revision = &message["params"]["protocolVersion"];
                let result = json!({
                    "protocolVersion": revision,
                    "capabilities": { "tools": {} },
                    "serverInfo": { "name": "soak", "version": "0" },
                });
                self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))?;
            }
            Some("server/discover") if self.era == Era::Stateless => {
                let result = json!({
                    "supportedVersions": ["2026-07-28"],
                    "capabilities": { "tools": {} },
                    "serverInfo": { "name": "soak", "version": "0" },
                    "resultType": "complete",
                });
                self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))?;
            }
            Some("tools/list") => {
                let tools = json!([{ "name": "work", "inputSchema": { "type": "object" } }]);
                let result = json!({
                    "tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "public",
                });
                self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))?;
            }
            Some("ping") => {
                self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": {} }))?;
            }
            Some(_) if !id.is_null() => {
                self.send(&tool::error(id, -32601, "no such method"))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Executes a call of the tool, and answers it in a task of its own.
    fn call(self: &Arc<Self>, message: &Value, calls: &mut JoinSet<()>) -> anyhow::Result<()> {
        let executed = match self.work.execute(message) {
            Ok(executed) => executed,
            Err(error) => {
                let answer = tool::error(&message["id"], -32602, &error.to_string());
                return self.send(&answer);
            }
        };

        let is_cancelled = Arc::new(AtomicBool::new(false));
        let entry = Running {
            nonce: executed.arguments.nonce.clone(),
            is_cancelled: is_cancelled.clone(),
        };
        self.running.lock().insert(executed.id.to_string(), entry);
        calls.spawn(self.clone().answer(executed, is_cancelled));
        Ok(())
    }

    async fn answer(self: Arc<Self>, executed: Executed, is_cancelled: Arc<AtomicBool>) {
        for message in executed.messages() {
            executed.wait().await;
            if is_cancelled.load(Ordering::Relaxed) {
                return;
            }
            let is_last = message.get("result").is_some();
            if is_last {
                self.running.lock().remove(&executed.id.to_string());
            }
            if self.send(&message).is_err() {
                return;
            }
        }
    }

    /// Writes one line. A bridge that does not read stops the whole program, as it stops most.
    fn send(&self, message: &Value) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');

        let mut output = std::io::stdout().lock();
        output.write_all(&line)?;
        output.flush()?;
        Ok(())
    }
}
