//! Everything that a run consists of besides its callers: server, relays, providers, and the proxies
//! between them.
//!
//! The ids are `plain` (an HTTP provider behind one relay), `shared` (the same provider behind two
//! relays with one secret), `stdio` and `modern` (programs with and without sessions behind one
//! relay, callers without a session share one program).

mod recipes;

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::RngExt;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use crate::clock::Clock;
use crate::edge::Edge;
use crate::fault::{EdgeName, Victim};
use crate::history::{IdState, IdTruth};
use crate::plant::Plant;
use crate::process::{LogDisk, Process, Recipe};

/// The ports that are tried. Below the range from which the kernel takes ports for connections: one
/// of those could take the port of a server that is down.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// The longest wait until everything is connected at the start.
const UNTIL_CONNECTED: Duration = Duration::from_secs(60);
/// The pause between two looks at the state.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The key of the state API of the server under test.
const API_KEY: &str = "soak-api-key";
/// The key that admits the relays under test.
const WORKER_KEY: &str = "soak-worker-key";

/// The programs that a site is made of.
#[derive(Debug, Clone)]
pub(crate) struct Executables {
    /// The executable `llamapool`.
    pub(crate) llamapool: PathBuf,
    /// This executable, which is also provider and program.
    pub(crate) peer: PathBuf,
}

/// A process that may be down at the moment.
pub(crate) struct Slot {
    pub(crate) process: Option<Process>,
    /// Counts its starts.
    pub(crate) instance: u32,
}

/// The running site. Dropping it kills all its processes.
pub(crate) struct Site {
    /// The folder of journals, logs and settings.
    pub(crate) folder: PathBuf,
    server_port: u16,
    edges: HashMap<EdgeName, Edge>,
    slots: HashMap<Victim, Mutex<Slot>>,
    recipes: HashMap<Victim, Recipe>,
    clocks: HashMap<Victim, Clock>,
    http: reqwest::Client,
}

impl Site {
    /// Starts all parts and waits until they are connected.
    pub(crate) async fn start(
        executables: &Executables,
        folder: &Path,
        plant: Plant,
    ) -> anyhow::Result<Self> {
        let server_port = free_port()?;
        let provider_port = free_port()?;
        let mut edges = HashMap::new();
        for name in EdgeName::ALL {
            let target = match name {
                EdgeName::Callers | EdgeName::ToServer(_) => server_port,
                EdgeName::ToProvider(_) => provider_port,
            };
            edges.insert(name, Edge::to(target).await?);
        }

        let mut clocks = HashMap::new();
        for victim in Victim::ALL {
            let file = folder.join(format!("{}.clock", victim.name()));
            clocks.extend(Clock::in_file(file).map(|clock| (victim, clock)));
        }
        let plan = recipes::Plan {
            executables,
            folder,
            plant,
            server_port,
            provider_port,
            edges: &edges,
            clocks: &clocks,
        };
        let recipes = plan.recipes()?;
        let empty = |_| Slot {
            process: None,
            instance: 0,
        };
        let slots = Victim::ALL.map(|victim| (victim, Mutex::new(empty(victim))));
        let site = Self {
            folder: folder.to_owned(),
            server_port,
            edges,
            slots: slots.into(),
            recipes,
            clocks,
            http: reqwest::Client::builder().no_proxy().build()?,
        };

        for victim in Victim::ALL {
            let mut slot = site.slot(victim).await;
            site.launch(victim, &mut slot, LogDisk::Free)?;
        }
        site.until_connected().await?;
        Ok(site)
    }

    /// Returns the path of the journal that all providers write.
    pub(crate) fn journal(&self) -> PathBuf {
        recipes::journal(&self.folder)
    }

    /// Returns the port at which callers reach the server.
    pub(crate) fn callers_port(&self) -> u16 {
        self.edge(EdgeName::Callers).port
    }

    /// Returns a port that leads to the server without a proxy.
    pub(crate) fn server_port(&self) -> u16 {
        self.server_port
    }

    pub(crate) fn edge(&self, name: EdgeName) -> &Edge {
        &self.edges[&name]
    }

    /// Returns the clock of a process, if it can be set.
    pub(crate) fn clock(&self, victim: Victim) -> Option<&Clock> {
        self.clocks.get(&victim)
    }

    /// Returns the place of a process, held for as long as a fault meets it; `None` while another
    /// fault does.
    pub(crate) fn free_slot(&self, victim: Victim) -> Option<MutexGuard<'_, Slot>> {
        self.slots[&victim].try_lock().ok()
    }

    /// Waits for the place of a process.
    pub(crate) async fn slot(&self, victim: Victim) -> MutexGuard<'_, Slot> {
        self.slots[&victim].lock().await
    }

    /// Starts a process that is down.
    pub(crate) fn launch(
        &self,
        victim: Victim,
        slot: &mut Slot,
        disk: LogDisk,
    ) -> anyhow::Result<()> {
        slot.process = Some(Process::start(&self.recipes[&victim], disk)?);
        slot.instance += 1;
        Ok(())
    }

    /// Returns the ids with the number of their relays, as they are once every fault is over.
    pub(crate) fn truth() -> Vec<IdTruth> {
        let relays = [("plain", 1), ("shared", 2), ("stdio", 1), ("modern", 1)];
        relays
            .map(|(id, relays)| IdTruth {
                id: id.to_owned(),
                relays,
            })
            .into()
    }

    /// Returns the ids as the server reports them; `None` without an answer.
    pub(crate) async fn state(&self) -> Option<Vec<IdState>> {
        let url = format!("http://127.0.0.1:{}/api/state", self.server_port);
        let request = self.http.get(url).bearer_auth(API_KEY);
        let answer = request.timeout(Duration::from_secs(2)).send().await.ok()?;
        let state: Value = answer.json().await.ok()?;

        let ids = state["mcp"]["clients"].as_array()?;
        Some(ids.iter().map(id_state).collect())
    }

    async fn until_connected(&self) -> anyhow::Result<()> {
        let connected = async {
            while !self.state().await.is_some_and(|ids| is_true(&ids)) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let waited = tokio::time::timeout(UNTIL_CONNECTED, connected).await;
        let state = self.state().await;
        ensure!(
            waited.is_ok(),
            "not all ids were connected within {UNTIL_CONNECTED:?}: {state:?}; logs are in {}",
            self.folder.display()
        );
        Ok(())
    }
}

/// Returns whether the reported ids are the true ones, at rest.
pub(crate) fn is_true(ids: &[IdState]) -> bool {
    let truth = Site::truth();
    let is_as_true = |truth: &IdTruth| {
        ids.iter().any(|state| {
            state.id == truth.id
                && state.relays == truth.relays
                && state.reachable == truth.relays
                && state.inflight == 0
        })
    };
    ids.len() == truth.len() && truth.iter().all(is_as_true)
}

fn id_state(client: &Value) -> IdState {
    let relays = client["relays"].as_array().map_or(&[][..], Vec::as_slice);
    let is_reachable = |relay: &&Value| relay["provider"]["status"] == "reachable";
    IdState {
        id: client["id"].as_str().unwrap_or_default().to_owned(),
        relays: relays.len(),
        reachable: relays.iter().filter(is_reachable).count(),
        inflight: client["inflight"].as_u64().unwrap_or_default(),
        calls_total: client["calls_total"].as_u64().unwrap_or_default(),
    }
}

/// Returns a port that no process listens on.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let mut rng = rand::rng();
    let mut tries = (0..1000).map(|_| rng.random_range(PORTS));
    tries
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port")
}
