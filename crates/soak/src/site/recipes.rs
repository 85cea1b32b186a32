//! The command lines and settings of every process of a site.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{API_KEY, Executables, WORKER_KEY};
use crate::clock::Clock;
use crate::edge::Edge;
use crate::fault::{EdgeName, Victim};
use crate::plant::Plant;
use crate::process::Recipe;

/// Settings of the tunnel at both ends: a lost peer is noticed within seconds.
const TUNNEL: [(&str, &str); 3] = [
    ("HEARTBEAT_INTERVAL", "1s"),
    ("SILENCE_LIMIT", "3s"),
    ("LOG_FORMAT", "text"),
];
/// Settings of the server. A call ends within [`crate::caller::WITHIN`] with them.
const SERVER: [(&str, &str); 7] = [
    ("BIND_ADDR", "127.0.0.1"),
    ("FIRST_BYTE_TIMEOUT", "8s"),
    ("CALL_TIMEOUT", "15s"),
    ("TAKEOVER_WAIT", "500ms"),
    ("DRAIN_TIMEOUT", "2s"),
    ("SESSION_GRACE", "60s"),
    ("THREADS", "2"),
];
/// Settings of the relays. Sessions that a caller lost end soon.
const RELAY: [(&str, &str); 12] = [
    ("STATUS_ADDR", "off"),
    // The history has what callers send, and nothing else.
    ("NO_PROBE", "true"),
    ("RECONNECT", "true"),
    ("RECONNECT_MIN", "100ms"),
    ("RECONNECT_MAX", "1s"),
    ("PROBE_INTERVAL", "1s"),
    ("DRAIN_TIMEOUT", "2s"),
    ("CONNECT_TIMEOUT", "2s"),
    ("MAX_SESSIONS", "256"),
    ("SESSION_IDLE_TIMEOUT", "30s"),
    ("PROVIDER_MAX_STARTS", "10000"),
    ("SHARED_SESSION", "true"),
];

/// Everything that recipes depend on.
pub(super) struct Plan<'a> {
    pub(super) executables: &'a Executables,
    pub(super) folder: &'a Path,
    pub(super) plant: Plant,
    pub(super) server_port: u16,
    pub(super) provider_port: u16,
    pub(super) edges: &'a HashMap<EdgeName, Edge>,
    pub(super) clocks: &'a HashMap<Victim, Clock>,
}

/// Returns the path of the journal of a site.
pub(super) fn journal(folder: &Path) -> PathBuf {
    folder.join("journal")
}

impl Plan<'_> {
    /// Returns the recipe of every process.
    pub(super) fn recipes(&self) -> anyhow::Result<HashMap<Victim, Recipe>> {
        let mut recipes = HashMap::new();
        for victim in Victim::ALL {
            let recipe = match victim {
                Victim::Server => self.server(),
                Victim::Provider => self.provider(),
                Victim::RelayPrograms => self.relay_of_programs()?,
                Victim::RelayPlain => self.relay(victim, "plain"),
                Victim::RelaySharedFirst | Victim::RelaySharedSecond => {
                    self.relay(victim, "shared")
                }
            };
            recipes.insert(victim, recipe);
        }
        Ok(recipes)
    }

    fn server(&self) -> Recipe {
        let port = self.server_port.to_string();
        let data = self.folder.join("data").display().to_string();
        let keys = [
            ("DATA_DIR", &*data),
            ("PORT", &*port),
            ("API_KEY", API_KEY),
            ("WORKER_KEY", WORKER_KEY),
        ];
        self.llamapool(Victim::Server, &["server"], &[&TUNNEL, &SERVER, &keys])
    }

    fn provider(&self) -> Recipe {
        let port = self.provider_port.to_string();
        let journal = self.journal();
        let arguments = ["provider", &port, &journal, self.plant.word()];
        Recipe {
            program: self.executables.peer.clone(),
            arguments: arguments.map(str::to_owned).into(),
            environment: self.clock_of(Victim::Provider),
            log: self.log_of(Victim::Provider),
        }
    }

    fn relay(&self, victim: Victim, id: &str) -> Recipe {
        let server = self.server_url(victim);
        let provider = format!(
            "http://127.0.0.1:{}/mcp",
            self.edges[&EdgeName::ToProvider(victim)].port
        );
        let own = [
            ("SERVER_URL", &*server),
            ("WORKER_KEY", WORKER_KEY),
            ("WORKER_NAME", victim.name()),
            ("CLIENT_SECRET", "soak-secret"),
            ("CLIENT_ID", id),
            ("PROVIDER_URL", &*provider),
        ];
        self.llamapool(victim, &["mcp"], &[&TUNNEL, &RELAY, &own])
    }

    fn relay_of_programs(&self) -> anyhow::Result<Recipe> {
        let victim = Victim::RelayPrograms;
        let peer = self.executables.peer.display().to_string();
        let journal = self.journal();
        let table = |id: &str| {
            let command = [&*peer, "program", id, &*journal, self.plant.word()];
            // A list of strings in TOML is written as in JSON.
            format!(
                "[[provider]]\nid = \"{id}\"\ncommand = {}\n",
                json!(command)
            )
        };
        let file = self.folder.join("programs.toml");
        std::fs::write(&file, table("stdio") + &table("modern"))?;

        let server = self.server_url(victim);
        let file = file.display().to_string();
        let own = [
            ("SERVER_URL", &*server),
            ("WORKER_KEY", WORKER_KEY),
            ("WORKER_NAME", victim.name()),
            ("CONFIG_FILE", &*file),
        ];
        Ok(self.llamapool(victim, &["mcp"], &[&TUNNEL, &RELAY, &own]))
    }

    fn llamapool(
        &self,
        victim: Victim,
        arguments: &[&str],
        settings: &[&[(&str, &str)]],
    ) -> Recipe {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut environment: Vec<_> = settings.concat().iter().map(owned).collect();
        environment.extend(self.clock_of(victim));
        Recipe {
            program: self.executables.llamapool.clone(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            environment,
            log: self.log_of(victim),
        }
    }

    fn server_url(&self, victim: Victim) -> String {
        let port = self.edges[&EdgeName::ToServer(victim)].port;
        format!("ws://127.0.0.1:{port}/api/mcp/connect")
    }

    fn clock_of(&self, victim: Victim) -> Vec<(String, String)> {
        let clock = self.clocks.get(&victim);
        clock.map(Clock::environment).unwrap_or_default()
    }

    fn log_of(&self, victim: Victim) -> PathBuf {
        self.folder.join(format!("{}.log", victim.name()))
    }

    fn journal(&self) -> String {
        journal(self.folder).display().to_string()
    }
}
