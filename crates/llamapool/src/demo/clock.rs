//! The demo's MCP server: the tools `time/now` and `echo`, built with the official SDK.
//!
//! It knows nothing of llamapool: any MCP server could stand in its place.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use axum::Router;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, schemars, tool, tool_handler, tool_router};
use tokio::net::TcpListener;

/// The MCP server, on a loopback port that was free.
pub(super) struct Clock {
    listener: TcpListener,
}

impl Clock {
    pub(super) async fn bind() -> anyhow::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        })
    }

    /// Its MCP endpoint.
    pub(super) fn url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}/mcp", self.listener.local_addr()?))
    }

    pub(super) async fn run(self) -> anyhow::Result<()> {
        // Stateless, so that a single curl without a session is answered.
        let mut config = StreamableHttpServerConfig::default();
        config.legacy_session_mode = false;
        config.json_response = true;
        let sessions = Arc::new(LocalSessionManager::default());
        let service = StreamableHttpService::new(
            || {
                Ok(Tools {
                    router: Tools::tool_router(),
                })
            },
            sessions,
            config,
        );
        axum::serve(self.listener, Router::new().nest_service("/mcp", service))
            .await
            .context("the connection")
    }
}

/// The tools.
struct Tools {
    router: ToolRouter<Self>,
}

/// What `echo` is given.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct EchoArguments {
    /// The text that comes back.
    text: String,
}

#[tool_router]
impl Tools {
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
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}
