//! The revisions without sessions, from 2026-07-28 on: each request contains everything, and one
//! program answers them all (MCP 2026-07-28, streamable HTTP and stdio).
//!
//! The program is asked once, before any caller, whether it supports these revisions (MCP
//! 2026-07-28, versioning). A caller that closes its stream cancels its request.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod headers;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use llamapool_mcp::{Message, RpcError, error_code};
use llamapool_wire::CallError;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use self::tools::{ToolHeaders, client_meta};
use crate::error::ServeResult;
use crate::launcher::Launcher;
use crate::multiplexer::Multiplexer;
use crate::post::Post;
use crate::response::{empty, json};
use crate::response_body::ResponseBody;
use crate::shared_program::SharedMessage;
use crate::shared_session::initialize_params;

/// The shortest wait before a program that exited at once is started again; the launcher may wait
/// longer.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// The program, as an HTTP endpoint.
pub(crate) struct Stateless {
    launcher: Launcher,
    program: watch::Sender<ProgramState>,
}

/// The state of the program.
#[derive(Clone)]
enum ProgramState {
    /// The bridge is asking for its revisions.
    Discovering,
    /// It supports these revisions, and runs.
    Running(Arc<StatelessProgram>),
    /// It supports only older revisions.
    Older,
    /// It exited while it was asked.
    Failed(CallError),
}

struct StatelessProgram {
    multiplexer: Arc<Multiplexer>,
    tools: ToolHeaders,
    /// The revisions that it supports; empty if it did not answer with a list.
    supported: Vec<String>,
}

impl StatelessProgram {
    /// Checks that the program supports the revision that a request names.
    fn check_version(&self, message: &Message) -> Result<(), RpcError> {
        let Some(version) = message.meta_revision() else {
            return Ok(());
        };
        if self.supported.is_empty() || self.supported.contains(&version) {
            Ok(())
        } else {
            Err(RpcError::unsupported_version(&version, &self.supported))
        }
    }
}

/// The outcome of asking a program for its revisions.
enum Discovery {
    Stateless { supported: Vec<String> },
    Older,
    Exited(CallError),
}

/// Why no program of these revisions was started.
enum ProgramStartError {
    /// The program supports only older revisions.
    Older,
    /// The program did not start.
    Failed(CallError),
}

impl Stateless {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            program: watch::Sender::new(ProgramState::Discovering),
        }
    }

    /// Keeps a program running, if it supports these revisions. Never returns.
    ///
    /// A program that does not start is tried again and again: the obstacle may be gone, and
    /// callers may use other relays meanwhile.
    pub(crate) async fn run(&self) {
        loop {
            self.program.send_replace(ProgramState::Discovering);
            match self.start().await {
                Ok(running) => {
                    let multiplexer = running.multiplexer.clone();
                    self.program.send_replace(ProgramState::Running(running));
                    multiplexer.attend().await;
                }
                Err(ProgramStartError::Older) => break,
                Err(ProgramStartError::Failed(failure)) => {
                    self.program.send_replace(ProgramState::Failed(failure));
                    self.retry_until_it_runs().await;
                }
            }
        }

        self.program.send_replace(ProgramState::Older);
        loop {
            self.launcher.until_unhealthy().await;
            self.retry_until_it_runs().await;
        }
    }

    async fn retry_until_it_runs(&self) {
        loop {
            let pause = self
                .launcher
                .pause()
                .map(|until| until - Instant::now())
                .unwrap_or_default();
            tokio::time::sleep(pause.max(BETWEEN_TRIES)).await;
            if self.try_to_run().await {
                return;
            }
        }
    }

    /// Starts the program for a moment. Returns whether it runs: it answers the request that
    /// programs of all revisions know, or does not exit.
    async fn try_to_run(&self) -> bool {
        let started = self
            .launcher
            .start(|input| Arc::new(Multiplexer::new(input, false, None)));
        let Ok(program) = started else {
            return false;
        };

        let params = initialize_params().to_string();
        let response = program.request("initialize", &params);
        let patience = self.launcher.config().era_patience;
        let answered = tokio::time::timeout(patience, response).await;
        program.input.close();
        !matches!(answered, Ok(Err(_)))
    }

    /// Answers a `POST`: a request or notification.
    pub(crate) async fn post(&self, headers: &HeaderMap, post: Post) -> ServeResult {
        let [message] = &post.messages[..] else {
            let text = "these revisions have no batches";
            return Err(RpcError::bad_request(error_code::INVALID_REQUEST, text).into());
        };
        let checked = SharedMessage::check(message, StatusCode::NOT_FOUND)?;

        let refuse = |error: RpcError| error.for_message(message);
        headers::check(headers, message).map_err(refuse)?;
        let program = self.program().await?;
        let program = program.ok_or_else(|| refuse(only_older_revisions()))?;
        program.check_version(message).map_err(refuse)?;

        let request = match checked {
            SharedMessage::Request(request) => request,
            SharedMessage::Notification(notification) => {
                program.multiplexer.notify(notification).await?;
                return Ok(empty(StatusCode::ACCEPTED));
            }
            // Callers cancel by disconnecting.
            SharedMessage::Dropped => return Ok(empty(StatusCode::ACCEPTED)),
        };

        if message.method() == "tools/call" {
            let params = message.params();
            let tool = params.name_for("tools/call").unwrap_or_default();
            let expected = program.tools.of(&program.multiplexer, &tool).await?;
            headers::check_arguments(headers, params.arguments(), &expected).map_err(refuse)?;
        }
        program
            .multiplexer
            .call(request)
            .await?
            .respond(whole)
            .await
    }

    /// Waits until the program has been asked for its revisions. `None` if it supports only older
    /// ones.
    async fn program(&self) -> Result<Option<Arc<StatelessProgram>>, CallError> {
        let mut program = self.program.subscribe();
        loop {
            let state = program.borrow_and_update().clone();
            match state {
                ProgramState::Running(running) if !running.multiplexer.has_exited() => {
                    return Ok(Some(running));
                }
                ProgramState::Older => return Ok(None),
                ProgramState::Failed(failure) => return Err(failure),
                ProgramState::Discovering | ProgramState::Running(_) => {}
            }
            // The sender is part of `self`, so this cannot fail.
            let _ = program.changed().await;
        }
    }

    /// Starts a program and asks for its revisions.
    async fn start(&self) -> Result<Arc<StatelessProgram>, ProgramStartError> {
        let timeout = self.launcher.config().shared_call_timeout;
        let multiplexer = self
            .launcher
            .start(|input| Arc::new(Multiplexer::new(input, true, timeout)))
            .map_err(ProgramStartError::Failed)?;

        let patience = self.launcher.config().era_patience;
        match discover(&multiplexer, patience).await {
            Discovery::Stateless { supported } => Ok(Arc::new(StatelessProgram {
                multiplexer,
                tools: ToolHeaders::default(),
                supported,
            })),
            Discovery::Older => {
                multiplexer.input.close();
                Err(ProgramStartError::Older)
            }
            // A program that runs otherwise, and exits when it is asked, supports only older
            // revisions.
            Discovery::Exited(_) if self.launcher.has_written() => Err(ProgramStartError::Older),
            Discovery::Exited(failure) => {
                let failure = self.launcher.not_started().unwrap_or(failure);
                Err(ProgramStartError::Failed(failure))
            }
        }
    }
}

/// Asks a program for its revisions.
async fn discover(program: &Arc<Multiplexer>, patience: Duration) -> Discovery {
    let params = json!({ "_meta": client_meta() }).to_string();
    let response = program.request("server/discover", &params);
    let response = match tokio::time::timeout(patience, response).await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => return Discovery::Exited(failure),
        // Some programs of older revisions answer nothing at all before they are initialized.
        Err(_) => return Discovery::Older,
    };
    if !response.has_result() && !is_stateless_error(response.error_code) {
        return Discovery::Older;
    }

    let result = response.result().unwrap_or_default();
    let versions = result["supportedVersions"].as_array().into_iter().flatten();
    let supported = versions.filter_map(|version| version.as_str().map(str::to_owned));
    Discovery::Stateless {
        supported: supported.collect(),
    }
}

/// Returns whether an error code exists only in the revisions without sessions.
fn is_stateless_error(code: Option<i64>) -> bool {
    matches!(
        code,
        Some(
            error_code::HEADER_MISMATCH
                | error_code::MISSING_CAPABILITY
                | error_code::UNSUPPORTED_VERSION
        )
    )
}

/// Returns the error by which a client that also supports the older revisions falls back to them.
/// It must not look like an error of the new ones.
fn only_older_revisions() -> RpcError {
    RpcError::bad_request(
        error_code::BAD_REQUEST,
        "this MCP server knows only revisions with initialize, up to 2025-11-25",
    )
}

/// Returns one JSON object with the status that belongs to its error code (MCP 2026-07-28,
/// streamable HTTP).
fn whole(message: Bytes, error: Option<i64>) -> Response<ResponseBody> {
    let status = match error {
        Some(error_code::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(error_code::PARSE | error_code::INVALID_REQUEST | error_code::INVALID_PARAMS) => {
            StatusCode::BAD_REQUEST
        }
        error if is_stateless_error(error) => StatusCode::BAD_REQUEST,
        Some(_) | None => StatusCode::OK,
    };
    json(status, message)
}
