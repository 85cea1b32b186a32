//! The bridge as a whole: the part of it that answers a request, its start and its end.
//!
//! The bridge does what an MCP server does over HTTP and a program on standard input cannot:
//! sessions, event streams, statuses. Messages are forwarded byte for byte, except for the ids that
//! `multiplexer` remaps. A request is answered with what the program wrote, or with an error;
//! nothing is made up.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use llamapool_http::BoxError;
use llamapool_mcp::{RpcError, error_code, header as mcp};
use llamapool_wire::{CallError, header as wire};

use crate::caller::BridgeCaller;
use crate::config::BridgeConfig;
use crate::error::{ServeError, ServeResult};
use crate::error_events::BridgeBody;
use crate::health::{BridgeEvents, BridgeHealth};
use crate::launcher::{Launcher, StartingProgram};
use crate::post::{Era, Post, check_accepts_events};
use crate::response::{method_not_allowed, refusal_to_response, rpc_error};
use crate::sessions::Sessions;
use crate::shared_session::SharedSession;
use crate::start_gate::StartGate;
use crate::stateless::Stateless;
use crate::stats::BridgeStats;

/// A program, served over HTTP.
pub struct Bridge {
    max_message_bytes: usize,
    launcher: Launcher,
    sessions: Sessions,
    stateless: Stateless,
    shared_session: Option<SharedSession>,
}

impl Bridge {
    /// Creates a bridge. Programs are started by [`Self::run`] and by requests, and pass the gate
    /// that the bridges of a process share.
    pub fn new(config: BridgeConfig, events: impl BridgeEvents, gate: StartGate) -> Self {
        let max_message_bytes = config.max_message_bytes;
        let has_shared_session = config.shared_session;
        let launcher = Launcher::new(config, BridgeHealth::new(events), gate);

        Self {
            max_message_bytes,
            sessions: Sessions::new(launcher.clone()),
            stateless: Stateless::new(launcher.clone()),
            shared_session: has_shared_session.then(|| SharedSession::new(launcher.clone())),
            launcher,
        }
    }

    /// Returns the counts of programs and sessions.
    pub fn stats(&self) -> &BridgeStats {
        self.launcher.stats()
    }

    /// Returns the program that the bridge has started by itself and that has not written a message
    /// yet, `None` if there is none.
    pub fn starting(&self) -> Option<StartingProgram> {
        self.launcher.starting()
    }

    /// Attends to programs and sessions. Never returns; drop the future to stop.
    pub async fn run(&self) {
        self.launcher.warn_of_unset_variables();
        let shared_session = async {
            if let Some(shared_session) = &self.shared_session {
                shared_session.run().await;
            }
        };
        tokio::join!(self.sessions.run(), self.stateless.run(), shared_session);
    }

    /// Ends every program, and waits until none is left.
    pub async fn shutdown(&self) {
        self.launcher.end_all().await;
    }

    /// Answers one request to the MCP endpoint. The path is not read: the owner of the bridge
    /// decides at which path the endpoint is.
    ///
    /// What the caller holds, such as sessions, counts for its share. Returns the program's
    /// response, or a refusal that is part of MCP. `Err` is a failure of the
    /// program or the bridge, which the owner reports in its own form.
    pub async fn serve<B>(
        &self,
        request: Request<B>,
        caller: BridgeCaller,
    ) -> Result<Response<BridgeBody>, CallError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let result = match head.method {
            Method::POST => self.post(&head.headers, body, caller).await,
            Method::GET => check_accepts_events(&head.headers)
                .map_err(ServeError::from)
                .and_then(|()| self.sessions.get(&head.headers)),
            Method::DELETE => self.sessions.delete(&head.headers),
            _ => Ok(method_not_allowed()),
        };

        let response = refusal_to_response(result)?;
        Ok(response.map(|body| BridgeBody::new(body, request_id(&head.headers))))
    }

    async fn post<B>(&self, headers: &HeaderMap, body: B, caller: BridgeCaller) -> ServeResult
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let memory = self.launcher.memory().of_caller(caller.claims());
        let post = Post::read(headers, body, self.max_message_bytes, &memory).await?;
        match (post.era(headers), &self.shared_session) {
            (Era::Stateless, _) => self.stateless.post(headers, post, &memory).await,
            (Era::Sessions, Some(shared)) if is_without_session(headers, &post) => {
                shared.post(post, caller, &memory).await
            }
            (Era::Sessions, _) => self.sessions.post(headers, post, caller).await,
        }
    }
}

/// Returns the response of an MCP server to a path that is not its endpoint.
pub fn not_found(message: &str) -> Response<BridgeBody> {
    let error = RpcError::new(StatusCode::NOT_FOUND, error_code::BAD_REQUEST, message);
    rpc_error(&error).map(|body| BridgeBody::new(body, String::new()))
}

/// Returns whether a caller has no session and does not begin one.
fn is_without_session(headers: &HeaderMap, post: &Post) -> bool {
    let begins_session = post
        .messages
        .iter()
        .any(|message| message.method() == "initialize");
    !headers.contains_key(mcp::SESSION_ID) && !begins_session
}

/// Returns the id of a call, which the server assigned; empty if there is none.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(wire::REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
