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
    /// Below how many bytes the head of a message must stay, as HTTP/2 counts them (32 bytes a header on top). Each end tells
    /// the other, which refuses to send more.
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

/// The largest piece of a body in one frame: what one body puts into the outbox before it is another's turn.
pub(crate) const PIECE_BYTES: usize = 16 * 1024;
/// How many bytes wait in the outbox before bodies wait for their turn. More carries bulk no faster and keeps small calls
/// waiting behind it.
pub(crate) const OUTBOX_BYTES: usize = 64 * 1024;
/// With how many requests, answers or pieces that wait somebody carries them off at once, instead of when all who are ready
/// have had their turn. Fewer cost more writes; more keep the peer waiting while this end works.
pub(crate) const EARLY: usize = 8;
/// With how many streams somebody carries off at once whatever was put: there is hardly anybody to share a write with.
pub(crate) const FEW_STREAMS: usize = 4;
/// How many bytes may wait in the outbox of a relay before it refuses streams by ending the tunnel: a server that opens more
/// than it may and reads nothing of what is said to that.
pub(crate) const REFUSALS_BYTES: usize = 1024 * 1024;
/// The largest content of a frame that is taken, heads apart, which have a limit of their own.
pub(crate) const FRAME_BYTES: usize = 64 * 1024;
/// The largest WebSocket message this end sends. A sign of life counts when its message is whole, so on a slow link a
/// message must arrive well within the silence that is allowed: 32 KiB do at 2 KB/s.
pub(crate) const MESSAGE_BYTES: usize = 32 * 1024;
/// The largest WebSocket message this end takes: a middlebox may put several into one.
pub(crate) const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// How many bytes wait in the WebSocket layer before it must reach the socket.
pub(crate) const WEBSOCKET_BUFFER_BYTES: usize = 128 * 1024;
/// How much is read from the socket at once. It is held by every idle tunnel.
pub(crate) const READ_BUFFER_BYTES: usize = 8 * 1024;
/// How long an end that closes waits for the peer to acknowledge it. Nothing but the end of the socket waits for it.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
