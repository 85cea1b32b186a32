//! A program that many callers share: each of their requests gets an id of the bridge's own, so that equal ids of different
//! callers never meet, and what comes back gets its caller's own id again.
//!
//! Nothing else of a message is changed. The one rule: what cannot be told to belong to one call goes to nobody, for it may
//! be about somebody else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use llamapool_wire::{CallError, Cause};
use tokio::sync::watch;

use crate::answers::code;
use crate::child::{Ended, Hears};
use crate::input::Input;
use crate::message::{Key, Kind, Message, Token};
use crate::pipe::{Inlet, Item, Outlet, pipe};
use crate::rewrite::{on_one_line, replaced};

/// How much of one answer waits for its caller to read.
const WAITING_BYTES: usize = 4 * 1024 * 1024;
/// How long a caller who does not read may hold everybody back, before it is given up.
const SLOW_CALLER: Duration = Duration::from_secs(2);

/// The program.
pub(crate) struct Shared {
    pub(crate) input: Input,
    calls: Mutex<Calls>,
    /// Whether a caller who leaves cancels its request (MCP 2026-07-28), or not (the older revisions).
    leaving_cancels: bool,
    /// Changes when the program says that its tools are others now.
    tools: watch::Sender<()>,
    is_gone: watch::Sender<bool>,
}

#[derive(Default)]
struct Calls {
    begun: i64,
    running: HashMap<i64, Running>,
    /// Why there can be no more.
    over: Option<CallError>,
}

/// A request without a response.
struct Running {
    /// Its id, and the token of its progress, as its caller wrote them.
    id: Bytes,
    progress: Option<Bytes>,
    inlet: Arc<Inlet>,
    /// It waits for whatever happens, and for no answer of its own.
    listens: bool,
}

/// A request on its way; dropping it gives it up.
#[must_use]
pub(crate) struct Call {
    pub(crate) outlet: Outlet,
    _guard: CallGuard,
}

/// Takes a call back whose caller has left.
pub(crate) struct CallGuard {
    shared: Arc<Shared>,
    id: i64,
    is_sent: bool,
}

impl Shared {
    pub(crate) fn new(input: Input, leaving_cancels: bool) -> Self {
        let (tools, is_gone) = (watch::Sender::new(()), watch::Sender::new(false));
        Self {
            input,
            calls: Mutex::default(),
            leaving_cancels,
            tools,
            is_gone,
        }
    }

    /// Hands a request to the program.
    pub(crate) async fn call(self: &Arc<Self>, request: &Message) -> Result<Call, CallError> {
        let (inlet, outlet) = pipe(WAITING_BYTES);
        let (id, text) = self.open(request, Arc::new(inlet))?;
        let mut guard = CallGuard {
            shared: self.clone(),
            id,
            is_sent: false,
        };
        self.input.send(text).await.map_err(|_| self.gone())?;
        guard.is_sent = true;
        Ok(Call {
            outlet,
            _guard: guard,
        })
    }

    /// Hands a notification to the program, and waits until it has it.
    pub(crate) async fn notify(&self, notification: &Message) -> Result<(), CallError> {
        self.input
            .deliver(notification.text.clone())
            .await
            .map_err(|_| self.gone())
    }

    /// Asks the program something for the bridge itself.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        method: &str,
        params: &str,
    ) -> Result<Message, CallError> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
        let garbage = || {
            CallError::new(
                Cause::ProviderGarbage,
                format!("the MCP server's answer to {method} is none"),
            )
        };
        let request = Message::read(text.into()).map_err(|_| garbage())?;
        let mut call = self.call(&request).await?;
        loop {
            match call.outlet.next().await.map_err(|broken| broken.failure)? {
                Some(Item::Whole(answer, _)) => {
                    return Message::read(answer).map_err(|_| garbage());
                }
                Some(_) => {}
                None => return Err(garbage()),
            }
        }
    }

    /// Changes when the program says that its tools are others now.
    pub(crate) fn tool_changes(&self) -> watch::Receiver<()> {
        self.tools.subscribe()
    }

    /// Waits until the program has ended.
    pub(crate) async fn ended_at_all(&self) {
        // Its sender is here.
        let _ = self.is_gone.subscribe().wait_for(|is_gone| *is_gone).await;
    }

    /// Whether the program has ended.
    pub(crate) fn is_gone(&self) -> bool {
        *self.is_gone.borrow()
    }

    fn open(&self, request: &Message, inlet: Arc<Inlet>) -> Result<(i64, Bytes), CallError> {
        let mut calls = self.calls();
        if let Some(over) = &calls.over {
            return Err(over.clone());
        }
        calls.begun += 1;
        let id = calls.begun;
        let progress = request.wants_progress();
        let own = Bytes::from(id.to_string());
        let spans = [&request.id, &progress].into_iter().flatten();
        let text = replaced(
            &request.text,
            spans
                .map(|token| (token.span.clone(), own.clone()))
                .collect(),
        );
        let raw = |token: &Token| request.text.slice(token.span.clone());
        let listens = request.method() == "subscriptions/listen";
        let original = request.id.as_ref().map(raw).unwrap_or_default();
        calls.running.insert(
            id,
            Running {
                id: original,
                progress: progress.as_ref().map(raw),
                inlet,
                listens,
            },
        );
        Ok((id, text))
    }

    fn gone(&self) -> CallError {
        let ended = || {
            CallError::new(
                Cause::ProviderExited,
                "the MCP server has ended; it may have executed the call",
            )
        };
        self.calls().over.clone().unwrap_or_else(ended)
    }

    /// Where a message goes, and its text as its caller must see it.
    fn route(&self, message: &Message) -> Option<(i64, Arc<Inlet>, Item)> {
        let mut calls = self.calls();
        match message.kind {
            Kind::Response => {
                let id = own_id(message.id.as_ref()?)?;
                let running = calls.running.remove(&id)?;
                let text = running.restored(
                    message,
                    [message.id.clone(), subscription_of(&running, message)],
                );
                Some((id, running.inlet, Item::Whole(text, message.error_code)))
            }
            Kind::Notification => {
                let progress = (message.method() == "notifications/progress")
                    .then(|| message.progress_of())
                    .flatten();
                let token = progress.clone().or_else(|| message.subscription());
                let id = token
                    .as_ref()
                    .and_then(own_id)
                    .or_else(|| calls.only_one())?;
                let running = calls.running.get(&id)?;
                let text = running.restored_notification(message, progress, message.subscription());
                Some((id, running.inlet.clone(), Item::Event(None, text)))
            }
            Kind::Request => None,
        }
    }

    /// Gives up a call whose caller does not read; the program is told.
    fn give_up(&self, id: i64) {
        if let Some(running) = self.calls().running.remove(&id) {
            running.inlet.fail(
                CallError::new(Cause::TunnelLost, "the caller did not read its answer"),
                Vec::new(),
            );
            self.cancel(id);
        }
    }

    fn cancel(&self, id: i64) {
        self.input.aside(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"the caller has left"}}}}"#
        ).into());
    }

    /// The program asks something, and there is nobody to ask: it is told so, and need not wait.
    fn decline(&self, request: &Message) {
        let Some(id) = request.id.as_ref().map(|id| id.raw(&request.text)) else {
            return;
        };
        let mut text = br#"{"jsonrpc":"2.0","id":"#.to_vec();
        text.extend_from_slice(id);
        let error = format!(
            r#","error":{{"code":{},"message":"no client can be asked"}}}}"#,
            code::METHOD_NOT_FOUND
        );
        text.extend_from_slice(error.as_bytes());
        self.input.aside(text.into());
    }

    /// A line that is no message. If it can be told whose answer it was to be, that call fails.
    fn garbage(&self, line: &Bytes, error: &dyn std::fmt::Display) {
        tracing::debug!(%error, bytes = line.len(), "the provider's program wrote a line that is no message");
        let id = Message::answered_by(line).as_ref().and_then(own_id);
        if let Some(running) = id.and_then(|id| self.calls().running.remove(&id)) {
            let message = format!("the MCP server's answer is no message: {error}");
            running.fail(CallError::new(Cause::ProviderGarbage, message));
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hears for Shared {
    async fn heard(&self, line: Bytes) {
        let line = on_one_line(line);
        let message = match Message::read(line.clone()) {
            Ok(message) => message,
            Err(error) => return self.garbage(&line, &error),
        };
        match (message.kind, message.method()) {
            (Kind::Request, _) => return self.decline(&message),
            (Kind::Notification, "notifications/tools/list_changed") => {
                self.tools.send_replace(());
            }
            _ => {}
        }
        let Some((id, inlet, item)) = self.route(&message) else {
            return tracing::debug!(
                "the provider's program said something that belongs to no call"
            );
        };
        let is_last = message.kind == Kind::Response;
        let taken = inlet.put(item, SLOW_CALLER).await;
        if is_last {
            inlet.end();
        } else if taken.is_err() {
            self.give_up(id);
        }
    }

    fn ended(&self, end: &Ended) {
        let message = format!(
            "the MCP server has ended ({end}) before it had answered; it may have executed the call"
        );
        let failure = CallError::new(end.cause(), message);
        let running = {
            let mut calls = self.calls();
            calls.over = Some(failure.clone());
            std::mem::take(&mut calls.running)
        };
        running
            .into_values()
            .for_each(|running| running.fail(failure.clone()));
        self.input.close();
        self.is_gone.send_replace(true);
    }
}

impl Calls {
    /// The call that runs, if there is one only.
    fn only_one(&self) -> Option<i64> {
        let mut calls = self.running.iter().filter(|(_, running)| !running.listens);
        let only = calls.next().map(|(id, _)| *id);
        only.filter(|_| calls.next().is_none())
    }
}

impl Running {
    /// It gets no response. Who only listens is no worse off for that than for a stream that breaks off.
    fn fail(&self, failure: CallError) {
        let unanswered = (!self.listens).then(|| self.id.clone());
        self.inlet.fail(failure, unanswered.into_iter().collect());
    }

    /// A message with these tokens, which are all the request's id, as its caller wrote it.
    fn restored(&self, message: &Message, tokens: [Option<Token>; 2]) -> Bytes {
        let changes = tokens
            .into_iter()
            .flatten()
            .map(|token| (token.span, self.id.clone()));
        replaced(&message.text, changes.collect())
    }

    fn restored_notification(
        &self,
        message: &Message,
        progress: Option<Token>,
        subscription: Option<Token>,
    ) -> Bytes {
        let progress = progress.and_then(|token| Some((token.span, self.progress.clone()?)));
        let subscription = subscription
            .filter(|_| self.listens)
            .map(|token| (token.span, self.id.clone()));
        replaced(
            &message.text,
            progress.into_iter().chain(subscription).collect(),
        )
    }
}

/// The result of a request that listens names it, too.
fn subscription_of(running: &Running, message: &Message) -> Option<Token> {
    running.listens.then(|| message.subscription()).flatten()
}

fn own_id(token: &Token) -> Option<i64> {
    match token.key {
        Key::Integer(id) => Some(id),
        Key::Text(_) | Key::Float(_) => None,
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        // What was answered is not there any more, and what comes late belongs to no call.
        let was_running = self.shared.calls().running.remove(&self.id).is_some();
        if was_running && self.is_sent && self.shared.leaving_cancels {
            self.shared.cancel(self.id);
        }
    }
}

impl Call {
    /// The answer's pipe, and what gives the call up when it is dropped.
    pub(crate) fn into_parts(self) -> (Outlet, CallGuard) {
        (self.outlet, self._guard)
    }
}

#[cfg(test)]
mod tests;
