//! The public side: gives the provider of every relay a URL and forwards each call through the
//! relay's tunnel.
//!
//! [`Server::bind`] takes the addresses, [`Server::run`] serves until it is stopped, and drains. This
//! crate reads no environment variable and installs nothing global; that is the executable's
//! business. It depends on no code of a relay: the two meet in `llamapool-wire` and on the tunnel.

mod audit;
mod auth;
mod calls;
mod config;
mod data_dir;
mod directory;
mod doors;
mod error;
mod fetch;
mod identity;
mod listen;
mod metrics;
mod page;
mod pool;
mod problems;
mod relays;
mod routes;
mod scheduler;
mod server;
mod sign_in;
mod tls;

pub use audit::{AuditCalls, AuditConfig};
pub use auth::{AuthConfig, Keys, LlmAccess};
pub use config::ServerConfig;
pub use data_dir::{DataDirConfig, is_in_use, server_key};
pub use doors::llm::{AffinityScope, LlmConfig, ModelAlias};
pub use doors::mcp::{McpConfig, TrustedPages};
pub use doors::state::StateConfig;
pub use fetch::{FetchNetwork, Internet, NetworkWork};
pub use identity::{AccessChanges, AccessReload, AccessReloadError, IdentityConfig};
pub use listen::{AdminListen, ListenConfig, ListenError};
pub use llamapool_certificates::{
    AcmeConfig, AcmeDirectory, CertificateFiles, CheckKind, DomainName, DomainNameError,
    ExternalAccount,
};
pub use relays::RelaysConfig;
pub use server::{Server, ServerLoad};
pub use sign_in::{DocumentLives, IssuerError, SignInConfig, check_public_url};
pub use tls::{CertificateReload, TlsConfig};

/// The checks of the fuzz targets in `fuzz/`.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::doors::mcp::fuzzing::{call_head, cookie, seal, target};
}
