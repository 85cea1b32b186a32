//! The bridge as a whole: which part of it answers a request, and how it starts and stops.
//!
//! The bridge does what an MCP server does over HTTP and a program cannot: sessions, event streams, statuses. Messages go
//! through as they came, but for what must be told apart (`shared.rs`). The one rule: a call is answered with what the
//! program said, or with an error that says what happened; nothing is made up.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use llamapool_http::BoxError;
use llamapool_mcp::header as mcp;
use llamapool_wire::{CallError, header as wire};

use crate::answers::{Answer, NoAnswer, Refusal, code, method_not_allowed};
use crate::config::BridgeConfig;
use crate::health::{BridgeEvents, Health};
use crate::launcher::Launcher;
use crate::legacy::Legacy;
use crate::load::Load;
use crate::modern::Modern;
use crate::plain::Plain;
use crate::posted::{self, Era, Posted, check_listens};
use crate::told::BridgeBody;

/// A program, served over HTTP.
pub struct Bridge {
    max_message_bytes: usize,
    launcher: Launcher,
    legacy: Legacy,
    modern: Modern,
    plain: Option<Plain>,
}

impl Bridge {
    /// Creates a bridge. No program is started before [`Self::run`] or a request.
    pub fn new(config: BridgeConfig, events: impl BridgeEvents) -> Self {
        let max_message_bytes = config.max_message_bytes;
        let is_shared = config.shared_session;
        let launcher = Launcher::new(config, Load::new(), Health::new(events));
        Self {
            max_message_bytes,
            legacy: Legacy::new(launcher.clone()),
            modern: Modern::new(launcher.clone()),
            plain: is_shared.then(|| Plain::new(launcher.clone())),
            launcher,
        }
    }

    /// Returns the counts of programs and sessions.
    pub fn load(&self) -> &Load {
        self.launcher.load()
    }

    /// Attends to programs and sessions. Does not return; drop the future to stop.
    pub async fn run(&self) {
        tokio::join!(self.legacy.tidy(), self.modern.run());
    }

    /// Ends every program, and waits until none is left.
    pub async fn shutdown(&self) {
        self.launcher.end_all().await;
    }

    /// Answers one request to the MCP endpoint, whatever its path.
    ///
    /// The response is the program's, or one that an MCP server gives over HTTP, such as a refusal. `Err` is a failure that
    /// the caller of this function reports in its own way.
    pub async fn serve<B>(&self, request: Request<B>) -> Result<Response<BridgeBody>, CallError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let answer = match head.method {
            Method::POST => self.post(&head.headers, body).await,
            Method::GET => check_listens(&head.headers)
                .map_err(NoAnswer::from)
                .and_then(|()| self.legacy.get(&head.headers)),
            Method::DELETE => self.legacy.delete(&head.headers),
            _ => Ok(method_not_allowed()),
        };
        let answer = NoAnswer::or_refusal(answer)?;
        Ok(answer.map(|body| BridgeBody::new(body, request_id(&head.headers))))
    }

    async fn post<B>(&self, headers: &HeaderMap, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let posted = posted::read(headers, body, self.max_message_bytes).await?;
        match (posted.era(headers), &self.plain) {
            (Era::Modern, _) => self.modern.post(headers, posted).await,
            (Era::Legacy, Some(plain)) if begins_nothing(headers, &posted) => {
                plain.post(posted).await
            }
            (Era::Legacy, _) => self.legacy.post(headers, posted).await,
        }
    }
}

/// Returns the 404 of an MCP server for a path that is not its endpoint.
pub fn not_found(message: &str) -> Response<BridgeBody> {
    let refusal = Refusal::new(StatusCode::NOT_FOUND, code::BAD_REQUEST, message);
    refusal
        .answer()
        .map(|body| BridgeBody::new(body, String::new()))
}

/// Whether a caller has no session and begins none.
fn begins_nothing(headers: &HeaderMap, posted: &Posted) -> bool {
    !headers.contains_key(mcp::SESSION_ID)
        && posted
            .messages
            .iter()
            .all(|message| message.method() != "initialize")
}

/// Returns the id of a call, as the server assigned it; empty where there is none.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(wire::REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
