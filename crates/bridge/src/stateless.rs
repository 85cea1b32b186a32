//! The revisions without sessions, from 2026-07-28 on: each request contains everything, and one
//! program answers them all (MCP 2026-07-28, streamable HTTP and stdio).
//!
//! The program is asked once, before any caller, whether it supports these revisions (MCP
//! 2026-07-28, versioning). A caller that closes its stream cancels its request.

mod discovery;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod headers;
mod tools;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use llamapool_limits::MemoryAccount;
use llamapool_mcp::{Message, RpcError, ServerFacts, error_code};
use llamapool_wire::CallError;
use tokio::sync::watch;
use tokio::time::Instant;

use self::discovery::{Discovery, DiscoveryPatience, discover, is_stateless_error};
use self::tools::{ToolHeaders, client_meta};
use crate::error::ServeResult;
use crate::first_exchange::{ask_spare, ask_stateless, with_tools_of_session};
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
/// The shortest time between two checks whether programs can be started, after one that was good.
const BETWEEN_CHECKS: Duration = Duration::from_secs(10);

/// The program, as an HTTP endpoint.
pub(crate) struct Stateless {
    launcher: Launcher,
    program: watch::Sender<ProgramState>,
    /// Set once the first exchange is over.
    has_facts: AtomicBool,
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
    /// Its facts, as it sent them with those.
    facts: ServerFacts,
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
            has_facts: AtomicBool::new(false),
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
                    let asking = self.ask_for_tools(running.clone());
                    self.program.send_replace(ProgramState::Running(running));
                    tokio::select! {
                        () = multiplexer.attend() => {}
                        never = asking => match never {},
                        never = self.attend_to_health() => match never {},
                    }
                }
                Err(ProgramStartError::Older) => break,
                Err(ProgramStartError::Failed(failure)) => {
                    self.program.send_replace(ProgramState::Failed(failure));
                    self.retry_until_it_runs().await;
                }
            }
        }

        self.program.send_replace(ProgramState::Older);
        let idle = self.launcher.config().sessions.idle;
        let expiring = async {
            self.launcher.spare().expire(idle).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // In any order: none ends.
            () = expiring => {}
            never = self.ask_spare() => match never {},
            never = self.attend_to_health() => match never {},
        }
    }

    /// Finds out, whenever a start failed, whether programs can be started. Never returns.
    async fn attend_to_health(&self) -> Infallible {
        loop {
            self.launcher.until_doubtful().await;
            self.retry_until_it_runs().await;
            // Callers whose requests end programs must not keep the bridge busy.
            tokio::time::sleep(BETWEEN_CHECKS).await;
        }
    }

    /// Has the first exchange with a program of sessions. Never returns.
    async fn ask_spare(&self) -> Infallible {
        if self.launcher.config().asks_for_facts && !self.has_facts.load(Ordering::Relaxed) {
            ask_spare(&self.launcher).await;
        }
        std::future::pending().await
    }

    /// Ends the first exchange with a program without sessions. Never returns.
    async fn ask_for_tools(&self, program: Arc<StatelessProgram>) -> Infallible {
        if self.launcher.config().asks_for_facts {
            let facts = program.facts.clone();
            ask_stateless(&self.launcher, &program.multiplexer, facts, client_meta()).await;
        }
        drop(program);
        std::future::pending().await
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
    /// programs of all revisions know.
    async fn try_to_run(&self) -> bool {
        let starting = self
            .launcher
            .start(|input| Arc::new(Multiplexer::new(input, false, None)));
        let Ok((program, _)) = starting.await else {
            return false;
        };

        let params = initialize_params().to_string();
        let response = program.request("initialize", &params);
        let patience = self.launcher.config().starts.patience;
        let answered = tokio::time::timeout(patience, response).await;
        program.input.close();
        match answered {
            Ok(answer) => answer.is_ok(),
            Err(_) => {
                self.launcher.note_silence(patience);
                false
            }
        }
    }

    /// Answers a `POST`: a request or notification. What waits for the caller is counted in `memory`.
    pub(crate) async fn post(
        &self,
        headers: &HeaderMap,
        post: Post,
        memory: &MemoryAccount,
    ) -> ServeResult {
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
            .call(request, memory)
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
        loop {
            let starting = self
                .launcher
                .start(|input| Arc::new(Multiplexer::new(input, true, timeout)));
            let (multiplexer, handle) = starting.await.map_err(ProgramStartError::Failed)?;
            let spare = self.launcher.spare();
            spare.put(handle, multiplexer.clone());

            let config = self.launcher.config();
            let patience = DiscoveryPatience {
                revisions: config.era_patience,
                start: config.starts.patience,
            };
            match discover(&multiplexer, spare, patience).await {
                Discovery::Stateless { supported, facts } if spare.remove() => {
                    return Ok(Arc::new(StatelessProgram {
                        multiplexer,
                        tools: ToolHeaders::default(),
                        supported,
                        facts,
                    }));
                }
                // It may treat that session as begun, or is a caller's: another program takes its
                // place, which now starts sooner.
                Discovery::Stateless { .. } | Discovery::StatelessButInitialized => {
                    self.end_spare(&multiplexer);
                }
                Discovery::Older {
                    is_initialized,
                    facts,
                } => {
                    self.keep_spare(&multiplexer, is_initialized, facts).await;
                    return Err(ProgramStartError::Older);
                }
                Discovery::Silent => {
                    self.end_spare(&multiplexer);
                    let failure = self.launcher.note_silence(patience.start);
                    return Err(ProgramStartError::Failed(failure));
                }
                // A program that runs otherwise, and exits when it is asked or passes over the
                // question, supports only older revisions.
                Discovery::Exited(_) if self.launcher.has_answered() => {
                    spare.remove();
                    return Err(ProgramStartError::Older);
                }
                Discovery::Exited(failure) => {
                    spare.remove();
                    let failure = self.launcher.not_started().unwrap_or(failure);
                    return Err(ProgramStartError::Failed(failure));
                }
            }
        }
    }

    /// Keeps the program that was asked for the first caller that can use it. One that no caller can
    /// use is asked for its tools before it ends.
    async fn keep_spare(
        &self,
        multiplexer: &Arc<Multiplexer>,
        is_initialized: bool,
        facts: Option<ServerFacts>,
    ) {
        let is_shared = self.launcher.config().shared_session;
        if let Some(facts) = facts.filter(|_| self.launcher.config().asks_for_facts) {
            let facts = if is_shared {
                facts
            } else {
                with_tools_of_session(multiplexer, facts).await
            };
            self.launcher.note_facts(Some(facts));
            self.has_facts.store(true, Ordering::Relaxed);
        }
        if is_initialized && !is_shared {
            self.end_spare(multiplexer);
        } else {
            self.launcher.spare().keep();
        }
    }

    /// Ends the program that was asked, unless a caller has taken it.
    fn end_spare(&self, multiplexer: &Multiplexer) {
        if self.launcher.spare().remove() {
            multiplexer.input.close();
        }
    }
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
