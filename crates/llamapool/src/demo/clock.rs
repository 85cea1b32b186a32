//! The demo's MCP server, with the tools `time/now` and `echo`.
//!
//! It is built with the official SDK and contains nothing of llamapool, so that the demo shows what
//! any MCP server would.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use axum::Router;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, schemars, tool, tool_handler, tool_router};
use tokio::net::TcpListener;

/// The MCP server, on a loopback port that was free.
pub(super) struct Clock {
    listener: TcpListener,
}

impl Clock {
    /// Binds a free port on loopback.
    pub(super) async fn bind() -> anyhow::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        })
    }

    /// Returns the URL of its MCP endpoint.
    pub(super) fn url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}/mcp", self.listener.local_addr()?))
    }

    /// Serves until it is dropped, or fails.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // Stateless, so that a single curl needs no session.
        let mut config = StreamableHttpServerConfig::default();
        config.legacy_session_mode = false;
        config.json_response = true;

        let sessions = Arc::new(LocalSessionManager::default());
        let service = StreamableHttpService::new(|| Ok(ClockTools::new()), sessions, config);

        axum::serve(self.listener, Router::new().nest_service("/mcp", service))
            .await
            .context("the connection")
    }
}

/// The tools.
struct ClockTools {
    router: ToolRouter<Self>,
}

/// The arguments of `echo`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct EchoArguments {
    /// The text to return.
    text: String,
}

#[tool_router]
impl ClockTools {
    fn new() -> Self {
        Self {
            router: Self::tool_router(),
        }
    }

    #[tool(name = "time/now", description = "The time, in UTC")]
    fn now(&self) -> String {
        humantime::format_rfc3339_micros(SystemTime::now()).to_string()
    }

    #[tool(name = "echo", description = "The same text")]
    fn echo(&self, Parameters(EchoArguments { text }): Parameters<EchoArguments>) -> String {
        text
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for ClockTools {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("clock", env!("CARGO_PKG_VERSION")))
    }
}
