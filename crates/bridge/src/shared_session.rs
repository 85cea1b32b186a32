//! The shared session: one that the bridge begins itself, for callers that have none and begin
//! none, such as plain `curl` and webhooks.
//!
//! It exists only where `SHARED_SESSION` is on.

use std::sync::Arc;

use http::StatusCode;
use llamapool_limits::MemoryAccount;
use llamapool_mcp::{Message, Revision, RpcError, UnambiguousMessage, error_code};
use llamapool_wire::{CallError, Cause};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{OnceCell, watch};

use crate::caller::BridgeCaller;
use crate::error::ServeResult;
use crate::launcher::{Launcher, SpareUse};
use crate::multiplexer::Multiplexer;
use crate::post::Post;
use crate::response::{empty, json};
use crate::shared_program::SharedMessage;

/// The revision that the bridge uses as a client.
const REVISION: Revision = Revision::LAST_WITH_SESSIONS;

/// A session that is begun with its first call, and again after its program has exited.
pub(crate) struct SharedSession {
    launcher: Launcher,
    session: Mutex<Arc<OnceCell<Arc<Multiplexer>>>>,
    /// The program that was started last.
    program: watch::Sender<Option<Arc<Multiplexer>>>,
}

impl SharedSession {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            session: Mutex::default(),
            program: watch::Sender::new(None),
        }
    }

    /// Attends to the program. Never returns.
    pub(crate) async fn run(&self) {
        let mut program = self.program.subscribe();
        loop {
            let current = program.borrow_and_update().clone();
            if let Some(current) = current {
                current.attend().await;
            }
            // The sender is part of `self`, so this cannot fail.
            let _ = program.changed().await;
        }
    }

    /// Answers a `POST` without a session. What waits for the caller is counted in `memory`.
    pub(crate) async fn post(
        &self,
        post: Post,
        caller: BridgeCaller,
        memory: &MemoryAccount,
    ) -> ServeResult {
        let [message] = &post.messages[..] else {
            let text = "a batch needs a session of its own";
            return Err(RpcError::bad_request(error_code::INVALID_REQUEST, text).into());
        };
        let message = SharedMessage::check(message, StatusCode::BAD_REQUEST)?;
        let session = self
            .current()
            .get_or_try_init(|| self.begin(caller))
            .await?
            .clone();

        match message {
            SharedMessage::Request(request) => {
                let whole = |message, _| json(StatusCode::OK, message);
                session.call(request, memory).await?.respond(whole).await
            }
            SharedMessage::Notification(notification) => {
                session.notify(notification).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            SharedMessage::Dropped => Ok(empty(StatusCode::ACCEPTED)),
        }
    }

    /// Returns the cell of the session, an empty one if the program has exited.
    fn current(&self) -> Arc<OnceCell<Arc<Multiplexer>>> {
        let mut session = self.session.lock();
        if session.get().is_some_and(|session| session.has_exited()) {
            *session = Arc::default();
        }
        session.clone()
    }

    /// Starts a program and initializes its session.
    async fn begin(&self, caller: BridgeCaller) -> Result<Arc<Multiplexer>, CallError> {
        let timeout = self.launcher.config().shared_call_timeout;
        let program = self
            .launcher
            .program_for(caller, SpareUse::SharedSession, |input| {
                Arc::new(Multiplexer::new(input, false, timeout))
            });
        let (session, is_initialized) = program.await?;
        self.program.send_replace(Some(session.clone()));

        if !is_initialized {
            let params = initialize_params().to_string();
            let response = session.request("initialize", &params).await?;
            if !response.has_result() {
                session.input.close();
                let message = "the MCP server did not let the relay initialize a session";
                return Err(CallError::new(Cause::ProviderGarbage, message));
            }
        }

        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        if let Ok(initialized) = Message::parse(initialized.into())
            && let Ok(initialized) = UnambiguousMessage::check(&initialized)
        {
            session.notify(initialized).await?;
        }
        Ok(session)
    }
}

/// Returns the parameters of the bridge's own `initialize`.
pub(crate) fn initialize_params() -> serde_json::Value {
    json!({
        "protocolVersion": REVISION.name(),
        "capabilities": {},
        "clientInfo": { "name": "llamapool", "version": env!("CARGO_PKG_VERSION") },
    })
}
