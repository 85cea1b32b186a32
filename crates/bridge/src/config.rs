//! The configuration of a bridge: typed and whole. Reading settings is the executable's business.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use llamapool_limits::MemoryBudget;

/// The program of a bridge, and the limits of its sessions.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// The directory in which the program runs; `None`: that of this process.
    pub directory: Option<PathBuf>,
    /// The whole environment of the program.
    pub environment: Vec<(OsString, OsString)>,
    /// The executable that guards the program: one that calls `llamapool_bridge::guard::run` when
    /// its first argument is
    /// `llamapool_bridge::guard::WORD`.
    pub guard: PathBuf,
    /// The most sessions that are open at once, each with a program of its own.
    pub max_sessions: usize,
    /// How long a session may be idle before it ends.
    pub session_idle: Duration,
    /// The age at which a session ends; `None`: at no age.
    pub session_max_age: Option<Duration>,
    /// The most programs that are started within a minute.
    pub max_starts_per_minute: usize,
    /// The longest message, in bytes, in either direction.
    pub max_message_bytes: usize,
    /// How many bytes of events each session keeps for clients that resume a stream.
    pub replay_bytes: usize,
    /// How long the program may take to answer which revisions it supports.
    pub era_patience: Duration,
    /// The longest time from a request to a program that callers share until its response, except
    /// for subscriptions; `None`: no bound.
    pub shared_call_timeout: Option<Duration>,
    /// True if callers without a session share one that the bridge begins.
    pub shared_session: bool,
    /// The memory for messages and events, which all bridges of a process have in common.
    pub memory: MemoryBudget,
}
