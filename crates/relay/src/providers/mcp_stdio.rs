//! An MCP provider that is a program: what it says on standard input and output becomes MCP over HTTP.
//!
//! The bridge does what an MCP server does over HTTP and a program cannot: sessions, event streams, statuses. Messages go
//! through as they came, but for what must be told apart (`shared.rs`). The one rule: a call is answered with what the
//! program said, or with an error that says what happened; nothing is made up.

mod answers;
mod child;
mod crew;
mod event_id;
mod head;
mod input;
mod launcher;
mod legacy;
mod lines;
mod load;
mod message;
mod modern;
mod pipe;
mod plain;
mod posted;
mod rewrite;
mod shared;
mod sse;
mod stderr;
mod told;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use llamapool_http::{BoxError, ForwardTimeouts};
use llamapool_wire::{CallError, Secret};
use tokio::time::Instant;

use self::answers::{Refusal, code, method_not_allowed};
use self::launcher::Launcher;
use self::legacy::Legacy;
use self::modern::Modern;
use self::plain::Plain;
use self::posted::{Era, Posted, check_listens};
use self::told::ToldBody;
use crate::answer_body::AnswerBody;
use crate::board::{HealthReport, RunningCall};
use crate::config::StdioConfig;
use crate::error::request_id;
use crate::providers::token::check_token;

pub(crate) use self::load::Load;

/// An answer as the bridge gives it.
type Answer = Result<Response<AnswerBody>, NoAnswer>;

/// Why the program is not asked, or has not answered.
#[derive(Debug)]
enum NoAnswer {
    /// An MCP server would refuse it.
    Refusal(Refusal),
    /// Something has failed.
    CallError(CallError),
}

/// The provider.
pub(crate) struct McpStdio {
    max_message_bytes: usize,
    auth_token: Option<Secret>,
    launcher: Launcher,
    legacy: Legacy,
    modern: Modern,
    plain: Option<Plain>,
}

impl McpStdio {
    pub(crate) fn new(
        config: StdioConfig,
        auth_token: Option<Secret>,
        health: HealthReport,
    ) -> Self {
        let (max_message_bytes, is_shared) = (config.max_message_bytes, config.shared_session);
        let launcher = Launcher::new(config, Load::new(), health);
        Self {
            max_message_bytes,
            auth_token,
            legacy: Legacy::new(launcher.clone()),
            modern: Modern::new(launcher.clone()),
            plain: is_shared.then(|| Plain::new(launcher.clone())),
            launcher,
        }
    }

    /// What the bridge runs.
    pub(crate) fn load(&self) -> &Load {
        self.launcher.load()
    }

    /// Looks after programs and sessions, for as long as the relay lives.
    pub(crate) async fn run(&self) {
        tokio::join!(self.legacy.tidy(), self.modern.run());
    }

    /// Ends every program, and waits until none is left.
    pub(crate) async fn end(&self) {
        self.launcher.end_all().await;
    }

    /// Answers one call; `below` is what the caller's path has behind the id.
    pub(crate) async fn call<B>(
        &self,
        request: Request<B>,
        below: &str,
        mut call: RunningCall,
    ) -> Result<Response<AnswerBody>, CallError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        check_token(self.auth_token.as_ref(), &head.headers).inspect_err(|_| call.failed())?;
        let answer = if !matches!(below, "" | "/") {
            Ok(Refusal::new(
                StatusCode::NOT_FOUND,
                code::BAD_REQUEST,
                "Not Found: MCP is at the URL of the id",
            )
            .answer())
        } else {
            match head.method {
                Method::POST => self.post(&head.headers, body).await,
                Method::GET => check_listens(&head.headers)
                    .map_err(NoAnswer::from)
                    .and_then(|()| self.legacy.get(&head.headers)),
                Method::DELETE => self.legacy.delete(&head.headers),
                _ => Ok(method_not_allowed()),
            }
        };
        let answer = NoAnswer::or_refusal(answer).inspect_err(|_| call.failed())?;
        let answer = answer.map(|body| ToldBody::new(body, request_id(&head.headers)));
        let answer = ForwardTimeouts::default().carry(answer, Instant::now(), call);
        Ok(answer
            .map(|body| http_body_util::BodyExt::map_err(body, Into::into))
            .map(http_body_util::BodyExt::boxed_unsync))
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

/// Whether a caller has no session and begins none.
fn begins_nothing(headers: &HeaderMap, posted: &Posted) -> bool {
    !headers.contains_key(llamapool_mcp::header::SESSION_ID)
        && posted
            .messages
            .iter()
            .all(|message| message.method() != "initialize")
}
