//! One program for many callers: each request gets an id of the bridge's own, so that equal ids of
//! different callers never meet, and what comes back gets its caller's id again.
//!
//! Nothing else of a message is changed. A message that cannot be attributed to one call is not
//! forwarded at all, for it may contain data of another caller.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llamapool_mcp::{Message, MessageKind, Token, TokenKey, error_code};
use llamapool_wire::{CallError, Cause};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::child::{Exit, ProgramObserver};
use crate::event_queue::{EventReceiver, EventSender, ResponsePart, event_queue};
use crate::program_input::ProgramInput;
use crate::rewrite::{replace_spans, to_single_line};

/// How much of one response waits for its caller to read.
const WAITING_BYTES: usize = 4 * 1024 * 1024;
/// How long a caller that does not read may hold all the others back, before its call is given up.
const SLOW_CALLER: Duration = Duration::from_secs(2);

/// A program that many callers share.
pub(crate) struct Multiplexer {
    pub(crate) input: ProgramInput,
    calls: Mutex<Calls>,
    /// True if a caller that disconnects cancels its request (MCP 2026-07-28), false in the older
    /// revisions.
    disconnect_cancels: bool,
    /// Changes when the program reports that its tools have changed.
    tools: watch::Sender<()>,
    has_exited: watch::Sender<bool>,
}

#[derive(Default)]
struct Calls {
    last_id: i64,
    pending: HashMap<i64, PendingCall>,
    /// The failure of every call after the program has exited.
    failure: Option<CallError>,
}

/// A request without a response.
struct PendingCall {
    /// The id and the progress token, as the caller wrote them.
    id: Bytes,
    progress_token: Option<Bytes>,
    sender: Arc<EventSender>,
    /// True if it is a subscription, which waits for notifications and not for a response of its
    /// own.
    is_subscription: bool,
}

/// A request on its way. Dropping it gives the request up.
#[must_use]
pub(crate) struct MultiplexedCall {
    pub(crate) receiver: EventReceiver,
    guard: CancelOnDrop,
}

/// Removes a call when its caller disconnects, and cancels it where the revision has that rule.
pub(crate) struct CancelOnDrop {
    multiplexer: Arc<Multiplexer>,
    id: i64,
    is_sent: bool,
}

impl Multiplexer {
    /// Creates a multiplexer. `disconnect_cancels`: a caller that disconnects cancels its request.
    pub(crate) fn new(input: ProgramInput, disconnect_cancels: bool) -> Self {
        Self {
            input,
            calls: Mutex::default(),
            disconnect_cancels,
            tools: watch::Sender::new(()),
            has_exited: watch::Sender::new(false),
        }
    }

    /// Sends a request to the program. Does not wait for the response.
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: &Message,
    ) -> Result<MultiplexedCall, CallError> {
        let (sender, receiver) = event_queue(WAITING_BYTES);
        let (id, text) = self.open(request, Arc::new(sender))?;
        let mut guard = CancelOnDrop {
            multiplexer: self.clone(),
            id,
            is_sent: false,
        };

        self.input.send(text).await.map_err(|_| self.failure())?;
        guard.is_sent = true;
        Ok(MultiplexedCall { receiver, guard })
    }

    /// Sends a notification to the program, and waits until it is written.
    pub(crate) async fn notify(&self, notification: &Message) -> Result<(), CallError> {
        self.input
            .send_and_flush(notification.text.clone())
            .await
            .map_err(|_| self.failure())
    }

    /// Sends a request of the bridge itself, and waits for the response.
    pub(crate) async fn request(
        self: &Arc<Self>,
        method: &str,
        params: &str,
    ) -> Result<Message, CallError> {
        let garbage = || {
            let message = format!("the MCP server's answer to {method} is none");
            CallError::new(Cause::ProviderGarbage, message)
        };
        let text = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{params}}}"#);
        let request = Message::parse(text.into()).map_err(|_| garbage())?;

        let mut call = self.call(&request).await?;
        loop {
            let part = call.receiver.next().await;
            match part.map_err(|broken| broken.failure)? {
                Some(ResponsePart::Whole(response, _)) => {
                    return Message::parse(response).map_err(|_| garbage());
                }
                Some(_) => {}
                None => return Err(garbage()),
            }
        }
    }

    /// Returns a receiver that changes when the program reports that its tools have changed.
    pub(crate) fn tool_changes(&self) -> watch::Receiver<()> {
        self.tools.subscribe()
    }

    /// Waits until the program has exited.
    pub(crate) async fn until_exited(&self) {
        // The sender is part of `self`, so this cannot fail.
        let _ = self.has_exited.subscribe().wait_for(|exited| *exited).await;
    }

    /// Returns whether the program has exited.
    pub(crate) fn has_exited(&self) -> bool {
        *self.has_exited.borrow()
    }

    /// Registers a call. Returns its id and the request's text with that id.
    fn open(&self, request: &Message, sender: Arc<EventSender>) -> Result<(i64, Bytes), CallError> {
        let mut calls = self.calls();
        if let Some(failure) = &calls.failure {
            return Err(failure.clone());
        }
        calls.last_id += 1;
        let id = calls.last_id;

        let progress_token = request.progress_token();
        let own_id = Bytes::from(id.to_string());
        let tokens = [&request.id, &progress_token].into_iter().flatten();
        let changes = tokens.map(|token| (token.span.clone(), own_id.clone()));
        let text = replace_spans(&request.text, changes.collect());

        let spelling = |token: &Token| request.text.slice(token.span.clone());
        let call = PendingCall {
            id: request.id.as_ref().map(spelling).unwrap_or_default(),
            progress_token: progress_token.as_ref().map(spelling),
            sender,
            is_subscription: request.method() == "subscriptions/listen",
        };
        calls.pending.insert(id, call);
        Ok((id, text))
    }

    /// Returns the failure of a call to a program that accepts no input.
    fn failure(&self) -> CallError {
        self.calls().failure.clone().unwrap_or_else(|| {
            CallError::new(
                Cause::ProviderExited,
                "the MCP server has ended; it may have executed the call",
            )
        })
    }

    /// Returns the call that a message belongs to, and the message as that call's caller must see
    /// it.
    fn route(&self, message: &Message) -> Option<(i64, Arc<EventSender>, ResponsePart)> {
        let mut calls = self.calls();
        match message.kind {
            MessageKind::Response => {
                let id = own_id(message.id.as_ref()?)?;
                let call = calls.pending.remove(&id)?;
                let text = call.restore_response(message);
                let part = ResponsePart::Whole(text, message.error_code);
                Some((id, call.sender, part))
            }
            MessageKind::Notification => {
                let progress = if message.method() == "notifications/progress" {
                    message.reported_progress_token()
                } else {
                    None
                };
                let subscription = message.subscription_id();

                let token = progress.as_ref().or(subscription.as_ref());
                let id = token.and_then(own_id).or_else(|| calls.only_call())?;
                let call = calls.pending.get(&id)?;
                let text = call.restore_notification(message, progress, subscription);
                Some((id, call.sender.clone(), ResponsePart::Event(None, text)))
            }
            MessageKind::Request => None,
        }
    }

    /// Fails and cancels a call whose caller does not read.
    fn give_up(&self, id: i64) {
        let call = self.calls().pending.remove(&id);
        if let Some(call) = call {
            let failure = CallError::new(Cause::TunnelLost, "the caller did not read its answer");
            call.sender.fail(failure, Vec::new());
            self.cancel(id);
        }
    }

    fn cancel(&self, id: i64) {
        let params = format!(r#"{{"requestId":{id},"reason":"the caller has left"}}"#);
        let cancelled =
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#);
        self.input.send_urgent(cancelled.into());
    }

    /// Answers a request of the program with an error, so that it need not wait: there is no single
    /// client that could answer.
    fn decline(&self, request: &Message) {
        let Some(id) = request.id.as_ref().map(|id| id.raw(&request.text)) else {
            return;
        };
        let error = format!(
            r#","error":{{"code":{},"message":"no client can be asked"}}}}"#,
            error_code::METHOD_NOT_FOUND
        );

        let mut text = br#"{"jsonrpc":"2.0","id":"#.to_vec();
        text.extend_from_slice(id);
        text.extend_from_slice(error.as_bytes());
        self.input.send_urgent(text.into());
    }

    /// Handles a line that is no message. If it is recognizable as the response to a call, that
    /// call fails.
    fn on_invalid_line(&self, line: &Bytes, error: &dyn std::fmt::Display) {
        tracing::debug!(%error, bytes = line.len(), "the provider's program wrote a line that is no message");
        let id = Message::recover_response_id(line).as_ref().and_then(own_id);
        let call = id.and_then(|id| self.calls().pending.remove(&id));
        if let Some(call) = call {
            let message = format!("the MCP server's answer is no message: {error}");
            call.fail(CallError::new(Cause::ProviderGarbage, message));
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock()
    }
}

impl ProgramObserver for Multiplexer {
    async fn on_line(&self, line: Bytes) {
        let line = to_single_line(line);
        let message = match Message::parse(line.clone()) {
            Ok(message) => message,
            Err(error) => return self.on_invalid_line(&line, &error),
        };
        if message.is_request() {
            return self.decline(&message);
        }
        if message.method() == "notifications/tools/list_changed" {
            self.tools.send_replace(());
        }

        let Some((id, sender, part)) = self.route(&message) else {
            return tracing::debug!(
                "the provider's program said something that belongs to no call"
            );
        };
        let is_last = message.kind == MessageKind::Response;
        let sent = sender.send(part, SLOW_CALLER).await;
        if is_last {
            sender.finish();
        } else if sent.is_err() {
            self.give_up(id);
        }
    }

    fn on_exit(&self, exit: &Exit) {
        let failure = exit.failure();

        let pending = {
            let mut calls = self.calls();
            calls.failure = Some(failure.clone());
            std::mem::take(&mut calls.pending)
        };
        for call in pending.into_values() {
            call.fail(failure.clone());
        }
        self.input.close();
        self.has_exited.send_replace(true);
    }
}

impl Calls {
    /// Returns the id of the only pending call, `None` if there are several or none. Subscriptions
    /// do not count.
    fn only_call(&self) -> Option<i64> {
        let mut calls = self
            .pending
            .iter()
            .filter(|(_, call)| !call.is_subscription);
        let only = calls.next().map(|(id, _)| *id);
        only.filter(|_| calls.next().is_none())
    }
}

impl PendingCall {
    /// Fails the call: it gets no response. A subscription is not reported as unanswered, for to
    /// its caller that is nothing else than a stream that breaks off.
    fn fail(&self, failure: CallError) {
        let unanswered = if self.is_subscription {
            Vec::new()
        } else {
            vec![self.id.clone()]
        };
        self.sender.fail(failure, unanswered);
    }

    /// Returns a response with the caller's id. The result of a subscription contains the id twice.
    fn restore_response(&self, message: &Message) -> Bytes {
        let subscription = if self.is_subscription {
            message.subscription_id()
        } else {
            None
        };
        let tokens = [message.id.clone(), subscription].into_iter().flatten();
        let changes = tokens.map(|token| (token.span, self.id.clone()));
        replace_spans(&message.text, changes.collect())
    }

    /// Returns a notification with the caller's progress token or subscription id.
    fn restore_notification(
        &self,
        message: &Message,
        progress: Option<Token>,
        subscription: Option<Token>,
    ) -> Bytes {
        let progress = progress.and_then(|token| Some((token.span, self.progress_token.clone()?)));
        let subscription = subscription
            .filter(|_| self.is_subscription)
            .map(|token| (token.span, self.id.clone()));
        let changes = progress.into_iter().chain(subscription);
        replace_spans(&message.text, changes.collect())
    }
}

/// Returns the id of the bridge's own that a token is; `None` if it can be no such id.
fn own_id(token: &Token) -> Option<i64> {
    match token.key {
        TokenKey::Integer(id) => Some(id),
        TokenKey::Text(_) | TokenKey::Float(_) => None,
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // An answered call is not pending any more, and what comes after this belongs to no call.
        let was_pending = self.multiplexer.calls().pending.remove(&self.id).is_some();
        if was_pending && self.is_sent && self.multiplexer.disconnect_cancels {
            self.multiplexer.cancel(self.id);
        }
    }
}

impl MultiplexedCall {
    /// Returns the queue of the response, and the guard that gives the call up when it is dropped.
    pub(crate) fn into_parts(self) -> (EventReceiver, CancelOnDrop) {
        (self.receiver, self.guard)
    }
}

#[cfg(test)]
mod tests;
