//! One tunnel's life: from the upgrade to its end.

use std::sync::Arc;
use std::time::Duration;

use llamapool_tunnel::{TunnelEnd, serve_relay_end};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::board::LinkState;
use crate::dial::Connected;
use crate::serve::answer;

/// How long a relay that has nothing more to do waits for the server to close the tunnel: a caller who reads slowly may
/// keep it open there for longer, and needs nothing from here.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a tunnel until it ends, or until the relay was told to stop and nothing runs any more.
pub(crate) async fn connect_once(app: &Arc<App>, connected: Connected) -> TunnelEnd {
    let Connected {
        io,
        ids,
        server_version,
    } = connected;
    for (hosted, id) in app.hosted.iter().zip(&ids) {
        tracing::info!(
            %id, server = server_version.as_str(), protected = hosted.board.is_protected(),
            "connected: the provider is reached at <server>/api/mcp/id/{id}"
        );
    }
    app.board.set_link(LinkState::Connected {
        since: Instant::now(),
    });
    // The event streams are calls too; they end before the tunnel does.
    let farewell = CancellationToken::new();
    let handler = {
        let (app, farewell) = (app.clone(), farewell.clone());
        move |request| answer(app.clone(), farewell.clone(), request)
    };
    let relay = app.clone();
    let drained = async move {
        relay.stop.cancelled().await;
        relay.none_running().await;
        farewell.cancel();
        // The server closes when nothing runs any more on its side either. If this end closed first, a call that is
        // on its way here would fail.
        tokio::time::sleep(GOODBYE).await;
    };
    let mut config = app.config.tunnel.clone();
    // Each event stream takes one.
    config.max_streams = config
        .max_streams
        .saturating_add(u32::try_from(ids.len()).unwrap_or(u32::MAX));
    // A task of its own: the runtime wakes the one that it was started with at a price.
    let mut tunnel = JoinSet::new();
    tunnel.spawn(serve_relay_end(io, config, handler, drained));
    match tunnel.join_next().await {
        Some(Ok(end)) => end,
        Some(Err(error)) => TunnelEnd::Broken(error.to_string()),
        None => TunnelEnd::Closed,
    }
}
