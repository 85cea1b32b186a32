//! One connection to the server: from the WebSocket upgrade to the end of the tunnel.

use std::sync::Arc;
use std::time::Duration;

use llamapool_tunnel::{TunnelEnd, serve_relay_end};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::dial::Dialled;
use crate::serve::respond;
use crate::status::link::LinkState;

/// How long an idle relay waits for the server to close the tunnel: a caller that reads slowly may
/// keep it open there for longer, and needs nothing from here.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a tunnel until it ends, or until the relay stops and no call runs any more.
pub(crate) async fn serve(app: &Arc<App>, dialled: Dialled) -> TunnelEnd {
    let Dialled {
        io,
        ids,
        server_version,
    } = dialled;
    for (entry, id) in app.providers.iter().zip(&ids) {
        let server = server_version.as_str();
        match entry.provider.runtime() {
            Some(_) => tracing::info!(
                %id, server,
                "connected: callers reach its models at <server>/v1, and at <server> in the APIs of Anthropic and Ollama"
            ),
            None => tracing::info!(
                %id, server, protected = entry.status.is_protected(),
                "connected: callers reach it at <server>/api/mcp/id/{id}"
            ),
        }
    }
    app.link.set(LinkState::Connected {
        since: Instant::now(),
    });

    // The event streams are calls too; they end before the tunnel does.
    let farewell = CancellationToken::new();
    let handler = {
        let app = app.clone();
        let farewell = farewell.clone();
        move |request| respond(app.clone(), farewell.clone(), request)
    };
    let drained = until_drained(app.clone(), farewell);

    let mut config = app.config.tunnel.clone();
    // Each event stream takes one.
    let event_streams = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    config.max_streams = config.max_streams.saturating_add(event_streams);

    // A task of its own: waking the task that the runtime was started with costs more.
    let mut tunnel = JoinSet::new();
    tunnel.spawn(serve_relay_end(io, config, handler, drained));
    match tunnel.join_next().await {
        Some(Ok(end)) => end,
        Some(Err(error)) => TunnelEnd::Broken(error.to_string()),
        None => TunnelEnd::Closed,
    }
}

/// Waits until the relay stops and no call runs, ends the event streams, and gives the server time
/// to close the tunnel.
///
/// The server closes it when no call runs on its side either. If this end closed it first, a call
/// on its way here would fail.
async fn until_drained(app: Arc<App>, farewell: CancellationToken) {
    app.stop.cancelled().await;
    app.until_idle().await;
    farewell.cancel();
    tokio::time::sleep(GOODBYE).await;
}
