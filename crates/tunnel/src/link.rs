//! What the two halves of an end know of each other: the adapter that moves bytes, and whoever watches over it.
//!
//! The adapter reports signs of life and why the peer closed; the watcher asks it for a ping. Timers and the wish to
//! close live on the watcher's side, so they take effect even while the adapter is stuck in a full socket.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::TunnelConfig;
use crate::connection::ConnectionError;

/// Why an end closes the tunnel: it travels as the WebSocket's close code, so the peer knows.
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
}

/// Why a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelEnd {
    /// This end closed it, or finished its drain.
    #[error("the tunnel was closed from here")]
    Closed,
    /// The peer closed it, with a WebSocket close code.
    #[error("the peer closed the tunnel ({0})")]
    ClosedByPeer(CloseCode),
    /// No sign of life for as long as [`TunnelConfig::silence`].
    #[error("the peer was silent for too long")]
    Silent,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// A WebSocket close code, as far as it means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseReason {
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Replaced => 4001,
        }
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            1000 => f.write_str("it is finished"),
            1001 => f.write_str("it goes away"),
            1002 => f.write_str("it says that this end broke the protocol"),
            1005 | 1006 => f.write_str("without a reason"),
            4001 => f.write_str("another tunnel has taken its place"),
            other => write!(f, "close code {other}"),
        }
    }
}

/// The state that adapter and watcher share.
#[derive(Debug)]
pub(crate) struct Link {
    born: Instant,
    /// When the peer was last heard, in microseconds since `born`.
    heard: AtomicU64,
    heard_now: Notify,
    ping_wanted: AtomicBool,
    closing: Mutex<Closing>,
    close_wanted: Notify,
    adapter: AtomicWaker,
}

#[derive(Debug, Default)]
struct Closing {
    wanted: Option<CloseReason>,
    by_peer: Option<CloseCode>,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            heard: AtomicU64::new(0),
            heard_now: Notify::new(),
            ping_wanted: AtomicBool::new(false),
            closing: Mutex::default(),
            close_wanted: Notify::new(),
            adapter: AtomicWaker::new(),
        }
    }

    /// The adapter: something came from the peer.
    pub(crate) fn hear(&self) {
        self.heard
            .store(self.age().as_micros() as u64, Ordering::Relaxed);
        self.heard_now.notify_waiters();
    }

    /// The adapter: whom to wake when there is something to do.
    pub(crate) fn register(&self, waker: &Waker) {
        self.adapter.register(waker);
    }

    /// Gives the adapter a turn.
    pub(crate) fn wake(&self) {
        self.adapter.wake();
    }

    /// The adapter: whether a ping is due.
    pub(crate) fn take_ping(&self) -> bool {
        self.ping_wanted.load(Ordering::Relaxed) && self.ping_wanted.swap(false, Ordering::AcqRel)
    }

    /// The adapter: the peer closed.
    pub(crate) fn closed_by_peer(&self, code: u16) {
        self.closing().by_peer.get_or_insert(CloseCode(code));
    }

    /// Asks the watcher to close.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.closing().wanted.get_or_insert(reason);
        // Kept for a watcher that does not wait yet.
        self.close_wanted.notify_one();
    }

    /// Waits until this end is to close.
    pub(crate) async fn close_wanted(&self) -> TunnelEnd {
        self.close_wanted.notified().await;
        TunnelEnd::Closed
    }

    /// Asks the adapter for a ping.
    fn ping(&self) {
        self.ping_wanted.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits until the peer has been silent for too long, and asks it for signs of life meanwhile.
    pub(crate) async fn silence(&self, config: &TunnelConfig) -> TunnelEnd {
        loop {
            let Some(left) = config
                .silence
                .checked_sub(self.quiet())
                .filter(|left| !left.is_zero())
            else {
                return TunnelEnd::Silent;
            };
            tokio::time::sleep(config.heartbeat.min(left)).await;
            self.ping();
        }
    }

    /// Whether the peer shows a sign of life within `patience`, asked now.
    pub(crate) async fn is_alive(&self, patience: Duration) -> bool {
        let heard = self.heard_now.notified();
        tokio::pin!(heard);
        // From here on a sign of life counts, also one that comes before the first poll below.
        heard.as_mut().enable();
        self.ping();
        tokio::time::timeout(patience, heard).await.is_ok()
    }

    /// Why the connection ended, given what it has to say about it.
    pub(crate) fn end(&self, result: Result<(), ConnectionError>) -> TunnelEnd {
        match (self.closing().by_peer, result) {
            (Some(code), _) => TunnelEnd::ClosedByPeer(code),
            (None, Ok(())) => TunnelEnd::ClosedByPeer(CloseCode(CloseReason::Done.code())),
            (None, Err(error)) => TunnelEnd::Broken(error.to_string()),
        }
    }

    /// What to say to the peer after such an end, if it may hear it.
    pub(crate) fn farewell(&self, end: &TunnelEnd) -> Option<CloseReason> {
        match end {
            TunnelEnd::Closed => Some(self.closing().wanted.unwrap_or(CloseReason::Done)),
            TunnelEnd::ClosedByPeer(_) => Some(CloseReason::Done),
            TunnelEnd::Broken(_) => Some(CloseReason::Protocol),
            TunnelEnd::Silent => None,
        }
    }

    fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.born)
    }

    /// For how long nothing has come from the peer.
    pub(crate) fn quiet(&self) -> Duration {
        self.age()
            .saturating_sub(Duration::from_micros(self.heard.load(Ordering::Relaxed)))
    }

    fn closing(&self) -> std::sync::MutexGuard<'_, Closing> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
