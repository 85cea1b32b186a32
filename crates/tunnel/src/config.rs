//! Every bound and interval of the tunnel, with its unit and the reason for its value.

use std::time::Duration;

/// Limits and heartbeat of one tunnel. Each end has its own; the two need not agree.
#[derive(Debug, Clone)]
pub struct TunnelConfig {
    /// Largest receive window of each body, in bytes: as much of one body may be in flight or
    /// unread. It bounds the speed of one body on a long link: 512 KiB carry 10 MB/s over 50 ms. A
    /// window begins with `INITIAL_WINDOW_BYTES` and doubles while its reader reads and memory is
    /// left.
    pub stream_window: u32,
    /// Maximum number of calls that a relay serves at once. The server's end learns it from the
    /// relay's hello.
    pub max_streams: u32,
    /// Exclusive limit for the size of a message head, in bytes, counted as HTTP/2 counts them (32
    /// bytes on top of each header). Each end announces its limit, and the peer refuses to send
    /// larger heads.
    pub max_header_bytes: u32,
    /// Interval of WebSocket pings. They are also sent while the peer is sending: a peer that only
    /// listens shows no sign of life by itself, and a response may wait long behind what is in
    /// flight.
    pub heartbeat: Duration,
    /// Time without a sign of life after which the peer counts as lost. Three heartbeats, so that
    /// one lost ping does not end the tunnel.
    pub silence: Duration,
    /// Time in which a reader takes nothing of a body that waits for it, after which its stream is
    /// given up. `None`: never.
    pub reader_patience: Option<Duration>,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            stream_window: 512 * 1024,
            max_streams: 4096,
            max_header_bytes: 64 * 1024,
            heartbeat: Duration::from_secs(6),
            silence: Duration::from_secs(18),
            reader_patience: None,
        }
    }
}

/// Receive window with which each body begins, unless the largest is smaller: most responses of MCP
/// servers fit in it whole, and a reader that never reads costs no more.
pub(crate) const INITIAL_WINDOW_BYTES: u32 = 64 * 1024;
/// Unread bytes of one body that are not counted as memory. As many belong to what every stream
/// costs, and most bodies never have more.
pub(crate) const UNCOUNTED_BYTES: u32 = 16 * 1024;
/// Number of looks at a body within [`TunnelConfig::reader_patience`].
pub(crate) const LOOKS_AT_READER: u8 = 4;
/// Maximum content of a data frame that this end sends: one body enqueues as much before it is the
/// next body's turn.
pub(crate) const PIECE_BYTES: usize = 16 * 1024;
/// Size of the outbox from which on heads and bodies wait for their turn. More does not move large
/// bodies faster, and keeps small calls waiting behind them.
pub(crate) const OUTBOX_BYTES: usize = 64 * 1024;
/// Number of queued requests, responses or data frames at which the task that enqueues the last of
/// them flushes at once, instead of waiting for the connection task. Lower: more writes. Higher:
/// the peer idles while this end works.
pub(crate) const EARLY_FLUSH_ITEMS: usize = 8;
/// Number of open streams up to which every enqueue is flushed at once: too few other streams are
/// there to share a write with.
pub(crate) const FEW_STREAMS: usize = 4;
/// Size of a relay's outbox above which a refused stream ends the tunnel: the server opens more
/// streams than the relay allows, and does not read the refusals.
pub(crate) const REFUSALS_BYTES: usize = 1024 * 1024;
/// Maximum content of a received frame. Heads have a limit of their own.
pub(crate) const FRAME_BYTES: usize = 64 * 1024;
/// Maximum size of a WebSocket message that this end sends. A sign of life counts once its message
/// is complete, so on a slow link a message must arrive well within the silence limit: 32 KiB do at
/// 2 KB/s.
pub(crate) const MESSAGE_BYTES: usize = 32 * 1024;
/// Maximum size of a received WebSocket message: a middlebox may join several into one.
pub(crate) const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// Maximum number of bytes that one read takes from the socket, but for the rest of a large message.
/// What is received together stays in memory together, so more than this would make a small part of
/// it expensive to keep.
pub(crate) const READ_BYTES: usize = 8 * 1024;
/// Time that a closing end waits for the peer's acknowledgement. Only the end of the socket waits
/// for it.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
