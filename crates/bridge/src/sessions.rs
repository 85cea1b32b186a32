//! The older revisions over HTTP, up to 2025-11-25: sessions, each with a program of its own (MCP
//! 2025-11-25, streamable HTTP).
//!
//! A caller that disconnects cancels nothing: events are kept for a while, for a caller that
//! resumes the stream.

mod event_log;
mod places;
mod session;
mod streams;
mod table;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use llamapool_mcp::header::{LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use llamapool_mcp::{Message, Revision, RpcError, error_code};
use llamapool_wire::{CallError, Cause};

use self::session::Session;
use self::streams::{CALLS, OpenCallError};
use self::table::SessionTable;
use crate::caller::BridgeCaller;
use crate::error::{ServeError, ServeResult};
use crate::launcher::Launcher;
use crate::post::Post;
use crate::response::{AT_ONCE, empty, event_stream, json, json_or_stream};
use crate::response_body::ResponseBody;

/// How long the first response of a session may take to be one JSON object: its program starts
/// meanwhile, and the head of a response, such as the id of the session, cannot be taken back.
const TO_BEGIN: Duration = Duration::from_secs(20);
/// How long the first event of a response that is an event stream in any case is awaited, so that
/// it is sent together with the head.
const TOGETHER: Duration = Duration::from_millis(5);

/// What helps people whose request has no session, such as plain `curl`.
const NO_SESSION_HINT: &str = "--shared-session of llamapool lets requests without a session in";

/// The sessions of a bridge, as HTTP endpoints.
pub(crate) struct Sessions {
    table: Arc<SessionTable>,
}

impl Sessions {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            table: SessionTable::new(launcher),
        }
    }

    /// Ends abandoned sessions. Never returns.
    pub(crate) async fn run(&self) {
        self.table.clone().expire().await;
    }

    /// Answers a `POST`: messages of a client.
    pub(crate) async fn post(
        &self,
        headers: &HeaderMap,
        post: Post,
        caller: BridgeCaller,
    ) -> ServeResult {
        let is_initialize =
            |message: &Message| message.method() == "initialize" && message.is_request();
        if post.messages.iter().any(is_initialize) {
            return self.initialize(headers, post, caller).await;
        }

        let session = self
            .find(headers)
            .map_err(|error| error.for_message(&post.messages[0]))?;
        check_version(headers, &session)?;
        if post.is_batch && !has_batches(&session) {
            let message = "the revision of this session has no batches";
            return Err(RpcError::bad_request(error_code::INVALID_REQUEST, message).into());
        }

        session.touch();
        if post.messages.iter().all(|it| session.is_pong(it)) {
            return Ok(empty(StatusCode::ACCEPTED));
        }
        note_cancellations(&session, &post.messages);

        if post.messages.iter().any(Message::is_request) {
            session.note_request();
            let patience = if session.streams().primes_streams() {
                TOGETHER
            } else {
                AT_ONCE
            };
            return call(&session, post, patience).await;
        }
        session
            .input
            .send_and_flush(post.text)
            .await
            .map_err(|_| RpcError::session_not_found())?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// Answers a `GET`: a client listens, or resumes a stream.
    pub(crate) fn get(&self, headers: &HeaderMap) -> ServeResult {
        let session = self.find(headers)?;
        check_version(headers, &session)?;
        session.touch();

        let receiver = match headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) {
            None => session.streams().open_listener(),
            Some(id) => {
                let id = id.to_str().ok().and_then(|id| id.parse().ok());
                let resumed = id.and_then(|id| session.streams().resume(id).ok());
                resumed.ok_or_else(|| {
                    let message =
                        "Last-Event-ID names no event that is kept; begin again without it";
                    RpcError::bad_request(error_code::BAD_REQUEST, message)
                })?
            }
        };
        Ok(event_stream(receiver, ()))
    }

    /// Answers a `DELETE`: a client ends its session.
    pub(crate) fn delete(&self, headers: &HeaderMap) -> ServeResult {
        let session = self.find(headers)?;
        self.table.end(&session, "its client has ended it");
        Ok(empty(StatusCode::OK))
    }

    async fn initialize(
        &self,
        headers: &HeaderMap,
        post: Post,
        caller: BridgeCaller,
    ) -> ServeResult {
        let refuse = |message: &str| {
            RpcError::bad_request(error_code::INVALID_REQUEST, message)
                .for_message(&post.messages[0])
        };
        if headers.contains_key(SESSION_ID) {
            return Err(refuse("the session is initialized already").into());
        }
        if post.is_batch {
            return Err(refuse("initialize stands in a batch").into());
        }

        let session = self.table.begin(caller).await?;
        let beginning = SessionBeginning {
            table: &self.table,
            session: &session,
            is_complete: false,
        };
        let mut response = call(&session, post, TO_BEGIN).await?;

        // A session whose first response is an error does not exist.
        if session.version().is_some() || !is_json(&response) {
            beginning.complete();
            // Hexadecimal digits are valid in a header.
            let id = HeaderValue::from_str(&session.id);
            response.headers_mut().extend(id.map(|id| (SESSION_ID, id)));
        }
        Ok(response)
    }

    /// Returns the session that the headers name.
    fn find(&self, headers: &HeaderMap) -> Result<Arc<Session>, RpcError> {
        let mut ids = headers.get_all(SESSION_ID).into_iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => self
                .table
                .find(id.as_bytes())
                .ok_or_else(RpcError::session_not_found),
            (Some(_), Some(_)) => Err(RpcError::bad_request(
                error_code::BAD_REQUEST,
                "Mcp-Session-Id stands there twice",
            )),
            (None, _) => {
                let message = "Mcp-Session-Id is missing, and this is not an initialize request";
                let error = RpcError::bad_request(error_code::BAD_REQUEST, message);
                Err(error.with_hint(NO_SESSION_HINT))
            }
        }
    }
}

/// Sends requests to the session's program and waits for the beginning of their response: up to
/// `patience` for one JSON object.
async fn call(session: &Arc<Session>, post: Post, patience: Duration) -> ServeResult {
    let (stream, receiver) = session
        .streams()
        .open_call(&post.messages)
        .map_err(|error| open_call_failed(&error, &post))?;

    let mut sending = WithdrawOnDrop {
        session,
        stream,
        is_sent: false,
    };
    let sent = session.input.send(post.text).await;
    let sent = sent.map_err(|_| ServeError::from(RpcError::session_not_found()))?;
    sending.is_sent = true;
    drop(sending);

    let on_late = || session.streams().become_event_stream(stream);
    let whole = |message, _| json(StatusCode::OK, message);
    tokio::select! {
        // Biased towards the response: the end of the session has its own reason.
        biased;
        response = json_or_stream(receiver, (), patience, on_late, whole) => response,
        failure = sent.failed() => Err(failure.into()),
    }
}

fn open_call_failed(error: &OpenCallError, post: &Post) -> ServeError {
    match error {
        OpenCallError::IdInUse => {
            let message = "a request of this session with the same id has no response yet";
            RpcError::bad_request(error_code::INVALID_REQUEST, message)
                .for_message(&post.messages[0])
                .into()
        }
        OpenCallError::TooMany => {
            let message = format!("the session has {CALLS} calls without a response");
            CallError::new(Cause::TooManyCalls, message).into()
        }
    }
}

/// Records the requests that a client cancels.
fn note_cancellations(session: &Session, messages: &[Message]) {
    for message in messages {
        if message.method() != "notifications/cancelled" {
            continue;
        }
        if let Some(request) = message.cancelled_request() {
            session.streams().cancel(&request.key);
        }
    }
}

/// Withdraws a call that was not sent, because its caller disconnected before.
struct WithdrawOnDrop<'a> {
    session: &'a Session,
    stream: u64,
    is_sent: bool,
}

impl Drop for WithdrawOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.session.streams().withdraw(self.stream);
        }
    }
}

/// Ends a session whose client never receives its id.
struct SessionBeginning<'a> {
    table: &'a SessionTable,
    session: &'a Session,
    is_complete: bool,
}

impl SessionBeginning<'_> {
    fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for SessionBeginning<'_> {
    fn drop(&mut self) {
        if !self.is_complete {
            self.table.end(self.session, "it was not initialized");
        }
    }
}

/// Checks that the revision in the header is one that client and program could have agreed on (MCP
/// 2025-06-18, streamable HTTP).
fn check_version(headers: &HeaderMap, session: &Session) -> Result<(), RpcError> {
    let Some(header) = headers.get(PROTOCOL_VERSION) else {
        return Ok(());
    };
    let named = String::from_utf8_lossy(header.as_bytes());
    let agreed = session.version();

    let is_known = Revision::parse(&named).is_some_and(Revision::has_sessions);
    if agreed == Some(&*named) || is_known {
        return Ok(());
    }
    let expected = agreed.unwrap_or(Revision::LAST_WITH_SESSIONS.name());
    let message =
        format!("Bad Request: MCP-Protocol-Version is not supported, expected {expected}");
    Err(RpcError::bad_request(error_code::BAD_REQUEST, message))
}

/// Returns whether the session's revision has batches. Before a revision is agreed on, they are
/// accepted.
fn has_batches(session: &Session) -> bool {
    session
        .version()
        .is_none_or(|version| !Revision::LAST_WITH_BATCHES.is_older_than(version))
}

fn is_json(response: &Response<ResponseBody>) -> bool {
    let media_type = response.headers().get(http::header::CONTENT_TYPE);
    media_type.is_some_and(|media_type| media_type.as_bytes() == b"application/json")
}
