//! The revisions without sessions, from 2026-07-28 on: every request stands for itself, and one program answers them all
//! (MCP 2026-07-28, streamable HTTP and stdio).
//!
//! Whether the program knows these revisions is asked once, before a caller asks (MCP 2026-07-28, versioning). The one rule:
//! who closes the stream cancels the request.

mod headers;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use llamapool_wire::CallError;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use self::tools::{Tools, client_meta};
use crate::answers::{Answer, Refusal, code, json};
use crate::body::{InnerBody, empty};
use crate::head::{AT_ONCE, head};
use crate::launcher::Launcher;
use crate::message::{Kind, Message};
use crate::plain::initialize_params;
use crate::posted::Posted;
use crate::shared::Shared;

/// The shortest wait before a program that has ended at once is tried again; the launcher knows the others.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// The program, as HTTP sees it.
pub(crate) struct Modern {
    launcher: Launcher,
    program: watch::Sender<Program>,
}

/// What is known of the program.
#[derive(Clone)]
enum Program {
    /// It is being asked which revisions it knows.
    Asked,
    /// It knows these, and runs.
    Runs(Arc<Running>),
    /// It knows only older ones.
    IsOlder,
    /// It has ended while it was asked.
    Failed(CallError),
}

struct Running {
    shared: Arc<Shared>,
    tools: Tools,
    /// The revisions that it knows, as it says.
    supported: Vec<String>,
}

impl Running {
    /// The program knows the revision that a request names.
    fn check_version(&self, message: &Message) -> Result<(), Refusal> {
        let Some(version) = message.modern_version() else {
            return Ok(());
        };
        let is_known = self.supported.is_empty() || self.supported.contains(&version);
        if is_known {
            Ok(())
        } else {
            Err(Refusal::unsupported_version(&version, &self.supported))
        }
    }
}

/// What the program said when it was asked.
enum Verdict {
    Modern { supported: Vec<String> },
    Older,
    Ended(CallError),
}

impl Modern {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            program: watch::Sender::new(Program::Asked),
        }
    }

    /// Keeps a program running that knows these revisions, if it does, for as long as the bridge lives. Where it does not run,
    /// it is tried again and again: what was in its way may be gone, and callers may go elsewhere meanwhile.
    pub(crate) async fn run(&self) {
        loop {
            self.program.send_replace(Program::Asked);
            match self.start().await {
                Ok(running) => {
                    self.program.send_replace(Program::Runs(running.clone()));
                    running.shared.ended_at_all().await;
                }
                Err(None) => break,
                Err(Some(failure)) => {
                    self.program.send_replace(Program::Failed(failure));
                    self.until_it_works().await;
                }
            }
        }
        self.program.send_replace(Program::IsOlder);
        loop {
            self.launcher.until_unreachable().await;
            self.until_it_works().await;
        }
    }

    async fn until_it_works(&self) {
        loop {
            let pause = self
                .launcher
                .pause()
                .map(|until| until - Instant::now())
                .unwrap_or_default();
            tokio::time::sleep(pause.max(BETWEEN_TRIES)).await;
            if self.works().await {
                return;
            }
        }
    }

    /// Whether the program runs: it says anything to the request that programs of all revisions know, or stays.
    async fn works(&self) -> bool {
        let Ok(shared) = self
            .launcher
            .start(|input| Arc::new(Shared::new(input, false)))
        else {
            return false;
        };
        let params = initialize_params().to_string();
        let asked = tokio::time::timeout(
            self.launcher.config().era_patience,
            shared.ask("initialize", &params),
        )
        .await;
        shared.input.close();
        !matches!(asked, Ok(Err(_)))
    }

    /// `POST`: a request or notification.
    pub(crate) async fn post(&self, headers: &HeaderMap, posted: Posted) -> Answer {
        let [message] = &posted.messages[..] else {
            let text = "these revisions have no batches";
            return Err(Refusal::bad_request(code::INVALID_REQUEST, text).into());
        };
        if message.kind == Kind::Response {
            let text = "a client sends requests and notifications alone";
            return Err(Refusal::bad_request(code::INVALID_REQUEST, text).into());
        }
        headers::check(headers, message).map_err(|refusal| refusal.of(message))?;
        let running = self.running().await?;
        let Some(running) = running else {
            return Err(is_older().of(message).into());
        };
        running
            .check_version(message)
            .map_err(|refusal| refusal.of(message))?;
        if message.kind == Kind::Notification {
            // Whose request a cancellation means cannot be known here: callers cancel by leaving.
            if message.method() != "notifications/cancelled" {
                running.shared.notify(message).await?;
            }
            return Ok(empty(StatusCode::ACCEPTED));
        }
        if message.method() == "tools/call" {
            let params = message.params();
            let tool = params.name_for("tools/call").unwrap_or_default();
            let repeated = running.tools.repeated(&running.shared, &tool).await?;
            headers::check_arguments(headers, params.arguments, &repeated)
                .map_err(|refusal| refusal.of(message))?;
        }
        let (outlet, guard) = running.shared.call(message).await?.into_parts();
        head(outlet, guard, AT_ONCE, || {}, whole).await
    }

    /// The program, once it is known; none if it knows only older revisions.
    async fn running(&self) -> Result<Option<Arc<Running>>, CallError> {
        let mut program = self.program.subscribe();
        loop {
            let known = program.borrow_and_update().clone();
            match known {
                Program::Runs(running) if !running.shared.is_gone() => return Ok(Some(running)),
                Program::IsOlder => return Ok(None),
                Program::Failed(failure) => return Err(failure),
                Program::Asked | Program::Runs(_) => {}
            }
            // Its sender is here.
            let _ = program.changed().await;
        }
    }

    /// Starts a program and asks which revisions it knows; none where it knows older ones alone.
    async fn start(&self) -> Result<Arc<Running>, Option<CallError>> {
        let shared = self
            .launcher
            .start(|input| Arc::new(Shared::new(input, true)))
            .map_err(Some)?;
        let patience = self.launcher.config().era_patience;
        match verdict(&shared, patience).await {
            Verdict::Modern { supported } => Ok(Arc::new(Running {
                shared,
                tools: Tools::default(),
                supported,
            })),
            Verdict::Older => {
                shared.input.close();
                Err(None)
            }
            // A program that runs otherwise, and ends of being asked, knows older revisions alone.
            Verdict::Ended(_) if self.launcher.has_spoken() => Err(None),
            Verdict::Ended(failure) => Err(Some(self.launcher.not_started().unwrap_or(failure))),
        }
    }
}

async fn verdict(shared: &Arc<Shared>, patience: Duration) -> Verdict {
    let params = json!({ "_meta": client_meta() }).to_string();
    match tokio::time::timeout(patience, shared.ask("server/discover", &params)).await {
        // Some programs of older revisions say nothing at all before they are initialized.
        Err(_) => Verdict::Older,
        Ok(Err(failure)) => Verdict::Ended(failure),
        Ok(Ok(answer)) if answer.is_result() || is_modern_error(answer.error_code) => {
            let result: serde_json::Value =
                serde_json::from_str(answer.result()).unwrap_or_default();
            let versions = result["supportedVersions"].as_array().into_iter().flatten();
            Verdict::Modern {
                supported: versions
                    .filter_map(|it| it.as_str().map(str::to_owned))
                    .collect(),
            }
        }
        Ok(Ok(_)) => Verdict::Older,
    }
}

fn is_modern_error(code: Option<i64>) -> bool {
    matches!(
        code,
        Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION)
    )
}

/// Makes a client that knows the older revisions too fall back to them: it must not look like an error of the new ones.
fn is_older() -> Refusal {
    Refusal::bad_request(
        code::BAD_REQUEST,
        "this MCP server knows only revisions with initialize, up to 2025-11-25",
    )
}

/// One JSON object, with the status that belongs to an error (MCP 2026-07-28, streamable HTTP).
fn whole(message: Bytes, error: Option<i64>) -> Response<InnerBody> {
    let status = match error {
        Some(code::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(code::PARSE | code::INVALID_REQUEST | code::INVALID_PARAMS) => StatusCode::BAD_REQUEST,
        error if is_modern_error(error) => StatusCode::BAD_REQUEST,
        Some(_) | None => StatusCode::OK,
    };
    json(status, message)
}
