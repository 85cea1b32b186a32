//! The older revisions over HTTP, up to 2025-11-25: sessions, each with a program of its own (MCP 2025-11-25, streamable
//! HTTP).
//!
//! A caller who leaves cancels nothing: what comes is kept for a while, for a caller who resumes.

mod kept;
mod session;
mod sessions;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use llamapool_mcp::Revision;
use llamapool_mcp::header::{LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use llamapool_wire::{CallError, Cause};

use self::session::Session;
use self::sessions::Sessions;
use self::streams::{CALLS, NotOpened};
use crate::answers::{Answer, NoAnswer, Refusal, code, json};
use crate::body::{InnerBody, empty};
use crate::head::{AT_ONCE, events, head};
use crate::launcher::Launcher;
use crate::message::Kind;
use crate::posted::Posted;

/// How long the first answer of a session may take to be one JSON object: its program starts meanwhile, and what goes before
/// its word, such as the id of the session, cannot be taken back.
const TO_BEGIN: Duration = Duration::from_secs(20);
/// How long an answer that is an event stream in any case may take for its beginning to go with the rest.
const TOGETHER: Duration = Duration::from_millis(5);

/// The sessions, as HTTP sees them.
pub(crate) struct Legacy {
    sessions: Arc<Sessions>,
}

impl Legacy {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            sessions: Sessions::new(launcher),
        }
    }

    /// Ends sessions that are abandoned, for as long as the bridge lives.
    pub(crate) async fn tidy(&self) {
        self.sessions.clone().tidy().await;
    }

    /// `POST`: messages of a client.
    pub(crate) async fn post(&self, headers: &HeaderMap, posted: Posted) -> Answer {
        if posted
            .messages
            .iter()
            .any(|message| message.method() == "initialize" && message.kind == Kind::Request)
        {
            return self.initialize(headers, posted).await;
        }
        let session = self
            .session(headers)
            .map_err(|refusal| refusal.of(&posted.messages[0]))?;
        check_version(headers, &session)?;
        if posted.is_batch
            && session
                .version()
                .is_some_and(|version| Revision::LAST_WITH_BATCHES.is_older_than(version))
        {
            let message = "the revision of this session has no batches";
            return Err(Refusal::bad_request(code::INVALID_REQUEST, message).into());
        }
        session.touch();
        if posted
            .messages
            .iter()
            .all(|message| session.is_own_answer(message))
        {
            return Ok(empty(StatusCode::ACCEPTED));
        }
        for cancelled in posted
            .messages
            .iter()
            .filter(|it| it.method() == "notifications/cancelled")
        {
            if let Some(request) = cancelled.cancelled() {
                session.streams().cancel(&request.key);
            }
        }
        if posted
            .messages
            .iter()
            .any(|message| message.kind == Kind::Request)
        {
            let patience = if session.streams().starts_with_an_event() {
                TOGETHER
            } else {
                AT_ONCE
            };
            return call(&session, posted, patience).await;
        }
        session
            .input
            .deliver(posted.text)
            .await
            .map_err(|_| Refusal::session_not_found())?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// `GET`: a client listens, or resumes a stream.
    pub(crate) fn get(&self, headers: &HeaderMap) -> Answer {
        let session = self.session(headers)?;
        check_version(headers, &session)?;
        session.touch();
        let outlet = match headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) {
            None => session.streams().open_listener(),
            Some(id) => {
                let id = id.to_str().ok().and_then(|id| id.parse().ok());
                let resumed = id.and_then(|id| session.streams().resume(id).ok());
                resumed.ok_or_else(|| {
                    let message =
                        "Last-Event-ID names no event that is kept; begin again without it";
                    Refusal::bad_request(code::BAD_REQUEST, message)
                })?
            }
        };
        Ok(events(outlet, ()))
    }

    /// `DELETE`: a client ends its session.
    pub(crate) fn delete(&self, headers: &HeaderMap) -> Answer {
        let session = self.session(headers)?;
        self.sessions.end(&session, "its client has ended it");
        Ok(empty(StatusCode::OK))
    }

    async fn initialize(&self, headers: &HeaderMap, posted: Posted) -> Answer {
        let refuse = |message: &str| {
            Refusal::bad_request(code::INVALID_REQUEST, message).of(&posted.messages[0])
        };
        if headers.contains_key(SESSION_ID) {
            return Err(refuse("the session is initialized already").into());
        }
        if posted.is_batch {
            return Err(refuse("initialize stands in a batch").into());
        }
        let session = self.sessions.begin()?;
        let beginning = Beginning {
            sessions: &self.sessions,
            session: &session,
            is_begun: false,
        };
        let mut answer = call(&session, posted, TO_BEGIN).await?;
        // A session that began with an error is none.
        if session.version().is_some() || !is_json(&answer) {
            beginning.done();
            // Hexadecimal digits fit into a header.
            answer
                .headers_mut()
                .extend(HeaderValue::from_str(&session.id).map(|id| (SESSION_ID, id)));
        }
        Ok(answer)
    }

    fn session(&self, headers: &HeaderMap) -> Result<Arc<Session>, Refusal> {
        let mut ids = headers.get_all(SESSION_ID).into_iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) => self
                .sessions
                .find(id.as_bytes())
                .ok_or_else(Refusal::session_not_found),
            (Some(_), Some(_)) => Err(Refusal::bad_request(
                code::BAD_REQUEST,
                "Mcp-Session-Id stands there twice",
            )),
            (None, _) => {
                let message = "Mcp-Session-Id is missing, and this is not an initialize request";
                Err(Refusal::bad_request(code::BAD_REQUEST, message))
            }
        }
    }
}

/// Hands requests to the session's program and waits for the head of their answer; so long that it may be one JSON object.
async fn call(session: &Arc<Session>, posted: Posted, patience: Duration) -> Answer {
    let (stream, outlet) = session
        .streams()
        .open_call(&posted.messages)
        .map_err(|reason| not_opened(&reason, &posted))?;
    let mut sending = Sending {
        session,
        stream,
        is_sent: false,
    };
    session
        .input
        .send(posted.text)
        .await
        .map_err(|_| NoAnswer::from(Refusal::session_not_found()))?;
    sending.is_sent = true;
    drop(sending);
    let late = || session.streams().become_events(stream);
    head(outlet, (), patience, late, |message, _| {
        json(StatusCode::OK, message)
    })
    .await
}

fn not_opened(reason: &NotOpened, posted: &Posted) -> NoAnswer {
    match reason {
        NotOpened::IdInUse => {
            let message = "a request of this session with the same id has no response yet";
            Refusal::bad_request(code::INVALID_REQUEST, message)
                .of(&posted.messages[0])
                .into()
        }
        NotOpened::TooMany => CallError::new(
            Cause::TooManyCalls,
            format!("the session has {CALLS} calls without a response"),
        )
        .into(),
    }
}

/// Takes a call back that was not handed over, because its caller left before.
struct Sending<'a> {
    session: &'a Session,
    stream: u64,
    is_sent: bool,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.session.streams().withdraw(self.stream);
        }
    }
}

/// Ends a session whose client never learns its id.
struct Beginning<'a> {
    sessions: &'a Sessions,
    session: &'a Session,
    is_begun: bool,
}

impl Beginning<'_> {
    fn done(mut self) {
        self.is_begun = true;
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        if !self.is_begun {
            self.sessions.end(self.session, "it was not initialized");
        }
    }
}

/// The revision that a client names must be one that it could have agreed on (MCP 2025-06-18, streamable HTTP).
fn check_version(headers: &HeaderMap, session: &Session) -> Result<(), Refusal> {
    let Some(named) = headers.get(PROTOCOL_VERSION) else {
        return Ok(());
    };
    let (named, agreed) = (String::from_utf8_lossy(named.as_bytes()), session.version());
    let is_known = Revision::parse(&named).is_some_and(Revision::has_sessions);
    if agreed == Some(&*named) || is_known {
        return Ok(());
    }
    let agreed = agreed.unwrap_or(Revision::LAST_WITH_SESSIONS.name());
    let message = format!("Bad Request: MCP-Protocol-Version is not supported, expected {agreed}");
    Err(Refusal::bad_request(code::BAD_REQUEST, message))
}

fn is_json(answer: &Response<InnerBody>) -> bool {
    let kind = answer.headers().get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes() == b"application/json")
}
