//! Everything that a run consists of besides its callers: a server, workers, runtimes, and the proxies
//! between them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::fault::{Link, Part, WORKERS};
use crate::edge::Edge;
use crate::process::{LogDisk, Process, Recipe};
use crate::site::{Executables, free_port};

/// The key of the API of the server under test.
pub(super) const API_KEY: &str = "soak-api-key";
/// The key that admits the workers under test.
const WORKER_KEY: &str = "soak-worker-key";
/// The longest wait until everything is connected.
const UNTIL_CONNECTED: Duration = Duration::from_secs(60);
/// The pause between two looks at the state.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Settings of the tunnel at both ends: a lost peer is noticed within seconds.
const TUNNEL: [(&str, &str); 2] = [("HEARTBEAT_INTERVAL", "1s"), ("SILENCE_LIMIT", "3s")];
/// Settings of the server. A call ends within the time of the checker with them, and its log has every
/// attempt that failed.
const SERVER: [(&str, &str); 9] = [
    ("BIND_ADDR", "127.0.0.1"),
    ("CALL_TIMEOUT", "20s"),
    ("LLM_FIRST_TOKEN_TIMEOUT", "8s"),
    ("LLM_TOKEN_IDLE", "6s"),
    ("DRAIN_TIMEOUT", "2s"),
    ("THREADS", "2"),
    ("LOG_FORMAT", "json"),
    ("LOG_LEVEL", "debug"),
    ("LOG_BURST", "0"),
];
/// Settings of the workers.
const WORKER: [(&str, &str); 9] = [
    ("STATUS_ADDR", "off"),
    ("RECONNECT", "true"),
    ("RECONNECT_MIN", "100ms"),
    ("RECONNECT_MAX", "1s"),
    ("PROBE_INTERVAL", "1s"),
    ("CONNECT_TIMEOUT", "2s"),
    ("DRAIN_TIMEOUT", "1s"),
    ("API_STYLE", "openai"),
    ("MAX_CONCURRENCY", "4"),
];

/// The running site. Dropping it kills all its processes.
pub(super) struct LlmSite {
    folder: PathBuf,
    /// The URL of the server.
    pub(super) url: String,
    links: HashMap<Link, Edge>,
    recipes: HashMap<Part, Recipe>,
    parts: HashMap<Part, Mutex<Option<Process>>>,
    server: Process,
    pub(super) http: reqwest::Client,
}

impl LlmSite {
    /// Starts all parts and waits until they are connected.
    pub(super) async fn start(executables: &Executables, folder: &Path) -> anyhow::Result<Self> {
        let server_port = free_port()?;
        let mut links = HashMap::new();
        let mut recipes = HashMap::new();
        for pair in 0..WORKERS {
            let port = free_port()?;
            let to_server = Edge::to(server_port).await?;
            let to_runtime = Edge::to(port).await?;
            let worker = worker(executables, folder, pair, &to_server, &to_runtime);
            recipes.insert(Part::Worker(pair), worker);
            recipes.insert(
                Part::Runtime(pair),
                runtime(executables, folder, pair, port),
            );
            links.insert(Link::ToServer(pair), to_server);
            links.insert(Link::ToRuntime(pair), to_runtime);
        }
        let port = server_port.to_string();
        let own = [
            ("PORT", &*port),
            ("API_KEY", API_KEY),
            ("WORKER_KEY", WORKER_KEY),
        ];
        let server = Recipe {
            program: executables.llamapool.clone(),
            arguments: vec!["server".to_owned()],
            environment: owned(&[&TUNNEL, &SERVER, &own]),
            log: server_log(folder),
        };
        let mut parts = HashMap::new();
        for (part, recipe) in &recipes {
            let process = Process::start(recipe, LogDisk::Free)?;
            parts.insert(*part, Mutex::new(Some(process)));
        }
        let site = Self {
            folder: folder.to_owned(),
            url: format!("http://127.0.0.1:{server_port}"),
            links,
            recipes,
            parts,
            server: Process::start(&server, LogDisk::Free)?,
            http: reqwest::Client::builder().no_proxy().build()?,
        };
        let unsettled = site.until_settled(UNTIL_CONNECTED).await;
        let logs = site.folder.display();
        ensure!(unsettled.is_empty(), "{unsettled:?}; logs are in {logs}");
        Ok(site)
    }

    /// Returns the path of the journal that all runtimes write.
    pub(super) fn journal(&self) -> PathBuf {
        journal(&self.folder)
    }

    /// Returns a proxy.
    pub(super) fn link(&self, link: Link) -> &Edge {
        &self.links[&link]
    }

    /// Passes all bytes on from now on.
    pub(super) fn heal(&self) {
        self.links.values().for_each(Edge::heal);
    }

    /// Returns the place of a process, held for as long as a fault meets it; `None` while another fault
    /// does.
    pub(super) fn free_part(&self, part: Part) -> Option<MutexGuard<'_, Option<Process>>> {
        self.parts[&part].try_lock().ok()
    }

    /// Starts a process that is down.
    pub(super) fn launch(&self, part: Part, slot: &mut Option<Process>) -> anyhow::Result<()> {
        *slot = Some(Process::start(&self.recipes[&part], LogDisk::Free)?);
        Ok(())
    }

    /// Starts runtimes again that have crashed as their scripts demand, for ever.
    pub(super) async fn revive(&self) {
        loop {
            for pair in 0..WORKERS {
                let part = Part::Runtime(pair);
                let Some(mut slot) = self.free_part(part) else {
                    continue;
                };
                let has_ended = slot.as_mut().is_some_and(|it| it.exited().is_some());
                if has_ended && self.launch(part, &mut slot).is_err() {
                    *slot = None;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until nothing runs or waits and all workers are there. Returns what is not so in the end.
    pub(super) async fn until_settled(&self, longest: Duration) -> Vec<String> {
        let settled = async {
            while !self.unsettled().await.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(longest, settled).await;
        self.unsettled().await
    }

    async fn unsettled(&self) -> Vec<String> {
        let Some(state) = self.state().await else {
            return vec!["the state is not answered".to_owned()];
        };
        let workers = state["workers"].as_array().map_or(&[][..], Vec::as_slice);
        let is_idle = |worker: &&Value| {
            worker["status"] == "idle"
                && worker["inflight"] == 0
                && worker["abandoned"] == 0
                && worker["models_supported"]
                    .as_array()
                    .is_some_and(|it| !it.is_empty())
        };
        let idle = workers.iter().filter(is_idle).count();
        let waiting = &state["server"]["scheduler_queue_len"];
        let mut unsettled = Vec::new();
        if idle != WORKERS || workers.len() != WORKERS {
            unsettled.push(format!("{idle} workers of {WORKERS} are idle: {workers:?}"));
        }
        if *waiting != 0 {
            unsettled.push(format!("{waiting} calls wait"));
        }
        unsettled
    }

    async fn state(&self) -> Option<Value> {
        let request = self.http.get(format!("{}/api/state", self.url));
        let request = request.bearer_auth(API_KEY).timeout(Duration::from_secs(2));
        request.send().await.ok()?.json().await.ok()
    }

    /// Returns the request ids of all attempts that failed, as the server logged them.
    pub(super) fn failed_attempts(&self) -> anyhow::Result<Vec<String>> {
        let log = server_log(&self.folder);
        let log = std::fs::read_to_string(&log).context("the server's log")?;
        let failed = log.lines().filter_map(|line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let is_it = event["message"] == "an attempt failed";
            is_it.then(|| event["req_id"].as_str().map(str::to_owned))?
        });
        Ok(failed.collect())
    }

    /// Returns whether the server runs.
    pub(super) fn server_runs(&mut self) -> bool {
        self.server.exited().is_none()
    }
}

fn worker(
    executables: &Executables,
    folder: &Path,
    pair: usize,
    to_server: &Edge,
    to_runtime: &Edge,
) -> Recipe {
    let server = format!("ws://127.0.0.1:{}", to_server.port);
    let runtime = format!("http://127.0.0.1:{}", to_runtime.port);
    let name = format!("w{pair}");
    let own = [
        ("SERVER_URL", &*server),
        ("WORKER_KEY", WORKER_KEY),
        ("WORKER_NAME", &*name),
        ("COMPLETION_BASE_URL", &*runtime),
    ];
    Recipe {
        program: executables.llamapool.clone(),
        arguments: vec!["worker".to_owned()],
        environment: owned(&[&TUNNEL, &WORKER, &own]),
        log: folder.join(format!("{name}.log")),
    }
}

fn runtime(executables: &Executables, folder: &Path, pair: usize, port: u16) -> Recipe {
    let journal = journal(folder).display().to_string();
    let name = runtime_name(pair);
    Recipe {
        program: executables.peer.clone(),
        arguments: ["runtime", &name, &port.to_string(), &journal]
            .map(str::to_owned)
            .into(),
        environment: Vec::new(),
        log: folder.join(format!("{name}.log")),
    }
}

/// Returns the name of the runtime of a pair.
pub(super) fn runtime_name(pair: usize) -> String {
    format!("r{pair}")
}

fn journal(folder: &Path) -> PathBuf {
    folder.join("attempts")
}

fn server_log(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

fn owned(settings: &[&[(&str, &str)]]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    settings.concat().iter().map(owned).collect()
}
