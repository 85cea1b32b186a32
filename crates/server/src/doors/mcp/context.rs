//! The context of calls to MCP providers.

use std::sync::Arc;
use std::time::Duration;

use llamapool_http::{ForwardTimeouts, RequestPace};
use llamapool_limits::MemoryBudget;
use llamapool_mcp::MethodLabel;

use super::pages::TrustedPages;
use super::session_seal::SessionSeal;
use crate::auth::Auth;
use crate::calls::{CallMetrics, Forwarder};
use crate::directory::Directory;
use crate::listen::PublicUrl;
use crate::relays::Registry;
use crate::scheduler::DrainGate;

/// Calls to MCP providers.
#[derive(Debug, Clone)]
pub struct McpConfig {
    /// The largest request body, in bytes.
    pub max_request_bytes: u64,
    /// The largest body that is read to decide on its message, in bytes; no more than
    /// `max_request_bytes`.
    pub policy_max_bytes: usize,
    /// The bytes of all bodies that are read to decide on their messages.
    pub policy_max_memory: usize,
    /// The time for a whole body that is read to decide on its message.
    pub policy_timeout: Duration,
    /// The largest single response made of an event stream, in bytes.
    pub max_answer_bytes: usize,
    /// The most calls at once to one id; 0: what its tunnels can carry.
    pub max_calls_per_id: usize,
    /// The time from a call to the head of its answer.
    pub first_byte_timeout: Duration,
    /// The time between two pieces of an answer; zero: no limit.
    pub stream_idle_timeout: Duration,
    /// The time for a whole call; zero: no limit.
    pub call_timeout: Duration,
    /// The time without a byte after which an event stream gets a comment; zero: never.
    pub stream_keepalive: Duration,
    /// The time between two pieces of a request body, and the grace of its least rate; zero: no
    /// limit.
    pub request_idle_timeout: Duration,
    /// The least rate of a request body, in bytes per second, over the time that it is waited for
    /// beyond the idle timeout; 0: none.
    pub request_min_rate: u64,
    /// The time for the lost relay of a session to come back, where several relays share an id.
    pub session_grace: Duration,
    /// The ids whose pages a browser runs as pages of the public origin.
    pub trusted_pages: TrustedPages,
}

/// The context of calls to MCP providers: what the stages of a call work with.
pub(crate) struct McpDoor {
    /// Withholds the server's own keys.
    pub(crate) auth: Arc<Auth>,
    pub(crate) directory: Directory,
    /// Remembers lost relays, for which sessions wait.
    pub(crate) registry: Registry,
    /// Closed while the server drains.
    pub(crate) gate: Arc<DrainGate>,
    /// Seals the sessions of shared ids.
    pub(crate) seal: SessionSeal,
    pub(crate) public_url: PublicUrl,
    /// The memory of the process.
    pub(crate) memory: MemoryBudget,
    /// The part of it for bodies that are read to decide on their messages.
    pub(crate) policy_memory: MemoryBudget,
    pub(crate) metrics: CallMetrics<MethodLabel>,
    pub(crate) forwarder: Forwarder,
    /// Whether the server has pages of its own on the public origin, beside which no provider may have
    /// one.
    pub(crate) has_own_pages: bool,
    pub(crate) config: McpConfig,
}

impl McpConfig {
    /// Returns the forwarder of calls within these bounds.
    pub(crate) fn forwarder(&self) -> Forwarder {
        let unless_zero = |span: Duration| (!span.is_zero()).then_some(span);
        Forwarder {
            timeouts: ForwardTimeouts {
                first_headers: unless_zero(self.first_byte_timeout),
                idle: unless_zero(self.stream_idle_timeout),
                total: unless_zero(self.call_timeout),
            },
            max_request_bytes: self.max_request_bytes,
            pace: RequestPace {
                idle: unless_zero(self.request_idle_timeout),
                min_rate: self.request_min_rate,
            },
        }
    }
}

impl Default for McpConfig {
    fn default() -> Self {
        Self {
            max_request_bytes: 64 << 20,
            policy_max_bytes: 1 << 20,
            policy_max_memory: 256 << 20,
            policy_timeout: Duration::from_secs(30),
            max_answer_bytes: 64 << 20,
            max_calls_per_id: 0,
            first_byte_timeout: Duration::from_secs(120),
            stream_idle_timeout: Duration::ZERO,
            call_timeout: Duration::ZERO,
            stream_keepalive: Duration::from_secs(15),
            request_idle_timeout: Duration::from_secs(30),
            request_min_rate: 240,
            session_grace: Duration::from_secs(60),
            trusted_pages: TrustedPages::default(),
        }
    }
}
