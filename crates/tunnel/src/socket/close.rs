//! The close handshake of a tunnel, and the ways in which a tunnel ends.

use std::fmt::Display;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The reason why an end closes the tunnel. It travels as the WebSocket's close code, so the peer
/// learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The end is finished.
    Done,
    /// The process goes away; another one may come.
    GoingAway,
    /// A newer tunnel of the same relay, or another relay, has taken this one's place.
    Replaced,
    /// The peer broke the protocol.
    Protocol,
    /// The peer's credential is no longer valid.
    Revoked,
    /// An operator of this end closed it. The peer may come back.
    Kicked,
}

/// The way in which a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelEnd {
    /// This end closed it, or finished its drain.
    Closed,
    /// The peer closed it, with a WebSocket close code.
    ClosedByPeer(CloseCode),
    /// No sign of life for as long as [`TunnelConfig::silence`](crate::TunnelConfig::silence).
    Silent,
    /// The connection broke.
    Broken(String),
}

/// A WebSocket close code. Its text explains the codes that tunnels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseReason {
    /// Returns the WebSocket close code of the reason.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Replaced => 4001,
            Self::Revoked => 4003,
            Self::Kicked => 4004,
        }
    }
}

impl Display for TunnelEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the tunnel was closed from here"),
            Self::ClosedByPeer(code) => write!(f, "the peer closed the tunnel ({code})"),
            Self::Silent => f.write_str("the peer was silent for too long"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
        }
    }
}

impl Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            1000 => f.write_str("it is finished"),
            1001 => f.write_str("it goes away"),
            1002 => f.write_str("it says that this end broke the protocol"),
            1005 | 1006 => f.write_str("without a reason"),
            4001 => f.write_str("another tunnel has taken its place"),
            4003 => f.write_str("the key of this end is no longer valid"),
            4004 => f.write_str("an operator of the other end closed it"),
            other => write!(f, "close code {other}"),
        }
    }
}

/// State of the close handshake: the reason that this end has, and the code that the peer sent.
#[derive(Debug)]
pub(crate) struct CloseState {
    reasons: Mutex<Reasons>,
    requested: Notify,
}

#[derive(Debug, Default)]
struct Reasons {
    requested: Option<CloseReason>,
    by_peer: Option<CloseCode>,
}

impl CloseState {
    pub(super) fn new() -> Self {
        Self {
            reasons: Mutex::default(),
            requested: Notify::new(),
        }
    }

    /// Requests the end of the tunnel. The first reason counts.
    pub(crate) fn request(&self, reason: CloseReason) {
        self.reasons.lock().requested.get_or_insert(reason);
        // Stored for a task that does not wait yet.
        self.requested.notify_one();
    }

    /// Waits until the end of the tunnel is requested.
    pub(crate) async fn requested(&self) -> TunnelEnd {
        self.requested.notified().await;
        TunnelEnd::Closed
    }

    /// Records the code of the peer's close frame. The first one counts.
    pub(super) fn record_peer_code(&self, code: u16) {
        self.reasons.lock().by_peer.get_or_insert(CloseCode(code));
    }

    /// Returns how the tunnel ended, given the result of its connection.
    pub(crate) fn tunnel_end<E: Display>(&self, result: Result<(), E>) -> TunnelEnd {
        match (self.reasons.lock().by_peer, result) {
            (Some(code), _) => TunnelEnd::ClosedByPeer(code),
            (None, Ok(())) => TunnelEnd::ClosedByPeer(CloseCode(CloseReason::Done.code())),
            (None, Err(error)) => TunnelEnd::Broken(error.to_string()),
        }
    }

    /// Returns the reason to send to the peer after `end`, or `None` if the peer is gone.
    pub(crate) fn farewell(&self, end: &TunnelEnd) -> Option<CloseReason> {
        match end {
            TunnelEnd::Closed => {
                let requested = self.reasons.lock().requested;
                Some(requested.unwrap_or(CloseReason::Done))
            }
            TunnelEnd::ClosedByPeer(_) => Some(CloseReason::Done),
            TunnelEnd::Broken(_) => Some(CloseReason::Protocol),
            TunnelEnd::Silent => None,
        }
    }
}
