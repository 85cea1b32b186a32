//! The configuration of a server, assembled from those of its parts.
//!
//! Each part has its own struct with its defaults beside its code. Reading settings is the
//! executable's business; here they are typed and complete.

use std::time::Duration;

use llamapool_wire::BuildInfo;

use crate::audit::AuditConfig;
use crate::auth::AuthConfig;
use crate::data_dir::DataDirConfig;
use crate::doors::llm::LlmConfig;
use crate::doors::mcp::McpConfig;
use crate::doors::state::StateConfig;
use crate::identity::IdentityConfig;
use crate::listen::ListenConfig;
use crate::relays::RelaysConfig;
use crate::sign_in::SignInConfig;

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The listeners and the public address of the server.
    pub listen: ListenConfig,
    /// The keys, and the accepted values of `Origin` and `Host`.
    pub auth: AuthConfig,
    /// The declared keys, and the access of ids.
    pub identity: IdentityConfig,
    /// The audit log; there is none without a data directory.
    pub audit: AuditConfig,
    /// The own authorization server; `None`: off.
    pub sign_in: Option<SignInConfig>,
    /// The relays and their tunnels.
    pub relays: RelaysConfig,
    /// Calls to MCP providers.
    pub mcp: McpConfig,
    /// Calls to LLM runtimes.
    pub llm: LlmConfig,
    /// The state API.
    pub state: StateConfig,
    /// The bytes that the process may hold for callers: unread bytes, collected answers, buffers of
    /// HTTP/2 connections.
    pub max_memory: usize,
    /// The directory of what outlives the run.
    pub data_dir: DataDirConfig,
    /// The time for calls that still run when the server is stopped.
    pub drain_timeout: Duration,
    /// The version, commit and date of the program.
    pub build: BuildInfo,
}

impl ServerConfig {
    /// The default of [`ServerConfig::drain_timeout`].
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
}
