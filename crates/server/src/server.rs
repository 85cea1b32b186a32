//! The server as a whole: it builds the context of every door, starts and stops. The one file that
//! depends on all others.

mod ending;
mod last_writer;
mod load;
mod operation;

use std::future::Future;
use std::hash::RandomState;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use llamapool_certificates::Certificates;
use llamapool_http::ListenerStreams;
use llamapool_http::listen::{ConnectionThreads, Listener};
use llamapool_identity::{AccessMode, AdminRight, Approver, Day, Key, LoginCode, Records, Store};
use llamapool_limits::MemoryBudget;
use llamapool_mcp::MethodLabel;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use llamapool_wire::Secret;

use self::last_writer::LastWriter;
pub use self::load::ServerLoad;

use crate::audit::{Audit, AuditCalls, AuditKeeper};
use crate::auth::{AccessControl, Auth, LlmAccess, OriginPolicy};
use crate::calls::CallMetrics;
use crate::config::ServerConfig;
use crate::data_dir::ServerData;
use crate::directory::Directory;
use crate::doors::connect::ConnectDoor;
use crate::doors::health::HealthApi;
use crate::doors::llm::{LlmDoor, SharedBounds, StoredResponses};
use crate::doors::mcp::{McpDoor, SessionSeal, mcp_metrics};
use crate::doors::metrics::MetricsApi;
use crate::doors::oauth::OAuthDoor;
use crate::doors::state::{StateApi, StateSources};
use crate::doors::well_known::WellKnownDoor;
use crate::identity::{
    AccessReload, Identity, IdentityKeeper, KeyMeters, Replacements, StoreWriter,
};
use crate::listen::{AdminListen, PublicUrl};
use crate::metrics::Metrics;
use crate::pool::{GenAi, LlmMetrics, WorkerPool};
use crate::relays::{HolderRecords, Registry};
use crate::routes::{PublicDoors, Routes};
use crate::scheduler::DrainGate;
use crate::sign_in::SignIn;
use crate::tls::{
    CertificateKeeper, CertificateReload, OpenedTls, PlainPort, StrictTransport, TlsTransport,
};

/// A server that has its addresses and waits to run.
pub struct Server {
    config: ServerConfig,
    data: ServerData,
    records: HolderRecords,
    store: Option<Store>,
    identity: Identity,
    sign_in: Option<Arc<SignIn>>,
    audit: Audit,
    audit_keeper: Option<AuditKeeper>,
    public: Listener,
    metrics: Option<Listener>,
    admin: Option<Listener>,
    tls: Option<OpenedTls>,
    plain: Option<Listener>,
    reload: CertificateReload,
    access_reload: AccessReload,
    replacements: Replacements,
    load: ServerLoad,
}

/// Who is known to the server.
struct Known {
    identity: Identity,
    sign_in: Option<Arc<SignIn>>,
    writer: StoreWriter,
    audit: Audit,
    /// Whether there is a store to write to.
    has_store: bool,
}

/// The parts that several doors share.
struct SharedParts {
    auth: Arc<Auth>,
    known: Known,
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
    /// The certificates; none without TLS.
    certificates: Certificates,
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
        let tls = config.listen.tls.as_ref();
        let tls = tls.map(|tls| OpenedTls::open(tls, &data)).transpose()?;
        let records = HolderRecords::open(&data, config.relays.keep_ids)?;
        let mut store = data.open_store()?;
        if let Some(store) = &mut store {
            store.set_actor("server");
        }
        let identity = identity(&config, store.as_ref())?;
        let (access_reload, replacements) = AccessReload::new(identity.clone());
        let (audit, audit_keeper) = Audit::open(&config.audit, &data)?;
        let sign_in = sign_in(&config, &data)?;
        let head_bytes = config.relays.tunnel.max_header_bytes;
        let public = config.listen.listen(head_bytes)?;
        let metrics = config.listen.listen_for_metrics()?;
        let admin = config.listen.listen_for_admin()?;
        let plain = config.listen.listen_for_plain_http()?;
        Ok(Self {
            config,
            data,
            records,
            store,
            identity,
            sign_in,
            audit,
            audit_keeper,
            public,
            metrics,
            admin,
            tls,
            plain,
            reload: CertificateReload::new(),
            access_reload,
            replacements,
            load: ServerLoad::default(),
        })
    }

    /// Has the connections of callers and relays served on these threads.
    #[must_use]
    pub fn on(mut self, threads: ConnectionThreads) -> Self {
        self.public = self.public.on(threads);
        self
    }

    /// Returns the address that callers and relays connect to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.public.address()
    }

    /// Returns the address of `/metrics`, if it has one of its own.
    pub fn metrics_address(&self) -> io::Result<Option<SocketAddr>> {
        self.metrics.as_ref().map(Listener::address).transpose()
    }

    /// Returns the address of the administration API, if it has one of its own.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(Listener::address).transpose()
    }

    /// Returns the address of plain HTTP beside TLS, if there is one.
    pub fn plain_address(&self) -> io::Result<Option<SocketAddr>> {
        self.plain.as_ref().map(Listener::address).transpose()
    }

    /// Returns the handle by which the certificate files are read again, `None` without TLS.
    pub fn certificate_reload(&self) -> Option<CertificateReload> {
        self.tls.as_ref().map(|_| self.reload.clone())
    }

    /// Returns the handle by which the keys and the access that the settings declare are replaced.
    pub fn access_reload(&self) -> AccessReload {
        self.access_reload.clone()
    }

    /// Returns the handle on how busy the server is.
    pub fn load(&self) -> ServerLoad {
        self.load.clone()
    }

    /// Returns what ids ask of their callers, the default for all others last.
    pub fn access(&self) -> Vec<(String, AccessMode)> {
        self.identity.modes()
    }

    /// Returns what the LLM API asks of its callers.
    pub fn llm_access(&self) -> LlmAccess {
        llm_access(&self.config)
    }

    /// Returns whether there is a caller key that opens the LLM API.
    pub fn has_llm_keys(&self) -> bool {
        self.identity.has_llm_keys()
    }

    /// Returns a one-time code for the owner, if sign-in is on and there is neither a caller key for an id nor a
    /// grant: the only way in, unless the operator creates a key.
    ///
    /// # Errors
    ///
    /// If the code cannot be stored.
    pub fn first_login_code(&mut self) -> io::Result<Option<LoginCode>> {
        let published = self.identity.published();
        let snapshot = &published.snapshot;
        // A key for LLMs alone allows no app to sign in.
        let mut callers = snapshot.keys().filter_map(|key| key.rights.caller());
        let has_key = callers.any(|rights| !rights.ids.is_empty());
        let is_used = has_key || snapshot.grants().next().is_some();
        let Some(store) = self
            .store
            .as_mut()
            .filter(|_| self.sign_in.is_some() && !is_used)
        else {
            return Ok(None);
        };
        let code = store.create_login_code(&Approver::Owner, SystemTime::now());
        code.map(Some).map_err(io::Error::other)
    }

    /// Serves until `stop` resolves, then drains: nothing new is taken, and calls that run may end
    /// until the drain timeout. Dropping the future ends the listeners and all connections; a
    /// tunnel then ends with its relay or with the runtime.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            config,
            data,
            records,
            store,
            identity,
            sign_in,
            audit,
            audit_keeper,
            public,
            metrics,
            admin,
            tls,
            plain,
            reload,
            replacements,
            access_reload: _,
            load,
        } = self;
        let has_store = store.is_some();
        let (identity_keeper, writer) =
            IdentityKeeper::new(identity.clone(), store, replacements, &audit);
        let known = Known {
            identity,
            sign_in,
            writer,
            audit: audit.clone(),
            has_store,
        };
        let mut shared = SharedParts::new(&config, known, data.key, records, load);
        if let Some(tls) = &tls {
            shared.certificates = tls.certificates.clone();
        }
        let tls_port = public
            .address()
            .map_or(config.listen.bind.port(), |it| it.port());
        let farewell = shared.farewell.clone();

        let mut keepers = JoinSet::new();
        let registry = shared.registry.clone();
        keepers.spawn(async move { registry.keep_records().await });
        let keys = LastWriter::start(|end| identity_keeper.run(end));
        let log = audit_keeper.map(|keeper| LastWriter::start(|end| keeper.run(end)));
        let pool = shared.pool.clone();
        keepers.spawn(async move { pool.keep_time().await });

        let mut listeners = JoinSet::new();
        let routes = shared.public_routes(&config);
        if let Some(mut tls) = tls {
            if let Some(acme) = tls.acme.take() {
                keepers.spawn(acme.run());
            }
            let transport = TlsTransport::new(&tls, &shared.counters);
            listeners.spawn(public.serve_over(transport, routes, farewell.clone()));
            keepers.spawn(CertificateKeeper::new(tls, reload, audit).run());
        } else {
            listeners.spawn(public.serve(routes, farewell.clone()));
        }
        if let Some(listener) = plain {
            let port = shared.plain_port(&config, tls_port);
            listeners.spawn(listener.serve(port, farewell.clone()));
        }
        shared.serve_operators(&config, [metrics, admin], &mut listeners);

        stop.await;
        shared.drain(config.drain_timeout).await;
        shared.close(listeners).await;
        keepers.shutdown().await;
        shared.registry.write_records().await;

        // After the calls, which have used something up to their end.
        keys.finish("what keys have used last").await;
        if let Some(log) = log {
            // After all others, which have something for it up to their end.
            log.finish("the last lines of the audit log").await;
        }
    }
}

impl SharedParts {
    fn new(
        config: &ServerConfig,
        known: Known,
        own_key: Secret,
        records: HolderRecords,
        load: ServerLoad,
    ) -> Self {
        let policy = OriginPolicy::new(
            &config.auth,
            config.listen.public_url.as_ref(),
            config.listen.bind.ip(),
        );
        let directory = Directory::new(config.mcp.max_calls_per_id);
        let counters = Metrics::new();
        let pool = worker_pool(config, &counters);
        config.llm.list_declared(&pool, &known.identity);
        let public_url = config.listen.public_url();
        let identity = known.identity.clone();
        let auth = Auth::new(&config.auth.keys, identity, policy, public_url.clone());
        let auth = auth.with_llm_access(llm_access(config));
        Self {
            auth: Arc::new(
                auth.with_sign_in(known.sign_in.clone())
                    .with_audit(known.audit.clone()),
            ),
            calls: mcp_metrics(&counters).with_audit(known.audit.of_calls(AuditCalls::All)),
            known,
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
            gate: load.gate,
            counters,
            certificates: Certificates::new(),
            tunnels: load.tunnels,
            listeners: load.listeners,
            farewell: CancellationToken::new(),
        }
    }

    fn public_routes(&self, config: &ServerConfig) -> Routes {
        let mcp = Arc::new(self.mcp_door(config));
        let metrics_are_here = config.listen.metrics_bind.is_none();
        let admin_is_here = config.listen.admin == AdminListen::WithCallers;
        let doors = PublicDoors {
            well_known: Arc::new(WellKnownDoor {
                auth: self.auth.clone(),
                public_url: self.public_url.clone(),
                mcp: mcp.clone(),
                sign_in: self.known.sign_in.clone(),
            }),
            oauth: self.known.sign_in.as_ref().map(|sign_in| {
                Arc::new(OAuthDoor {
                    auth: self.auth.clone(),
                    identity: self.known.identity.clone(),
                    writer: self.known.writer.clone(),
                    sign_in: sign_in.clone(),
                    memory: self.memory.clone(),
                    metrics: self.counters.clone(),
                    registrations: Mutex::default(),
                })
            }),
            mcp,
            llm: Arc::new(self.llm_door(config)),
            connect: Arc::new(self.connect_door(config)),
            state: Arc::new(self.state_api(config)),
            health: self.health_api(),
            listeners: self.listeners.clone(),
            admin: admin_is_here.then(|| self.admin_door(self.auth.clone())),
            metrics: metrics_are_here
                .then(|| self.metrics_api(self.access(AdminRight::Metrics), config)),
        };
        let public_url = config.listen.public_url.as_ref();
        let pins = StrictTransport::new(self.certificates.clone(), public_url);
        Routes::public(doors, self.auth.clone(), self.counters.clone()).pinned(pins)
    }

    /// Returns what answers on the plain port beside TLS.
    fn plain_port(&self, config: &ServerConfig, tls_port: u16) -> PlainPort {
        PlainPort::new(
            self.certificates.clone(),
            config.listen.public_url.clone(),
            tls_port,
            self.gate.clone(),
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
            policy_memory: MemoryBudget::new(config.mcp.policy_max_memory),
            metrics: self.calls.clone(),
            forwarder: config.mcp.forwarder(),
            has_own_pages: self.known.sign_in.is_some(),
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
            audit: self.known.audit.of_calls(AuditCalls::All),
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
            public_base: self.public_url.base(),
            tunnels: self.tunnels.clone(),
        }
    }

    fn state_api(&self, config: &ServerConfig) -> StateApi {
        let sources = StateSources {
            directory: self.directory.clone(),
            calls: self.calls.clone(),
            pool: self.pool.clone(),
            identity: self.known.identity.clone(),
            gate: self.gate.clone(),
            memory: self.memory.clone(),
            certificates: self.certificates.clone(),
            audit: self.known.audit.clone(),
            started: self.started,
            build: config.build,
        };
        StateApi::new(
            self.access(AdminRight::State),
            sources,
            &config.state,
            self.farewell.clone(),
        )
    }

    fn health_api(&self) -> Arc<HealthApi> {
        Arc::new(HealthApi {
            access: self.access(AdminRight::State),
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
            certificates: self.certificates.clone(),
            audit: self.known.audit.clone(),
            identity: self.known.identity.clone(),
            build: config.build,
        })
    }

    fn access(&self, right: AdminRight) -> AccessControl {
        AccessControl {
            auth: self.auth.clone(),
            metrics: self.counters.clone(),
            right,
        }
    }
}

/// Returns the own authorization server, if sign-in is on.
fn sign_in(config: &ServerConfig, data: &ServerData) -> io::Result<Option<Arc<SignIn>>> {
    let Some(settings) = config.sign_in.clone() else {
        return Ok(None);
    };
    if data.directory.is_none() {
        let error = "SIGN_IN needs DATA_DIR, where clients and grants are kept: set it";
        return Err(io::Error::other(error));
    }
    let public_url = config.listen.public_url.as_ref();
    let sign_in = SignIn::new(settings, public_url, &data.key).map_err(io::Error::other)?;
    Ok(Some(Arc::new(sign_in)))
}

/// Returns the keys and the access that are declared and stored, with what the keys have used.
fn identity(config: &ServerConfig, store: Option<&Store>) -> io::Result<Identity> {
    let declared = config.identity.clone();
    let Some(store) = store else {
        return Ok(Identity::new(declared, Records::default()));
    };
    let stored = store.load().map_err(io::Error::other)?;
    Key::check_declared(&declared.declared.keys, &stored.keys).map_err(io::Error::other)?;
    let now = SystemTime::now();
    let month = Day::of(now).month_start();
    let usage = store.usage_since(month).map_err(io::Error::other)?;
    let meters = KeyMeters::new(usage, now);
    Ok(Identity::with_usage(declared, stored, meters))
}

/// Returns what the LLM API asks of its callers.
fn llm_access(config: &ServerConfig) -> LlmAccess {
    let auth = &config.auth;
    let declared = &config.identity.declared.keys;
    let by_default = || LlmAccess::default_for(auth.keys.api.as_ref(), declared);
    auth.llm_access.unwrap_or_else(by_default)
}

/// Returns the pool of workers.
fn worker_pool(config: &ServerConfig, counters: &Metrics) -> WorkerPool {
    let settings = config.llm.pool_settings(rand::random());
    let gen_ai = if config.llm.gen_ai_metrics {
        GenAi::On
    } else {
        GenAi::Off
    };
    let metrics = LlmMetrics::new(counters, gen_ai);
    WorkerPool::new(settings, metrics)
}
