//! What every part of the relay works with. It knows what it is made of, and not who puts it together: that is `relay`.

use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::config::RelayConfig;
use crate::dial::Dialer;
use crate::providers::McpHttp;

/// What every part of the relay works with.
pub(crate) struct App {
    pub(crate) config: RelayConfig,
    pub(crate) board: Board,
    pub(crate) provider: McpHttp,
    pub(crate) dialer: Dialer,
    /// Asks the relay to drain and end.
    pub(crate) stop: CancellationToken,
}
