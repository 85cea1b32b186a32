//! A relay in this process.

use std::net::SocketAddr;
use std::time::Duration;

use llamapool_relay::{
    DialConfig, HttpConfig, Identity, LlmConfig, ModelPatterns, ProviderConfig, ProviderKind,
    ProxySettings, Reconnect, RelayConfig, StatusBind, StatusConfig, UpstreamStream,
};
use llamapool_tunnel::TunnelConfig;
use llamapool_wire::{DisplayName, Secret};
use tokio::sync::oneshot;

use super::pool::{BUILD, FREE_PORT};
use super::runtime::OwnRuntime;
use super::{WORKER_KEY, soon};

/// A running relay. Dropping it ends its tasks at once and in no order: a running call may be
/// cancelled before the tunnel is lost. A test that is about the loss drops a [`Link`] instead.
///
/// [`Link`]: crate::Link
pub struct Relay {
    status_address: Option<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), llamapool_relay::DisconnectedError>>,
    _runtime: OwnRuntime,
}

impl Relay {
    /// Starts a relay.
    pub async fn start(config: RelayConfig) -> Self {
        let runtime = OwnRuntime::start();
        let bound = runtime.spawn(async { llamapool_relay::Relay::bind(config).await });
        let relay = bound
            .await
            .expect("no panic")
            .expect("a sound configuration");
        let status_address = relay.status_address();
        let metrics_address = relay.metrics_address();

        let (stop, stopped) = oneshot::channel::<()>();
        let (report, ended) = oneshot::channel();
        drop(runtime.spawn(async move {
            let result = relay.run(async { drop(stopped.await) }).await;
            // It fails if the test is not interested.
            let _ = report.send(result);
        }));

        Self {
            status_address,
            metrics_address,
            stop: Some(stop),
            ended,
            _runtime: runtime,
        }
    }

    /// Returns the URL of the status server. Panics if the relay has none.
    pub fn status_url(&self) -> String {
        let address = self.status_address.expect("a status server");
        format!("http://{address}")
    }

    /// Returns the URL of the metrics server. Panics if the relay has none.
    pub fn metrics_url(&self) -> String {
        let address = self.metrics_address.expect("a metrics server");
        format!("http://{address}")
    }

    /// Requests the relay to drain.
    pub fn drain(&mut self) {
        let stop = self.stop.take().expect("it is drained once");
        stop.send(()).expect("the relay runs");
    }

    /// Waits for the relay's end.
    pub async fn ended(&mut self) -> Result<(), llamapool_relay::DisconnectedError> {
        soon("the relay ends", &mut self.ended)
            .await
            .expect("no panic")
    }
}

/// Returns the provider of a relay's configuration. Panics unless it is one HTTP provider.
pub fn http_provider(config: &mut RelayConfig) -> &mut HttpConfig {
    match &mut config.providers[..] {
        [
            ProviderConfig {
                kind: ProviderKind::Http(provider),
                ..
            },
        ] => provider,
        other => panic!("expected one HTTP provider: {other:?}"),
    }
}

/// Returns the runtime of a worker's configuration. Panics unless it is one LLM runtime.
pub fn llm_provider(config: &mut RelayConfig) -> &mut LlmConfig {
    match &mut config.providers[..] {
        [
            ProviderConfig {
                kind: ProviderKind::Llm(provider),
                ..
            },
        ] => provider,
        other => panic!("expected one LLM runtime: {other:?}"),
    }
}

/// Gives a relay a status server.
pub fn serve_status(config: &mut RelayConfig) {
    config.status.bind = StatusBind::Required(FREE_PORT);
}

/// Builds the configuration of a relay with one HTTP provider: it reconnects soon and has no status
/// server.
pub fn relay_config(server_url: &str, id: &str, provider_url: &str) -> RelayConfig {
    let connect_timeout = Duration::from_secs(10);
    let path = llamapool_wire::path::MCP_CONNECT;
    let server_url = format!("{server_url}{path}");
    let provider = HttpConfig {
        url: provider_url.parse().expect("the provider's URL"),
        headers: http::HeaderMap::new(),
        publishes_oauth: false,
        connect_timeout,
        // Tests count what their providers receive.
        asks_for_facts: false,
        probe_interval: Duration::from_secs(10),
        redirect_replay_bytes: 1 << 20,
    };
    RelayConfig {
        identity: Identity {
            name: DisplayName::new("testkit"),
            worker_key: Some(Secret::new(WORKER_KEY)),
            client_secret: None,
        },
        dial: DialConfig {
            server_url: server_url.parse().expect("the server's URL"),
            connect_timeout,
            ca_file: None,
            proxies: ProxySettings::default(),
        },
        reconnect: Reconnect::Forever {
            exits_on_refusal: false,
            min: Duration::from_millis(50),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
        },
        providers: vec![ProviderConfig {
            id: Some(id.parse().expect("an id")),
            auth_token: None,
            kind: ProviderKind::Http(provider),
        }],
        status: StatusConfig {
            bind: StatusBind::Off,
            token: None,
            metrics_bind: None,
        },
        drain_timeout: Duration::from_secs(60),
        tunnel: TunnelConfig::default(),
        max_memory: 1 << 30,
        max_starting: None,
        shows_calls: false,
        build: BUILD,
    }
}

/// Builds the configuration of a worker with one LLM runtime, whose kind it finds out.
pub fn worker_config(server_url: &str, id: &str, runtime_url: &str) -> RelayConfig {
    let mut config = relay_config(server_url, id, runtime_url);
    let path = llamapool_wire::path::WORKER_CONNECT;
    config.dial.server_url = format!("{server_url}{path}")
        .parse()
        .expect("the server's URL");
    config.providers[0].kind = ProviderKind::Llm(LlmConfig {
        url: runtime_url.parse().expect("the runtime's URL"),
        api_key: None,
        kind: None,
        version: None,
        max_concurrency: None,
        embedding_batch_size: 0,
        model_poll_interval: Duration::from_secs(30),
        request_timeout: None,
        connect_timeout: Duration::from_secs(10),
        models: ModelPatterns::default(),
        aliases: Vec::new(),
        weight: 1000,
        upstream_stream: UpstreamStream::Auto,
        max_answer_bytes: 64 << 20,
    });
    config
}
