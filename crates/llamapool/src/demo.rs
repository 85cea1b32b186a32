//! Server, relay and a small provider in one process: an MCP server, or an LLM runtime.
//!
//! The three are the real ones and talk over real sockets, all on loopback. The commands that are
//! printed can be pasted into a shell.

mod clock;
mod echo_model;
mod introduction;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use llamapool_relay::{
    DialConfig, HttpConfig, Identity, LinkState, LlmConfig, ModelPatterns, ProviderConfig,
    ProviderKind, ProxySettings, Reconnect, Relay, RelayConfig, RelayView, RuntimeKind, StatusBind,
    StatusConfig, UpstreamStream,
};
use llamapool_server::{
    AuthConfig, DataDirConfig, Keys, ListenConfig, ListenError, McpConfig, RelaysConfig, Server,
    ServerConfig, StateConfig,
};
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::{DisplayName, RelayId, Secret};
use tokio::sync::{oneshot, watch};

use crate::roles::relay;
use crate::settings::DemoProvider;
use crate::stop::Stop;
use crate::taken_port;
use crate::terminal::{Screen, banner};
use crate::version::BUILD;

/// Id of the demo's provider.
const ID: &str = "demo";
/// Most bytes that the demo's server holds for callers.
const MAX_MEMORY: usize = 256 << 20;
/// Longest wait for all rows of the banner.
const BANNER_TIME: Duration = Duration::from_secs(3);
/// Longest wait for a connection; all of them are on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The provider, once it is bound.
enum BoundProvider {
    Mcp(clock::Clock),
    Llm(echo_model::EchoModel),
}

/// Runs the demo until it is requested to stop.
pub(crate) async fn run(
    kind: DemoProvider,
    port: u16,
    shown: Shown,
    stop: Stop,
) -> anyhow::Result<()> {
    let api_key = Secret::random();
    let worker_key = Secret::random();

    let provider = BoundProvider::bind(kind)
        .await
        .context("the demo's provider")?;
    let server = Server::bind(server_config(port, &api_key, &worker_key))
        .await
        .map_err(explain_bind)?;
    let address = server.address()?;
    let config = RelayConfig {
        shows_calls: shown.calls,
        ..relay_config(address, &provider, &worker_key)?
    };
    let relay = Relay::bind(config).await?;
    let link = relay.link();
    let view = relay.view();

    // The relay ends first: for a relay that is not stopping yet, a server that ends is a lost
    // connection.
    let (relay_guard, relay_ended) = oneshot::channel::<()>();
    let relay = async {
        let result = relay.run(stop.requested()).await;
        drop(relay_guard);
        result
    };
    let both = async {
        let server = server.run(async { drop(relay_ended.await) });
        tokio::join!(relay, server).0
    };

    tokio::select! {
        result = both => result.map_err(Into::into),
        result = provider.run() => result.context("the demo's provider"),
        error = present(link, view, shown.screen, introduction::text(kind, address, &api_key)) => error,
    }
}

/// Explains why the server of the demo does not start.
fn explain_bind(error: std::io::Error) -> anyhow::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(ListenError { address, error }) => taken_port::explain(*address, error, "--port "),
        None => error.into(),
    }
}

/// What a demo shows besides its introduction.
pub(crate) struct Shown {
    /// Every call.
    pub(crate) calls: bool,
    /// A banner, if people read.
    pub(crate) screen: Option<Screen>,
}

/// Prints the introduction once the relay is connected, behind the banner. It returns only an error.
async fn present(
    mut link: watch::Receiver<LinkState>,
    view: RelayView,
    screen: Option<Screen>,
    introduction: String,
) -> anyhow::Result<()> {
    let is_connected = |state: &LinkState| matches!(state, LinkState::Connected { .. });
    if link.wait_for(is_connected).await.is_err() {
        bail!("the demo's relay has ended");
    }

    if let Some(screen) = screen {
        screen.block(&[banner::title("demo")]);
        // Within a bound: the commands matter more.
        let _ = tokio::time::timeout(BANNER_TIME, relay::banner::show(&screen, &view)).await;
        screen.close_banner();
    }
    std::io::stdout()
        .write_all(introduction.as_bytes())
        .context("standard output")?;

    std::future::pending().await
}

fn server_config(port: u16, api_key: &Secret, worker_key: &Secret) -> ServerConfig {
    ServerConfig {
        listen: ListenConfig::new((Ipv4Addr::LOCALHOST, port).into()),
        auth: AuthConfig {
            keys: Keys {
                api: Some(api_key.clone()),
                worker: Some(worker_key.clone()),
                session: None,
            },
            ..AuthConfig::default()
        },
        identity: llamapool_server::IdentityConfig::default(),
        audit: llamapool_server::AuditConfig::default(),
        sign_in: None,
        relays: RelaysConfig::default(),
        mcp: McpConfig::default(),
        llm: llamapool_server::LlmConfig::default(),
        state: StateConfig::default(),
        max_memory: MAX_MEMORY,
        data_dir: DataDirConfig::None,
        drain_timeout: ServerConfig::DRAIN_TIMEOUT,
        build: BUILD,
    }
}

fn relay_config(
    server: SocketAddr,
    provider: &BoundProvider,
    worker_key: &Secret,
) -> anyhow::Result<RelayConfig> {
    Ok(RelayConfig {
        identity: Identity {
            name: DisplayName::new("Demo"),
            worker_key: Some(worker_key.clone()),
            client_secret: None,
        },
        dial: DialConfig {
            server_url: format!("ws://{server}{}", provider.connect_path()).parse()?,
            connect_timeout: CONNECT_TIMEOUT,
            ca_file: None,
            proxies: ProxySettings::default(),
        },
        reconnect: Reconnect::Never,
        providers: vec![ProviderConfig {
            id: Some(ID.parse::<RelayId>()?),
            auth_token: None,
            kind: provider.config()?,
        }],
        status: StatusConfig {
            bind: StatusBind::Off,
            token: None,
            metrics_bind: None,
        },
        drain_timeout: Duration::from_secs(60),
        tunnel: TunnelConfig::default(),
        max_memory: MAX_MEMORY,
        max_starting: None,
        shows_calls: false,
        build: BUILD,
    })
}

impl BoundProvider {
    async fn bind(kind: DemoProvider) -> anyhow::Result<Self> {
        Ok(match kind {
            DemoProvider::Mcp => Self::Mcp(clock::Clock::bind().await?),
            DemoProvider::Llm => Self::Llm(echo_model::EchoModel::bind().await?),
        })
    }

    /// Serves until it is dropped, or fails.
    async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Mcp(clock) => clock.run().await,
            Self::Llm(model) => model.run().await,
        }
    }

    /// Returns the path of the server that a relay of this provider dials.
    fn connect_path(&self) -> &'static str {
        match self {
            Self::Mcp(_) => llamapool_wire::path::MCP_CONNECT,
            Self::Llm(_) => llamapool_wire::path::WORKER_CONNECT,
        }
    }

    fn config(&self) -> anyhow::Result<ProviderKind> {
        Ok(match self {
            Self::Mcp(clock) => ProviderKind::Http(HttpConfig {
                url: clock.url()?.parse()?,
                headers: http::HeaderMap::new(),
                publishes_oauth: false,
                connect_timeout: CONNECT_TIMEOUT,
                asks_for_facts: true,
                probe_interval: Duration::from_secs(10),
                redirect_replay_bytes: 1 << 20,
            }),
            Self::Llm(model) => ProviderKind::Llm(LlmConfig {
                url: model.url()?.parse()?,
                api_key: None,
                kind: Some(RuntimeKind::OpenAi),
                version: None,
                max_concurrency: None,
                embedding_batch_size: 0,
                model_poll_interval: Duration::from_secs(30),
                request_timeout: None,
                connect_timeout: CONNECT_TIMEOUT,
                models: ModelPatterns::default(),
                aliases: Vec::new(),
                weight: 1000,
                upstream_stream: UpstreamStream::Auto,
                max_answer_bytes: 1 << 20,
            }),
        })
    }
}
