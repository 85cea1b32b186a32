//! The configuration of a bridge: typed and whole. Reading settings is the executable's business.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use llamapool_limits::MemoryBudget;

/// The program of a bridge, and the limits of its sessions.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// The name of the provider in the log; `None` where there is only one.
    pub label: Option<Arc<str>>,
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// The directory in which the program runs; `None`: that of this process.
    pub directory: Option<PathBuf>,
    /// The whole environment of the program.
    pub environment: Vec<(OsString, OsString)>,
    /// Variables that the program was to inherit and that are not set. A warning names them.
    pub unset_variables: Vec<String>,
    /// Variables of this process that the program does not get. They are named when it does not
    /// start.
    pub withheld_variables: Vec<String>,
    /// The executable that guards the program: one that calls `llamapool_bridge::guard::run` when
    /// its first argument is
    /// `llamapool_bridge::guard::WORD`.
    pub guard: PathBuf,
    /// The limits of sessions.
    pub sessions: SessionLimits,
    /// The limits of starts of the program.
    pub starts: StartLimits,
    /// The longest message, in bytes, in either direction.
    pub max_message_bytes: usize,
    /// How many bytes of events each session keeps for clients that resume a stream.
    pub replay_bytes: usize,
    /// True if the bridge asks the program who it is, in one exchange before any caller.
    pub asks_for_facts: bool,
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

impl BridgeConfig {
    /// Returns whether another configuration makes the same bridge. Label and memory are given by
    /// the process.
    pub fn is_same_as(&self, other: &Self) -> bool {
        // Without `..`, so that a new field cannot be forgotten here.
        let Self {
            label: _,
            command,
            directory,
            environment,
            unset_variables,
            withheld_variables,
            guard,
            sessions,
            starts,
            max_message_bytes,
            replay_bytes,
            era_patience,
            shared_call_timeout,
            shared_session,
            // Only the first exchange depends on it, which is over.
            asks_for_facts: _,
            memory: _,
        } = self;

        *command == other.command
            && *directory == other.directory
            && *environment == other.environment
            && *unset_variables == other.unset_variables
            && *withheld_variables == other.withheld_variables
            && *guard == other.guard
            && *sessions == other.sessions
            && *starts == other.starts
            && *max_message_bytes == other.max_message_bytes
            && *replay_bytes == other.replay_bytes
            && *era_patience == other.era_patience
            && *shared_call_timeout == other.shared_call_timeout
            && *shared_session == other.shared_session
    }
}

/// The limits of sessions, each of which has a program of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// The most sessions that are open at once.
    pub max_sessions: usize,
    /// How long a session may be idle before it ends.
    pub idle: Duration,
    /// How long a session must be idle before it can be ended for a new one, where `max_sessions`
    /// are open.
    pub yield_after: Duration,
    /// The age at which a session ends; `None`: at no age.
    pub max_age: Option<Duration>,
}

/// The limits of starts of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartLimits {
    /// The most programs that are started within a minute.
    pub max_per_minute: usize,
    /// How long a program that no caller waits for may take to its first message.
    pub patience: Duration,
}
