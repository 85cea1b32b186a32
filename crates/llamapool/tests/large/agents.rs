//! The agents, each with an empty home and the configuration of `docs/guides/llm.md`, word for word but for the host, the
//! model and the id.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::API_KEY;
use crate::parts::{self, PATH, root};
use crate::runtimes::Runtime;

/// The part with Codex.
const CODEX: &str = "codex-0.171.0";
/// The part with opencode.
const OPENCODE: &str = "opencode-1.18.33";
/// The longest that an agent may take: Codex asks again for half a minute.
const LONGEST: Duration = Duration::from_secs(180);
/// A port on which nothing listens. Agents look for updates and lists of models outside, and find nothing.
const NOWHERE: &str = "http://127.0.0.1:9";

/// An agent that is set up, with a home of its own.
pub(crate) struct Agent {
    home: TempDir,
    program: Vec<OsString>,
    /// What makes it work a task that follows, and report it as JSON.
    works: &'static [&'static str],
}

/// What an agent printed.
#[derive(Debug)]
pub(crate) struct Report {
    /// The events, each a JSON object.
    pub(crate) events: Vec<Value>,
}

impl Agent {
    /// Sets Codex up for a model of a server, with MCP servers at these ids.
    pub(crate) fn codex(server_url: &str, model: &str, ids: &[&str]) -> Self {
        Self::codex_at(&guide("toml", "model_provider"), server_url, model, ids)
    }

    /// Sets Codex up for a model of a server, with an MCP server to which it has no key yet.
    pub(crate) fn codex_without_key(server_url: &str, model: &str, id: &str) -> Self {
        const KEY: &str = "bearer_token_env_var = \"LLAMAPOOL_KEY\"\n";
        let guide = guide("toml", "model_provider");
        assert!(guide.contains(KEY), "{guide}");
        Self::codex_at(&guide.replace(KEY, ""), server_url, model, &[id])
    }

    fn codex_at(guide: &str, server_url: &str, model: &str, ids: &[&str]) -> Self {
        let (alone, mcp) = guide.split_once("[mcp_servers").expect("an MCP server");
        let mcp = ids
            .iter()
            .map(|id| format!("[mcp_servers{}\n", mcp.replace("notes", id)));
        let configuration = alone.to_owned() + &mcp.collect::<String>();
        Self::codex_with(&configuration, server_url, model)
    }

    /// Sets Codex up for a model of a server, without MCP servers, with more settings of the provider, and allowed to
    /// search the web or not.
    pub(crate) fn codex_alone(
        server_url: &str,
        model: &str,
        settings: &str,
        searches: bool,
    ) -> Self {
        const DISABLED: &str = r#"web_search = "disabled""#;
        let guide = guide("toml", "model_provider");
        assert!(guide.contains(DISABLED), "{guide}");
        let (alone, _) = guide.split_once("[mcp_servers").expect("an MCP server");
        let search = if searches { "" } else { DISABLED };
        let configuration = alone.replace(DISABLED, search) + settings;
        Self::codex_with(&configuration, server_url, model)
    }

    fn codex_with(configuration: &str, server_url: &str, model: &str) -> Self {
        let program = parts::file(CODEX, "node_modules/@openai/codex/bin/codex.js");
        let configuration = configuration
            .replace("https://host", server_url)
            .replace("qwen3:8b", model);
        Self {
            home: home_with(".codex/config.toml", &configuration),
            program: vec!["node".into(), program.into()],
            works: &["exec", "--strict-config", "--skip-git-repo-check", "--json"],
        }
    }

    /// Sets opencode up for a model of a server, with MCP servers at these ids.
    pub(crate) fn opencode(server_url: &str, model: &str, ids: &[&str]) -> Self {
        let configuration = guide("json", "opencode.ai")
            .replace("https://host", server_url)
            .replace("qwen3:8b", model);
        let mut configuration: Value = serde_json::from_str(&configuration).unwrap();
        let mcp = configuration["mcp"]["notes"].to_string();
        for id in ids {
            let server: Value = serde_json::from_str(&mcp.replace("notes", id)).unwrap();
            configuration["mcp"][*id] = server;
        }
        Self::opencode_with(&configuration)
    }

    /// Sets opencode up for a model of a server, with an MCP server to which it has no key yet.
    pub(crate) fn opencode_without_key(server_url: &str, model: &str, id: &str) -> Self {
        let configuration = guide("json", "opencode.ai")
            .replace("https://host", server_url)
            .replace("qwen3:8b", model);
        let mut configuration: Value = serde_json::from_str(&configuration).unwrap();
        let url = format!("{server_url}/api/mcp/id/{id}");
        configuration["mcp"] = json!({ id: { "type": "remote", "url": url } });
        Self::opencode_with(&configuration)
    }

    fn opencode_with(configuration: &Value) -> Self {
        let program = parts::file(OPENCODE, "node_modules/opencode-linux-x64/bin/opencode");
        let file = ".config/opencode/opencode.json";
        Self {
            home: home_with(file, &configuration.to_string()),
            program: vec![program.into()],
            works: &["run", "--format", "json"],
        }
    }

    /// Builds the command that runs the agent with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program[0]);
        command
            .args(&self.program[1..])
            .args(arguments)
            .current_dir(self.home.path().join("work"))
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.home.path())
            .env("HTTP_PROXY", NOWHERE)
            .env("HTTPS_PROXY", NOWHERE)
            .env("NO_PROXY", "127.0.0.1")
            .env("LLAMAPOOL_KEY", API_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Gives the agent a task and waits until it is through with it.
    pub(crate) async fn work(&self, task: &str) -> Report {
        let report = self.try_to_work(task).await;
        report.unwrap_or_else(|output| panic!("no events:\n{output}"))
    }

    /// Gives the agent a task and waits for its end. Without a report, returns what it printed.
    pub(crate) async fn try_to_work(&self, task: &str) -> Result<Report, String> {
        let mut command = self.command(self.works);
        command.arg(task);
        let output = tokio::time::timeout(LONGEST, command.output()).await;
        let output = output.expect("the agent ends").expect("it starts");

        let text = String::from_utf8_lossy(&output.stdout);
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        if events.is_empty() {
            return Err(format!("{text}\n{errors}"));
        }
        Ok(Report { events })
    }
}

impl Report {
    /// Returns the last text that the agent wrote, in its own form of events.
    pub(crate) fn text(&self) -> &str {
        let texts = self.events.iter().rev();
        let mut texts = texts.filter_map(|event| {
            let codex = &event["item"];
            let is_codex = codex["type"] == "agent_message" && event["type"] == "item.completed";
            let text = if is_codex {
                &codex["text"]
            } else {
                &event["part"]["text"]
            };
            text.as_str()
        });
        texts.next().unwrap_or_else(|| panic!("no text: {self:?}"))
    }

    /// Returns the message with which Codex gave up.
    pub(crate) fn failure(&self) -> &str {
        let last = self.events.last().unwrap();
        assert_eq!(last["type"], "turn.failed", "{self:?}");
        last["error"]["message"].as_str().unwrap()
    }
}

/// Starts the runtime with a script and more options.
pub(crate) async fn scripted(script: Option<&Path>, options: &[&str]) -> Runtime {
    let mut command = Command::new("python3");
    command
        .arg(root().join("tests/parts/scripted_agent_runtime.py"))
        .args(options)
        .args(script.map(|script| format!("script={}", script.display())))
        .env_clear()
        .env("PATH", PATH)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1");
    Runtime::started(command).await
}

/// Makes a home with one file in it, and a folder to work in.
fn home_with(file: &str, configuration: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(file);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, configuration).unwrap();
    std::fs::create_dir(home.path().join("work")).unwrap();
    home
}

/// Returns the first block of the guide in a language that contains a text.
fn guide(language: &str, text: &str) -> String {
    let guide = std::fs::read_to_string(root().join("docs/guides/llm.md")).unwrap();
    let mut blocks = guide.split("\n```").skip(1).step_by(2);
    let opening = format!("{language}\n");
    let found = blocks.find_map(|block| {
        let block = block.strip_prefix(&opening)?;
        block.contains(text).then(|| block.to_owned())
    });
    found.unwrap_or_else(|| panic!("the guide has no {language} with {text}"))
}
