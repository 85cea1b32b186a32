//! The server as a whole: it builds the context of every door, starts and stops. The one file that
//! depends on all others.

use std::future::Future;
use std::hash::RandomState;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use llamapool_http::ListenerStreams;
use llamapool_http::listen::Listener;
use llamapool_limits::MemoryBudget;
use llamapool_mcp::MethodLabel;
use llamapool_tunnel::CloseReason;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use llamapool_wire::Secret;

use crate::auth::{AccessControl, Auth, AuthConfig, Keys, OriginPolicy};
use crate::calls::CallMetrics;
use crate::config::ServerConfig;
use crate::data_dir::ServerData;
use crate::directory::Directory;
use crate::doors::connect::ConnectDoor;
use crate::doors::health::HealthApi;
use crate::doors::llm::{LlmDoor, SharedBounds, StoredResponses};
use crate::doors::mcp::{McpDoor, SessionSeal, mcp_metrics};
use crate::doors::metrics::MetricsApi;
use crate::doors::state::{StateApi, StateSources};
use crate::doors::well_known::WellKnownDoor;
use crate::listen::PublicUrl;
use crate::metrics::Metrics;
use crate::pool::{GenAi, LlmMetrics, WorkerPool};
use crate::relays::{HolderRecords, Registry};
use crate::routes::{PublicDoors, Routes};
use crate::scheduler::DrainGate;

/// The time for closing tunnels and connections once all calls are over.
const FAREWELL: Duration = Duration::from_secs(2);

/// The time of a drain after which it is logged what it waits for, and the interval after that.
const FIRST_DRAIN_REPORT: Duration = Duration::from_secs(2);
const DRAIN_REPORTS: Duration = Duration::from_secs(30);

/// A server that has its addresses and waits to run.
pub struct Server {
    config: ServerConfig,
    data: ServerData,
    records: HolderRecords,
    public: Listener,
    metrics: Option<Listener>,
}

/// The parts that several doors share.
struct SharedParts {
    auth: Arc<Auth>,
    public_url: PublicUrl,
    directory: Directory,
    registry: Registry,
    /// The workers and the calls that wait for them.
    pool: WorkerPool,
    started: SystemTime,
    memory: MemoryBudget,
    /// Every call passes it; closing it is draining.
    gate: Arc<DrainGate>,
    counters: Metrics,
    calls: CallMetrics<MethodLabel>,
    /// Seals the session ids of shared ids.
    session_key: Secret,
    /// Owns the tasks of the tunnels.
    tunnels: TaskTracker,
    /// The streams of callers that only listen.
    listeners: ListenerStreams,
    /// Ends every stream that has no end of its own, when the calls are over.
    farewell: CancellationToken,
}

impl Server {
    /// Takes the addresses. From here on connections queue up; [`Server::run`] answers them.
    pub async fn bind(config: ServerConfig) -> io::Result<Self> {
        let data = ServerData::open(&config.data_dir, &config.auth.keys)?;
        let records = HolderRecords::open(&data, config.relays.keep_ids)?;
        let head_bytes = config.relays.tunnel.max_header_bytes;
        let public = config.listen.listen(head_bytes)?;
        let metrics = config.listen.listen_for_metrics()?;
        Ok(Self {
            config,
            data,
            records,
            public,
            metrics,
        })
    }

    /// Returns the address that callers and relays connect to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.public.address()
    }

    /// Returns the address of `/metrics`, if it has one of its own.
    pub fn metrics_address(&self) -> io::Result<Option<SocketAddr>> {
        self.metrics.as_ref().map(Listener::address).transpose()
    }

    /// Serves until `stop` resolves, then drains: nothing new is taken, and calls that run may end
    /// until the drain timeout. Dropping the future ends the listeners and all connections; a
    /// tunnel then ends with its relay or with the runtime.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            config,
            data,
            records,
            public,
            metrics,
        } = self;
        let shared = SharedParts::new(&config, data.key, records);
        let farewell = shared.farewell.clone();

        let mut keepers = JoinSet::new();
        let registry = shared.registry.clone();
        keepers.spawn(async move { registry.keep_records().await });
        let pool = shared.pool.clone();
        keepers.spawn(async move { pool.keep_time().await });

        let mut listeners = JoinSet::new();
        let routes = shared.public_routes(&config);
        listeners.spawn(public.serve(routes, farewell.clone()));
        if let Some(listener) = metrics {
            let routes = shared.metrics_routes(&config);
            listeners.spawn(listener.serve(routes, farewell.clone()));
        }

        stop.await;
        shared.drain(config.drain_timeout).await;
        shared.registry.close_all(CloseReason::GoingAway);
        farewell.cancel();

        let all_ended = async {
            while listeners.join_next().await.is_some() {}
            shared.tunnels.close();
            shared.tunnels.wait().await;
        };
        if tokio::time::timeout(FAREWELL, all_ended).await.is_err() {
            tracing::debug!("connections were still open at the end");
        }
        keepers.shutdown().await;
        shared.registry.write_records().await;
    }
}

impl SharedParts {
    fn new(config: &ServerConfig, own_key: Secret, records: HolderRecords) -> Self {
        let policy = OriginPolicy::new(
            &config.auth,
            config.listen.public_url.as_ref(),
            config.listen.bind.ip(),
        );
        let directory = Directory::new(config.mcp.max_calls_per_id);
        let counters = Metrics::new();
        let pool = worker_pool(config, &counters);
        let public_url = PublicUrl::new(config.listen.public_url.clone(), config.listen.trust());
        Self {
            auth: Arc::new(Auth::new(&config.auth.keys, policy, public_url.clone())),
            public_url,
            memory: MemoryBudget::new(config.max_memory),
            registry: Registry::new(
                directory.clone(),
                config.relays.max_relays,
                records,
                counters.clone(),
            ),
            pool,
            started: SystemTime::now(),
            session_key: config.auth.keys.session.clone().unwrap_or(own_key),
            directory,
            gate: Arc::default(),
            calls: mcp_metrics(&counters),
            counters,
            tunnels: TaskTracker::new(),
            listeners: ListenerStreams::new(),
            farewell: CancellationToken::new(),
        }
    }

    /// Takes nothing new, and waits for the calls that run.
    async fn drain(&self, patience: Duration) {
        self.gate.close();
        tracing::info!(calls = self.gate.running(), ?patience, "draining");

        let ending_listeners = async {
            self.listeners.end_when_idle(|| self.gate.running()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // Biased towards the end, after which there is nothing to report.
            biased;
            () = self.gate.empty() => {}
            () = tokio::time::sleep(patience) => tracing::warn!(
                calls = self.gate.running(),
                "drain timeout: ending what still runs"
            ),
            () = self.report_waiting() => {}
            () = ending_listeners => {}
        }
    }

    /// Logs what a drain waits for. Never returns.
    async fn report_waiting(&self) {
        let mut pause = FIRST_DRAIN_REPORT;
        loop {
            tokio::time::sleep(pause).await;
            pause = DRAIN_REPORTS;

            let stats = self.directory.all_stats();
            let calls = stats
                .iter()
                .flat_map(|(id, stats)| stats.active().into_iter().map(move |call| (id, call)));
            let Some((id, call)) = calls.min_by_key(|(_, call)| call.started) else {
                continue;
            };
            tracing::info!(
                calls = self.gate.running(),
                event_streams = self.listeners.open(),
                oldest = %id,
                method = call.label().as_str(),
                runs_for = ?call.duration(),
                "waiting for running calls; a second signal ends them"
            );
        }
    }

    fn public_routes(&self, config: &ServerConfig) -> Routes {
        let mcp = Arc::new(self.mcp_door(config));
        let metrics_are_here = config.listen.metrics_bind.is_none();
        let doors = PublicDoors {
            well_known: Arc::new(WellKnownDoor {
                auth: self.auth.clone(),
                public_url: self.public_url.clone(),
                mcp: mcp.clone(),
            }),
            mcp,
            llm: Arc::new(self.llm_door(config)),
            connect: Arc::new(self.connect_door(config)),
            state: Arc::new(self.state_api(config)),
            health: self.health_api(),
            listeners: self.listeners.clone(),
            metrics: metrics_are_here.then(|| self.metrics_api(self.access(), config)),
        };
        Routes::public(doors, self.auth.clone(), self.counters.clone())
    }

    /// On a port of their own the metrics need no key, and are asked for by another name than the
    /// public one.
    fn metrics_routes(&self, config: &ServerConfig) -> Routes {
        let ip = config.listen.bind.ip();
        let policy = OriginPolicy::new(&AuthConfig::default(), None, ip);
        let access = AccessControl {
            auth: Arc::new(Auth::new(&Keys::default(), policy, self.public_url.clone())),
            metrics: self.counters.clone(),
        };
        Routes::metrics(
            self.metrics_api(access, config),
            self.health_api(),
            self.counters.clone(),
        )
    }

    fn mcp_door(&self, config: &ServerConfig) -> McpDoor {
        McpDoor {
            auth: self.auth.clone(),
            directory: self.directory.clone(),
            registry: self.registry.clone(),
            gate: self.gate.clone(),
            seal: SessionSeal::new(&self.session_key),
            public_url: self.public_url.clone(),
            memory: self.memory.clone(),
            metrics: self.calls.clone(),
            forwarder: config.mcp.forwarder(),
            config: config.mcp.clone(),
        }
    }

    fn llm_door(&self, config: &ServerConfig) -> LlmDoor {
        LlmDoor {
            auth: self.auth.clone(),
            pool: self.pool.clone(),
            gate: self.gate.clone(),
            memory: self.memory.clone(),
            responses: StoredResponses::new(config.llm.remembered_responses),
            config: config.llm.clone(),
            bounds: SharedBounds {
                max_request_bytes: config.mcp.max_request_bytes,
                max_answer_bytes: config.mcp.max_answer_bytes,
                call_timeout: config.mcp.call_timeout,
                stream_keepalive: config.mcp.stream_keepalive,
            },
            hasher: RandomState::new(),
            started: self.started,
        }
    }

    fn connect_door(&self, config: &ServerConfig) -> ConnectDoor {
        let send_timeout = config.listen.send_timeout;
        let mut relays = config.relays.clone();
        relays.tunnel.reader_patience = (!send_timeout.is_zero()).then_some(send_timeout);
        ConnectDoor {
            auth: self.auth.clone(),
            registry: self.registry.clone(),
            pool: self.pool.clone(),
            gate: self.gate.clone(),
            metrics: self.counters.clone(),
            config: relays,
            version: config.build.version,
            tunnels: self.tunnels.clone(),
        }
    }

    fn state_api(&self, config: &ServerConfig) -> StateApi {
        let sources = StateSources {
            directory: self.directory.clone(),
            calls: self.calls.clone(),
            pool: self.pool.clone(),
            gate: self.gate.clone(),
            memory: self.memory.clone(),
            started: self.started,
            build: config.build,
        };
        StateApi::new(self.access(), sources, &config.state, self.farewell.clone())
    }

    fn health_api(&self) -> Arc<HealthApi> {
        Arc::new(HealthApi {
            access: self.access(),
            gate: self.gate.clone(),
        })
    }

    fn metrics_api(&self, access: AccessControl, config: &ServerConfig) -> Arc<MetricsApi> {
        Arc::new(MetricsApi {
            access,
            metrics: self.counters.clone(),
            directory: self.directory.clone(),
            pool: self.pool.clone(),
            memory: self.memory.clone(),
            build: config.build,
        })
    }

    fn access(&self) -> AccessControl {
        AccessControl {
            auth: self.auth.clone(),
            metrics: self.counters.clone(),
        }
    }
}

/// Returns the pool of workers, with the keys of the LLM API.
fn worker_pool(config: &ServerConfig, counters: &Metrics) -> WorkerPool {
    let settings = config.llm.pool_settings(&config.auth.keys, rand::random());
    let names = settings.keys.iter().map(|(key, _)| key.name.clone());
    let gen_ai = if config.llm.gen_ai_metrics {
        GenAi::On
    } else {
        GenAi::Off
    };
    let metrics = LlmMetrics::new(counters, names.collect(), gen_ai);
    WorkerPool::new(settings, metrics)
}
