//! Server, relay and a small MCP server in one process.
//!
//! The three are the real ones and talk over real sockets, all on loopback. The commands that are
//! printed can be pasted into a shell.

mod clock;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use llamapool_relay::{
    DialConfig, HttpConfig, Identity, LinkState, ProviderConfig, ProviderKind, ProxySettings,
    Reconnect, Relay, RelayConfig, StatusBind, StatusConfig,
};
use llamapool_server::{
    AuthConfig, DataDirConfig, Keys, ListenConfig, LlmConfig, McpConfig, RelaysConfig, Server,
    ServerConfig, StateConfig,
};
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::{DisplayName, RelayId, Secret};
use tokio::sync::{oneshot, watch};

use crate::stop::Stop;
use crate::version::BUILD;

/// Id of the demo's MCP server.
const ID: &str = "demo";
/// Most bytes that the demo's server holds for callers.
const MAX_MEMORY: usize = 256 << 20;

/// Runs the demo until it is requested to stop.
pub(crate) async fn run(port: u16, stop: Stop) -> anyhow::Result<()> {
    let api_key = Secret::random();
    let worker_key = Secret::random();

    let provider = clock::Clock::bind()
        .await
        .context("the demo's MCP server")?;
    let server = Server::bind(server_config(port, &api_key, &worker_key))
        .await
        .context("use --port to choose another port")?;
    let address = server.address()?;
    let relay = Relay::bind(relay_config(address, provider.url()?, &worker_key)?).await?;
    let link = relay.link();

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
        result = provider.run() => result.context("the demo's MCP server"),
        error = present(link, address, &api_key) => error,
    }
}

/// Prints the introduction once the relay is connected. It returns only an error.
async fn present(
    mut link: watch::Receiver<LinkState>,
    server: SocketAddr,
    api_key: &Secret,
) -> anyhow::Result<()> {
    let is_connected = |state: &LinkState| matches!(state, LinkState::Connected { .. });
    if link.wait_for(is_connected).await.is_err() {
        bail!("the demo's relay has ended");
    }

    let text = introduction(server, api_key);
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("standard output")?;

    std::future::pending().await
}

fn introduction(server: SocketAddr, api_key: &Secret) -> String {
    let url = format!("http://{server}");
    let api_key = api_key.expose();
    let call = |id: u32, method: &str, params: &str| {
        format!(
            "curl -s -X POST {url}/api/mcp/id/{ID} \\\n  -H 'Content-Type: application/json' \\\n  \
             -d '{{\"jsonrpc\": \"2.0\", \"id\": {id}, \"method\": \"{method}\", \"params\": {params}}}'\n"
        )
    };

    format!(
        "\nA small MCP server is reached through llamapool at\n\n    {url}/api/mcp/id/{ID}\n\n\
         Who is connected:\n\ncurl -s {url}/api/state -H 'Authorization: Bearer {api_key}'\n\n\
         Which tools it has:\n\n{}\n\
         Call one:\n\n{}\n\
         Ctrl-C ends the demo.\n",
        call(2, "tools/list", "{}"),
        call(
            3,
            "tools/call",
            "{\"name\": \"time/now\", \"arguments\": {}}"
        ),
    )
}

fn server_config(port: u16, api_key: &Secret, worker_key: &Secret) -> ServerConfig {
    ServerConfig {
        listen: ListenConfig::new((Ipv4Addr::LOCALHOST, port).into()),
        auth: AuthConfig {
            keys: Keys {
                api: Some(api_key.clone()),
                worker: Some(worker_key.clone()),
                session: None,
                llm: std::sync::Arc::default(),
            },
            ..AuthConfig::default()
        },
        relays: RelaysConfig::default(),
        mcp: McpConfig::default(),
        llm: LlmConfig::default(),
        state: StateConfig::default(),
        max_memory: MAX_MEMORY,
        data_dir: DataDirConfig::None,
        drain_timeout: ServerConfig::DRAIN_TIMEOUT,
        build: BUILD,
    }
}

fn relay_config(
    server: SocketAddr,
    provider: String,
    worker_key: &Secret,
) -> anyhow::Result<RelayConfig> {
    let connect_timeout = Duration::from_secs(10);

    Ok(RelayConfig {
        identity: Identity {
            name: DisplayName::new("Demo"),
            worker_key: Some(worker_key.clone()),
            client_secret: None,
        },
        dial: DialConfig {
            server_url: format!("ws://{server}{}", llamapool_wire::path::MCP_CONNECT).parse()?,
            connect_timeout,
            ca_file: None,
            proxies: ProxySettings::default(),
        },
        reconnect: Reconnect::Never,
        providers: vec![ProviderConfig {
            id: Some(ID.parse::<RelayId>()?),
            auth_token: None,
            kind: ProviderKind::Http(HttpConfig {
                url: provider.parse()?,
                headers: http::HeaderMap::new(),
                publishes_oauth: false,
                connect_timeout,
                probe_interval: Duration::from_secs(10),
                redirect_replay_bytes: 1 << 20,
            }),
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
        build: BUILD,
    })
}
