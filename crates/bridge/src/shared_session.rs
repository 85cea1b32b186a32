//! The shared session: one that the bridge begins itself, for callers that have none and begin
//! none, such as plain `curl` and webhooks.
//!
//! It exists only where `SHARED_SESSION` is on.

use std::sync::Arc;

use http::StatusCode;
use llamapool_mcp::{Message, MessageKind, Revision, RpcError, error_code};
use llamapool_wire::{CallError, Cause};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::caller::BridgeCaller;
use crate::error::ServeResult;
use crate::launcher::{Launcher, Starter};
use crate::multiplexer::Multiplexer;
use crate::post::Post;
use crate::response::{AT_ONCE, empty, json, json_or_stream};

/// The revision that the bridge uses as a client.
const REVISION: Revision = Revision::LAST_WITH_SESSIONS;

/// A session that is begun with its first call, and again after its program has exited.
pub(crate) struct SharedSession {
    launcher: Launcher,
    session: Mutex<Arc<OnceCell<Arc<Multiplexer>>>>,
}

impl SharedSession {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            session: Mutex::default(),
        }
    }

    /// Answers a `POST` without a session.
    pub(crate) async fn post(&self, post: Post, caller: BridgeCaller) -> ServeResult {
        let [message] = &post.messages[..] else {
            let text = "a batch needs a session of its own";
            return Err(RpcError::bad_request(error_code::INVALID_REQUEST, text).into());
        };
        let session = self
            .current()
            .get_or_try_init(|| self.begin(caller))
            .await?
            .clone();

        match message.kind {
            MessageKind::Request => {
                let (receiver, guard) = session.call(message).await?.into_parts();
                let whole = |message, _| json(StatusCode::OK, message);
                json_or_stream(receiver, guard, AT_ONCE, || {}, whole).await
            }
            MessageKind::Notification => {
                session.notify(message).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            MessageKind::Response => {
                let text = "nothing was asked";
                let error = RpcError::bad_request(error_code::INVALID_REQUEST, text);
                Err(error.for_message(message).into())
            }
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
        let session = self
            .launcher
            .start(Starter::Caller(caller), |input| {
                Arc::new(Multiplexer::new(input, false))
            })
            .await?;

        let params = initialize_params().to_string();
        let response = session.request("initialize", &params).await?;
        if !response.has_result() {
            session.input.close();
            let message = "the MCP server did not let the relay initialize a session";
            return Err(CallError::new(Cause::ProviderGarbage, message));
        }

        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        if let Ok(initialized) = Message::parse(initialized.into()) {
            session.notify(&initialized).await?;
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
