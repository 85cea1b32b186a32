//! One connection to the server: from the WebSocket upgrade to the end of the tunnel.

use std::sync::Arc;
use std::time::Duration;

use llamapool_tunnel::{TunnelEnd, serve_heads};
use llamapool_wire::{DisplayName, Mark, PublicBase, RelayId, people_line};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::dial::Dialled;
use crate::providers::entry::ProviderEntry;
use crate::relay_tunnel::RelayTunnel;
use crate::serve::respond;
use crate::slot::Slot;

/// How long an idle relay waits for the server to close the tunnel: a caller that reads slowly may
/// keep it open there for longer, and needs nothing from here.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a tunnel until it ends, or until the relay stops and no call runs any more.
pub(crate) async fn serve(
    app: &Arc<App>,
    tunnel: &RelayTunnel,
    slots: Arc<[Arc<Slot>]>,
    dialled: Dialled,
) -> TunnelEnd {
    let Dialled {
        io,
        ids,
        server_version,
        public_base,
    } = dialled;
    let is_first = app.link.connect(tunnel.number, public_base.clone());
    for (slot, id) in slots.iter().zip(&ids) {
        let entry = slot.entry();
        log_connected(&entry, id, public_base.as_ref(), &server_version, is_first);
    }

    // The event streams are calls too; they end before the tunnel does.
    let farewell = CancellationToken::new();
    let handler = {
        let farewell = farewell.clone();
        move |head, body| respond(slots.clone(), farewell.clone(), head, body)
    };
    let drained = until_drained(app.clone(), farewell);

    let mut config = app.config.tunnel.clone();
    // Each event stream takes one.
    let event_streams = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    config.max_streams = config.max_streams.saturating_add(event_streams);

    // A task of its own: waking the task that the runtime was started with costs more.
    let mut serving = JoinSet::new();
    serving.spawn(serve_heads(io, config, handler, drained));
    match serving.join_next().await {
        Some(Ok(end)) => end,
        Some(Err(error)) => TunnelEnd::Broken(error.to_string()),
        None => TunnelEnd::Closed,
    }
}

/// Logs that callers reach a provider from now on, and where. A banner shows the first time.
fn log_connected(
    entry: &ProviderEntry,
    id: &RelayId,
    base: Option<&PublicBase>,
    server: &DisplayName,
    is_first: bool,
) {
    let url = entry.public_url(base);
    let url = url.as_deref().unwrap_or("an unknown address");
    let protected = entry.status.is_protected();
    tracing::info!(
        %id,
        server = server.as_str(),
        protected,
        url,
        banner = is_first,
        people = %people_line(Mark::Up, "connected", url),
        "connected: callers reach it at {url}"
    );
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
