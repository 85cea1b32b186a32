//! A provider of the doctor's own, on loopback: it sends events at known intervals, and waits a known
//! time in silence.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use http_body::Frame;
use http_body_util::StreamBody;
use llamapool_relay::{
    HttpConfig, LlmConfig, ModelPatterns, ProviderConfig, ProviderKind, RelayConfig, RuntimeKind,
    UpstreamStream,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The events of a stream, and the time between two.
pub(super) const EVENTS: u32 = 6;
pub(super) const INTERVAL: Duration = Duration::from_millis(300);
/// The time that a call waits in silence.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// The paths below the URL of the provider.
pub(super) const EVENTS_PATH: &str = "/events";
pub(super) const SILENCE_PATH: &str = "/silence";
/// The time between two probes of a trial, longer than any.
const PROBES: Duration = Duration::from_secs(600);
/// The largest answer that is collected of it, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The provider. Dropping it ends it.
pub(super) struct Metronome {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Metronome {
    /// Takes a free port on loopback, and serves.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) async fn start() -> std::io::Result<Self> {
        let routes = Router::new()
            .route(EVENTS_PATH, get(events))
            .route(SILENCE_PATH, post(silence))
            .route("/v1/models", get(no_models));
        let (address, serving) = serve(routes).await?;
        Ok(Self {
            address,
            _serving: serving,
        })
    }

    /// Returns the configuration of it as a provider: of a relay, or of a worker that has no models.
    pub(super) fn provider(&self, config: &RelayConfig, is_worker: bool) -> ProviderConfig {
        let connect_timeout = config.dial.connect_timeout;
        let kind = if is_worker {
            ProviderKind::Llm(LlmConfig {
                url: local_url(self.address, ""),
                api_key: None,
                kind: Some(RuntimeKind::OpenAi),
                version: None,
                max_concurrency: None,
                embedding_batch_size: 0,
                model_poll_interval: PROBES,
                request_timeout: None,
                connect_timeout,
                models: ModelPatterns::default(),
                aliases: Vec::new(),
                weight: 1000,
                upstream_stream: UpstreamStream::Auto,
                max_answer_bytes: MAX_ANSWER_BYTES,
            })
        } else {
            http_provider(local_url(self.address, ""), connect_timeout)
        };
        ProviderConfig {
            id: None,
            auth_token: None,
            kind,
        }
    }
}

/// Serves routes on a free port of loopback, until the set is dropped.
pub(super) async fn serve(routes: Router) -> std::io::Result<(SocketAddr, JoinSet<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        // It fails for single connections only, which are another's.
        let _ = axum::serve(listener, routes).await;
    });
    Ok((address, serving))
}

/// Returns the URL of a path at an address of loopback.
pub(super) fn local_url(address: SocketAddr, path: &str) -> Uri {
    // An address and a path of this file are always a URL.
    format!("http://{address}{path}")
        .parse()
        .unwrap_or_default()
}

/// Returns the configuration of a provider of the doctor's own.
pub(super) fn http_provider(url: Uri, connect_timeout: Duration) -> ProviderKind {
    ProviderKind::Http(HttpConfig {
        url,
        headers: HeaderMap::new(),
        publishes_oauth: false,
        connect_timeout,
        asks_for_facts: false,
        probe_interval: PROBES,
        redirect_replay_bytes: 0,
    })
}

async fn events() -> Response {
    let stream = futures_util::stream::unfold(0, |sent| async move {
        if sent == EVENTS {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(INTERVAL).await;
        }
        let event = format!("id: {sent}\ndata: {{\"beat\":{sent}}}\n\n");
        let frame = Frame::data(Bytes::from(event));
        Some((Ok::<_, Infallible>(frame), sent + 1))
    });
    let body = Body::new(StreamBody::new(stream));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn silence() -> Response {
    tokio::time::sleep(SILENCE).await;
    (
        [(CONTENT_TYPE, "application/json")],
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    )
        .into_response()
}

async fn no_models() -> Response {
    (
        [(CONTENT_TYPE, "application/json")],
        r#"{"object":"list","data":[]}"#,
    )
        .into_response()
}
