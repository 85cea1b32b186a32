//! Every number of the tunnel, with its unit and the reason for it.

use std::time::Duration;

/// The limits and the pulse of one tunnel. Both ends have their own; they need not agree.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// How many bytes of one body may be on their way unread. It bounds the memory that a caller who stops reading
    /// costs, and the speed of one body on a long link: 512 KiB carry 10 MB/s over 50 ms.
    pub stream_window: u32,
    /// How many calls a relay serves at once; the server's end learns it from the relay's.
    pub max_streams: u32,
    /// Below how many bytes the head of a message must stay, decoded, as HTTP/2 counts them (32 bytes a header on top).
    /// Each end also refuses to send more: a head far too large is an attack to the peer's HTTP/2, and ends the tunnel.
    pub max_header_bytes: u32,
    /// How often the peer is asked for a sign of life. Also while it is heard: a peer that only listens shows none by
    /// itself, and an answer may wait long behind what is on its way.
    pub heartbeat: Duration,
    /// After how long without a sign of life the peer is gone. Three heartbeats, so that one lost ping is no loss.
    pub silence: Duration,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            stream_window: 512 * 1024,
            max_streams: 4096,
            max_header_bytes: 64 * 1024,
            heartbeat: Duration::from_secs(6),
            silence: Duration::from_secs(18),
        }
    }
}

/// The window of a whole tunnel: as large as HTTP/2 allows, so that the windows of the streams alone hold senders
/// back, and callers who stop reading never use up what the others need.
pub(crate) const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// What the bookkeeping of small pieces may cost that wait unread in one tunnel, in bytes as HTTP/2 counts it: what a
/// piece lacks to 256. More ends the tunnel of all calls, so it is far beyond what event streams make, whose callers
/// have stopped reading: four million pieces.
pub(crate) const SMALL_PIECES_BYTES: usize = 1 << 30;
/// The largest HTTP/2 frame. Larger ones cost less per byte and keep small calls waiting longer behind bulk.
pub(crate) const FRAME_BYTES: u32 = 64 * 1024;
/// How much of one body waits inside the HTTP/2 layer for the socket.
pub(crate) const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// The largest WebSocket message this end sends. A sign of life counts when its message is whole, so on a slow link a
/// message must arrive well within the silence that is allowed: 32 KiB do at 2 KB/s.
pub(crate) const MESSAGE_BYTES: usize = 32 * 1024;
/// The largest WebSocket message this end takes: a middlebox may put several into one.
pub(crate) const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// How many bytes wait in the WebSocket layer before it must reach the socket.
pub(crate) const WEBSOCKET_BUFFER_BYTES: usize = 128 * 1024;
/// How many streams that were reset are remembered, so that frames still under way for them are not errors. Callers
/// abort whenever they like, in any number: that must never look like an attack of the peer.
pub(crate) const REMEMBERED_RESETS: usize = 16 * 1024;
/// For how long they are remembered: longer than any frame is under way.
pub(crate) const RESET_MEMORY: Duration = Duration::from_secs(30);
/// How long an end that closes waits for the peer to acknowledge it. Nothing but the end of the socket waits for it.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
