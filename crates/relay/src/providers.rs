//! The kinds of providers that a relay makes reachable, as one.

mod mcp_http;
mod mcp_stdio;
mod token;

use http::{HeaderMap, Request, Response};
use llamapool_bridge::BridgeStats;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::CallError;
use llamapool_wire::path::OAuthDocument;

use self::mcp_stdio::McpStdio;
use crate::answer_body::{self, AnswerBody};
use crate::board::{ProviderBoard, RunningCall};
use crate::config::{ProviderConfig, ProviderKind};

pub(crate) use self::mcp_http::McpHttp;

/// A provider.
pub(crate) enum Provider {
    /// It speaks HTTP.
    Http(Box<McpHttp>),
    /// It is a program.
    Stdio(Box<McpStdio>),
}

impl Provider {
    /// The provider that a configuration describes, which reports to this board.
    pub(crate) fn new(
        config: &ProviderConfig,
        max_header_bytes: u32,
        tls: rustls::ClientConfig,
        board: &ProviderBoard,
    ) -> Self {
        let (token, health) = (config.auth_token.clone(), board.health());
        match &config.kind {
            ProviderKind::Http(http) => Self::Http(Box::new(McpHttp::new(
                http,
                token,
                max_header_bytes,
                tls,
                health,
            ))),
            ProviderKind::Stdio(stdio) => {
                Self::Stdio(Box::new(McpStdio::new(stdio.clone(), token, health)))
            }
        }
    }

    /// Answers one call; `below` is what the caller's path has behind the id.
    pub(crate) async fn call(
        &self,
        request: Request<IncomingBody>,
        below: &str,
        call: RunningCall,
    ) -> Result<Response<AnswerBody>, CallError> {
        match self {
            Self::Http(http) => http.call(request, below, call).await,
            Self::Stdio(stdio) => stdio.call(request, below, call).await,
        }
    }

    /// One of its OAuth documents. A program has none: it takes its credentials from its environment (MCP 2025-06-18,
    /// authorization).
    pub(crate) async fn document(
        &self,
        which: OAuthDocument,
        asked: &HeaderMap,
        mut call: RunningCall,
    ) -> Result<Response<AnswerBody>, CallError> {
        match self {
            Self::Http(http) => http.document(which, asked, call).await,
            Self::Stdio(_) => {
                call.answered();
                Ok(answer_body::empty(http::StatusCode::NOT_FOUND))
            }
        }
    }

    /// Ends what was started for it, and waits until nothing is left.
    pub(crate) async fn end(&self) {
        match self {
            Self::Http(_) => {}
            Self::Stdio(stdio) => stdio.end().await,
        }
    }

    /// What a program's bridge runs.
    pub(crate) fn load(&self) -> Option<&BridgeStats> {
        match self {
            Self::Http(_) => None,
            Self::Stdio(stdio) => Some(stdio.load()),
        }
    }
}
