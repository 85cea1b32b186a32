//! An MCP server that is a program: it is started once, by the code that starts it for a session, and
//! kept for the calls through the public URL.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderName;
use llamapool_bridge::{Bridge, BridgeCaller, BridgeConfig, BridgeEvents, StartGate};
use llamapool_relay::ProviderKind;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::metronome::{http_provider, local_url, serve};
use crate::doctor::answer::Answer;
use crate::doctor::call::{self, Caller};
use crate::doctor::check::{MCP_ANSWER, OUTPUT, PROGRAM, STARTED};
use crate::doctor::examination::Examination;
use crate::doctor::https::{Client, Way};
use crate::doctor::recorder::Recorder;

/// How long the program may take to end.
const END: Duration = Duration::from_secs(6);
/// How long the program may take to answer, once it has been initialized.
const ANSWERS: Duration = Duration::from_secs(30);
/// Where the program is served, on loopback.
const PATH: &str = "/mcp";
/// Modules of the bridge whose events are read.
const OUTPUT_LOG: &str = "bridge::invalid_lines";
const PROGRAM_LOG: &str = "bridge::program_log";
/// The most characters of a line of the program that are shown.
const MAX_LINE_CHARS: usize = 120;

/// A program that runs, with a session.
pub(super) struct TestedProgram {
    served: Arc<Served>,
    address: SocketAddr,
    /// The session that was begun.
    pub(super) session: Option<String>,
    /// How long a ping took that went straight to it.
    pub(super) ping: Option<Duration>,
    _serving: JoinSet<()>,
}

struct Served {
    bridge: Bridge,
    /// Why the last request failed, in words for the operator.
    failure: Mutex<Option<String>>,
}

/// The health of the program is seen by its answers.
struct NoEvents;

impl BridgeEvents for NoEvents {
    fn on_healthy(&self) {}

    fn on_unhealthy(&self, _: String) {}
}

impl TestedProgram {
    /// Starts the program, and makes the first calls. `None` if it cannot be called.
    pub(super) async fn start(
        config: &BridgeConfig,
        label: Option<&str>,
        recorder: &Recorder,
        examination: &mut Examination,
    ) -> Option<Self> {
        let word = config.command.first().map(|it| it.to_string_lossy());
        let found = format!("{} is found", word.unwrap_or_default());
        examination.add(PROGRAM.ok(found).of(label));

        let patience = config.starts.patience;
        let mut config = config.clone();
        // A program that ends is not started again.
        config.starts.max_per_minute = 1;
        let served = Arc::new(Served {
            bridge: Bridge::new(config, NoEvents, StartGate::new(None)),
            failure: Mutex::default(),
        });
        let routes = Router::new().fallback(answer).with_state(served.clone());
        let (address, serving) = serve(routes).await.ok()?;
        let mut program = Self {
            served,
            address,
            session: None,
            ping: None,
            _serving: serving,
        };
        let lines_before = recorder.values(OUTPUT_LOG, "error").len();
        let is_callable = program.call(patience, label, recorder, examination).await;
        let junk = recorder.values(OUTPUT_LOG, "error").len() - lines_before;
        let line = recorder.values(OUTPUT_LOG, "line").pop();
        let looked = match (junk, line) {
            (0, _) => OUTPUT.ok("standard output has messages alone"),
            (count, line) => {
                let counted = crate::doctor::report::counted(count, "line");
                let verb = if count == 1 {
                    "is no message"
                } else {
                    "are no messages"
                };
                let line = line.map(|line| format!(", such as {:?}", cut(&line)));
                OUTPUT.warn(
                    format!(
                        "{counted} on standard output {verb}{}",
                        line.unwrap_or_default()
                    ),
                    "What the program tells people belongs on standard error.",
                )
            }
        };
        examination.add(looked.of(label));
        if is_callable {
            return Some(program);
        }
        program.end().await;
        None
    }

    async fn call(
        &mut self,
        patience: Duration,
        label: Option<&str>,
        recorder: &Recorder,
        examination: &mut Examination,
    ) -> bool {
        let begun = Instant::now();
        let client = self.client(patience);
        let answer = call::initialize(&client, PATH, None, None).await;
        let took = begun.elapsed();
        let answer = match answer {
            Ok(answer) if answer.cause().is_none() => answer,
            failed => {
                let found = self.failure(failed, recorder);
                let remedy =
                    "Start it in a shell with the same words: it must wait for input, and stay.";
                let looked = STARTED.fail(found, remedy);
                return examination.add(looked.within(took).of(label));
            }
        };
        examination.add(STARTED.ok("started, and answers").within(took).of(label));
        self.session = answer
            .header(HeaderName::from_static("mcp-session-id"))
            .map(str::to_owned);

        let Some(result) = call::result_of(&answer) else {
            let found = format!("initialize has {}", answer.shown());
            let remedy = "A program for newer revisions alone answers so; clients of older ones cannot \
                          use it.";
            examination.add(MCP_ANSWER.warn(found, remedy).of(label));
            return false;
        };
        let described = described(&result);
        match self.tools(&client_of(&client, ANSWERS)).await {
            Ok(tools) => {
                let found = format!("{described}, {tools}");
                examination.add(MCP_ANSWER.ok(found).of(label))
            }
            Err(error) => {
                let found = format!("{described}; {error}");
                let remedy = "Its own log or standard error says why.";
                examination.add(MCP_ANSWER.fail(found, remedy).of(label))
            }
        }
    }

    /// Sends `ping` and `tools/list`. Returns how many tools there are.
    async fn tools(&mut self, client: &Client) -> Result<String, String> {
        let caller = Caller {
            session: self.session.as_deref(),
            ..Caller::default()
        };
        let tools = exchange(client, PATH, caller).await?;
        self.ping = Some(tools.ping);
        Ok(tools.shown)
    }

    /// Returns why the program does not answer, with its last words.
    fn failure(&self, failed: Result<Answer, String>, recorder: &Recorder) -> String {
        let own = self.served.failure.lock().take();
        let found = own.unwrap_or_else(|| match failed {
            Ok(answer) => answer.shown(),
            Err(error) => error,
        });
        let line = recorder.values(PROGRAM_LOG, "line").pop();
        let last_words = recorder.values(PROGRAM_LOG, "last_words").pop();
        match last_words.filter(|it| !it.is_empty()).or(line) {
            Some(line) if !found.contains(&line) => {
                format!("{found}; its last words: {:?}", cut(&line))
            }
            _ => found,
        }
    }

    /// Returns it as a provider for a relay.
    pub(super) fn as_provider(&self) -> ProviderKind {
        http_provider(local_url(self.address, PATH), ANSWERS)
    }

    /// Ends the program.
    pub(super) async fn end(self) {
        // Its guard goes on ending it.
        let _ = timeout(END, self.served.bridge.shutdown()).await;
    }

    fn client(&self, patience: Duration) -> Client {
        Client {
            way: Way::Direct {
                address: self.address,
                tls: None,
            },
            authority: self.address.to_string(),
            timeout: patience,
        }
    }
}

/// What `ping` and `tools/list` gave.
pub(super) struct Exchanged {
    /// The time of the ping.
    pub(super) ping: Duration,
    /// The number of tools, for people.
    pub(super) shown: String,
}

/// Sends `ping` and `tools/list` in a session.
///
/// # Errors
///
/// A text for people, if one is not answered.
pub(super) async fn exchange(
    client: &Client,
    path: &str,
    caller: Caller<'_>,
) -> Result<Exchanged, String> {
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    // Its answer has nothing to read; a server that refuses it refuses the next one, too.
    let _ = call::send(client, path, &initialized, caller).await;
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let begun = Instant::now();
    let answer = call::send(client, path, &ping, caller).await?;
    let took = begun.elapsed();
    if call::result_of(&answer).is_none() {
        return Err(format!("ping has {}", answer.shown()));
    }
    let list = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": {}});
    let answer = call::send(client, path, &list, caller).await?;
    // A server may have no tools at all.
    let shown = match call::result_of(&answer) {
        Some(result) => {
            let tools = result["tools"].as_array().map_or(0, Vec::len);
            let more = result["nextCursor"].as_str().map_or("", |_| " and more");
            format!("{}{more}", crate::doctor::report::counted(tools, "tool"))
        }
        None => "no tools".to_owned(),
    };
    Ok(Exchanged { ping: took, shown })
}

/// Returns the name and the revision in a result of `initialize`.
pub(super) fn described(result: &serde_json::Value) -> String {
    let server = &result["serverInfo"];
    let name = server["name"].as_str().unwrap_or("a server without a name");
    let version = server["version"].as_str().unwrap_or_default();
    let revision = result["protocolVersion"].as_str().unwrap_or("no revision");
    let named = format!("{name} {version}");
    format!("{}, MCP {revision}", named.trim_end())
}

fn client_of(client: &Client, patience: Duration) -> Client {
    Client {
        timeout: patience,
        ..client.clone()
    }
}

fn cut(line: &str) -> String {
    line.chars().take(MAX_LINE_CHARS).collect()
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    let answered = served
        .bridge
        .serve(request, BridgeCaller::of_tag(None))
        .await;
    match answered {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            *served.failure.lock() = Some(error.log_message());
            error.to_response::<String>("").map(Body::from)
        }
    }
}
