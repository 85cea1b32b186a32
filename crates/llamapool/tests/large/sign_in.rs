//! Agents sign in at an MCP server of a pool, use its tool, refresh their tokens, and are locked out.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::agents::{Agent, scripted};
use crate::harness::Process;
use crate::parts::root;
use crate::place::{ID, Place};
use crate::runtimes::Runtime;
use crate::workers;

/// The life of an access token: shorter than an agent needs from its start to its first call of a tool.
const ACCESS_TTL: &str = "1s";
/// More than fit into the life of a token, so that an agent that never refreshes it is found.
const MAX_WORKS: usize = 30;
const TASK: &str = "Echo the text.";
const SAID: &str = "It said: grüße 🦙";

/// A server with sign-in, and behind it an MCP server and a runtime whose model calls its tool.
struct Setup {
    place: Place,
    runtime: Runtime,
    _worker: Process,
    _script: tempfile::TempDir,
}

impl Setup {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script.json");
        let turns = json!([[["echo", { "text": "grüße 🦙" }]]]);
        let content = json!({ "turns": turns, "text": "It said: {0}" });
        std::fs::write(&script, content.to_string()).unwrap();
        let runtime = scripted(Some(&script), &[]).await;

        // A machine of tests need not reach the internet, where the agents' documents are.
        let clients = ("CLIENTS", "registered,known");
        let place = Place::with(&[("ACCESS_TTL", ACCESS_TTL), clients]).await;
        let style = [("API_STYLE", "openai")];
        let worker = workers::worker(&place.pool, "alpha", &runtime, &style).await;
        Self {
            place,
            runtime,
            _worker: worker,
            _script: folder,
        }
    }

    /// The results of tools that the model has seen.
    async fn results(&self) -> Vec<Value> {
        let calls = self.runtime.calls().await;
        let results = calls.iter().map(|call| call["results"].as_array().unwrap());
        results.flatten().cloned().collect()
    }

    /// Takes an agent that has signed in through the life of its grant.
    async fn lives_through(&self, agent: &Agent) {
        let mut works = 0;
        // A token is accepted for some seconds longer than its client is told, and some clients refresh it only then.
        while works < 2 || self.place.refreshed().await == 0 {
            assert!(works < MAX_WORKS, "it never refreshes its token");
            assert_eq!(agent.work(TASK).await.text(), SAID);
            works += 1;
            assert_eq!(self.results().await, vec!["grüße 🦙"; works]);
        }

        self.place.revoke().await;
        let locked_out = agent.try_to_work(TASK).await;
        if let Ok(report) = locked_out {
            let events = format!("{report:?}");
            assert!(!events.contains("It said"), "{events}");
        }
        assert_eq!(self.results().await.len(), works);
        assert_eq!(
            self.place.pool.server.lines_with(&self.place.key),
            Vec::<String>::new()
        );
    }
}

/// The browser of `tests/parts/sign_in` with the key of a place.
fn with_browser(command: &mut Command, place: &Place) {
    command
        .env("BROWSER", root().join("tests/parts/sign_in/browser"))
        .env("LLAMAPOOL_KEY", &place.key);
}

#[tokio::test]
async fn codex_signs_in_and_works_a_task() {
    let setup = Setup::start().await;
    let codex = Agent::codex_without_key(&setup.place.pool.url, "agent", ID);

    let mut login = codex.command(&["mcp", "login", ID]);
    with_browser(&mut login, &setup.place);
    let mut login = Process::start(login);
    let said = login
        .line("it has signed in", |line| line.contains("logged in"))
        .await;
    assert!(said.contains("Successfully"), "{said}");
    assert!(login.ended().await.success());

    setup.lives_through(&codex).await;
}

/// It opens a browser only where there is a desktop, and prints the address.
#[tokio::test]
async fn opencode_signs_in_and_works_a_task() {
    let setup = Setup::start().await;
    let opencode = Agent::opencode_without_key(&setup.place.pool.url, "agent", ID);

    let mut login = Process::start(opencode.command(&["mcp", "auth", ID]));
    let line = login
        .line("the address", |line| line.contains("/oauth/authorize?"))
        .await;
    let address = line.split_whitespace().last().unwrap();
    let mut browser = Command::new(root().join("tests/parts/sign_in/browser"));
    browser
        .arg(address)
        .env_clear()
        .env("PATH", crate::parts::PATH);
    with_browser(&mut browser, &setup.place);
    assert!(Process::start(browser).ended().await.success());
    assert!(login.ended().await.success(), "{}", login.log());

    setup.lives_through(&opencode).await;
}
