//! A session of the bridge's own, for callers who have none and begin none: plain `curl`, webhooks.
//!
//! All of them share it. The one rule: it is there only if `SHARED_SESSION` says so.

use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use llamapool_mcp::Revision;
use llamapool_wire::{CallError, Cause};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::answers::{Answer, Refusal, code, json};
use crate::body::empty;
use crate::head::{AT_ONCE, head};
use crate::launcher::Launcher;
use crate::message::{Kind, Message};
use crate::posted::Posted;
use crate::shared::Shared;

/// The revision that the bridge speaks as a client.
const REVISION: Revision = Revision::LAST_WITH_SESSIONS;

/// The session, begun when it is first wanted, and anew when its program has ended.
pub(crate) struct Plain {
    launcher: Launcher,
    session: Mutex<Arc<OnceCell<Arc<Shared>>>>,
}

impl Plain {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            session: Mutex::default(),
        }
    }

    /// `POST` without a session.
    pub(crate) async fn post(&self, posted: Posted) -> Answer {
        let [message] = &posted.messages[..] else {
            return Err(Refusal::bad_request(
                code::INVALID_REQUEST,
                "a batch needs a session of its own",
            )
            .into());
        };
        let session = self
            .session()
            .get_or_try_init(|| self.begin())
            .await?
            .clone();
        match message.kind {
            Kind::Request => {}
            Kind::Notification => {
                session.notify(message).await?;
                return Ok(empty(StatusCode::ACCEPTED));
            }
            Kind::Response => {
                return Err(
                    Refusal::bad_request(code::INVALID_REQUEST, "nothing was asked")
                        .of(message)
                        .into(),
                );
            }
        }
        let (outlet, guard) = session.call(message).await?.into_parts();
        head(
            outlet,
            guard,
            AT_ONCE,
            || {},
            |message, _| json(StatusCode::OK, message),
        )
        .await
    }

    fn session(&self) -> Arc<OnceCell<Arc<Shared>>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.get().is_some_and(|session| session.is_gone()) {
            *session = Arc::default();
        }
        session.clone()
    }

    async fn begin(&self) -> Result<Arc<Shared>, CallError> {
        let session = self
            .launcher
            .start(|input| Arc::new(Shared::new(input, false)))?;
        let answer = session
            .ask("initialize", &initialize_params().to_string())
            .await?;
        if !answer.is_result() {
            session.input.close();
            let message = "the MCP server did not let the relay initialize a session";
            return Err(CallError::new(Cause::ProviderGarbage, message));
        }
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        if let Ok(initialized) = Message::read(initialized.into()) {
            session.notify(&initialized).await?;
        }
        Ok(session)
    }
}

/// What the bridge says of itself when it begins a session.
pub(crate) fn initialize_params() -> serde_json::Value {
    json!({
        "protocolVersion": REVISION.name(),
        "capabilities": {},
        "clientInfo": { "name": "llamapool", "version": env!("CARGO_PKG_VERSION") },
    })
}
