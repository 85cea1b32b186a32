//! One program for many callers: each request gets an id of the bridge's own, so that equal ids of
//! different callers never meet, and what comes back gets its caller's id again.
//!
//! Nothing else of a message is changed, except that characters are escaped that some programs take
//! for the end of a line. A message of a caller passes only if every program reads it alike. A
//! message of the program that cannot be attributed to one call is not forwarded at all, for it may
//! contain data of another caller.

mod calls;
mod stall_budget;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use llamapool_limits::MemoryAccount;
use llamapool_mcp::{
    Message, MessageKind, UnambiguousMessage, error_code, parse_messages_tolerant,
};
use llamapool_wire::{CallError, Cause};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use self::calls::{CallPurpose, Calls, line_end_changes};
use self::stall_budget::StallBudget;
use crate::child::{Exit, ProgramObserver};
use crate::error::ServeResult;
use crate::event_queue::{EventReceiver, ResponsePart, event_queue};
use crate::invalid_lines::InvalidLines;
use crate::program_input::{ProgramInput, SentLine};
use crate::response::{AT_ONCE, json_or_stream};
use crate::response_body::ResponseBody;
use crate::rewrite::{parse_as_line, replace_spans};

/// How much of one response waits for its caller to read.
const WAITING_BYTES: usize = 4 * 1024 * 1024;
/// The longest interval between two looks for calls that exceed their timeout.
const LOOK: Duration = Duration::from_secs(1);

/// A program that many callers share.
pub(crate) struct Multiplexer {
    pub(crate) input: ProgramInput,
    calls: Mutex<Calls>,
    stalls: StallBudget,
    invalid_lines: InvalidLines,
    /// The longest time from a request to its response; `None`: no bound.
    call_timeout: Option<Duration>,
    /// True if a caller that disconnects cancels its request (MCP 2026-07-28), false in the older
    /// revisions.
    disconnect_cancels: bool,
    /// Changes when the program reports that its tools have changed.
    tools: watch::Sender<()>,
    has_exited: watch::Sender<bool>,
}

/// A request on its way. Dropping it gives the request up.
#[must_use]
pub(crate) struct MultiplexedCall {
    receiver: EventReceiver,
    sent: SentLine,
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
    /// `call_timeout`: the longest time from a request to its response.
    pub(crate) fn new(
        input: ProgramInput,
        disconnect_cancels: bool,
        call_timeout: Option<Duration>,
    ) -> Self {
        Self {
            invalid_lines: InvalidLines::new(input.provider()),
            input,
            calls: Mutex::default(),
            stalls: StallBudget::new(),
            call_timeout,
            disconnect_cancels,
            tools: watch::Sender::new(()),
            has_exited: watch::Sender::new(false),
        }
    }

    /// Sends a request of a caller to the program. Does not wait for the response, which is counted
    /// in the caller's `memory` while it waits for the caller.
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: UnambiguousMessage<'_>,
        memory: &MemoryAccount,
    ) -> Result<MultiplexedCall, CallError> {
        let purpose = if request.method() == "subscriptions/listen" {
            CallPurpose::Subscription
        } else {
            CallPurpose::Request
        };
        self.send(request, purpose, memory).await
    }

    /// Sends a notification to the program, and waits until it is written.
    pub(crate) async fn notify(
        &self,
        notification: UnambiguousMessage<'_>,
    ) -> Result<(), CallError> {
        let changes = line_end_changes(notification).collect();
        self.input
            .send_and_flush(replace_spans(&notification.text, changes))
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
        let request = UnambiguousMessage::check(&request).map_err(|_| garbage())?;

        let memory = self.input.memory();
        let call = self.send(request, CallPurpose::Own, memory).await?;
        let mut receiver = call.receiver;
        let _guard = call.guard;
        let responded = async {
            loop {
                match receiver.next().await.map_err(|broken| broken.failure)? {
                    Some(ResponsePart::Whole(response, _)) => return Ok(response),
                    Some(_) => {}
                    None => return Err(garbage()),
                }
            }
        };
        let response = tokio::select! {
            // Biased towards the response: the exit of the program has its own reason.
            biased;
            response = responded => response?,
            failure = call.sent.failed() => return Err(failure),
        };
        let response = parse_messages_tolerant(&response).map_err(|_| garbage())?;
        response.into_iter().next().ok_or_else(garbage)
    }

    /// Returns a receiver that changes when the program reports that its tools have changed.
    pub(crate) fn tool_changes(&self) -> watch::Receiver<()> {
        self.tools.subscribe()
    }

    /// Attends to the timeouts of calls until the program has exited.
    pub(crate) async fn attend(&self) {
        let timeouts = async {
            loop {
                tokio::time::sleep(self.call_timeout.unwrap_or(LOOK).min(LOOK)).await;
                self.fail_expired_calls();
            }
        };
        tokio::select! {
            // In any order: a program that has exited has no calls.
            () = self.until_exited() => {}
            () = timeouts => {}
        }
    }

    /// Takes the response to a request that was sent before the program got another observer.
    /// Returns false if the line is for that observer. Any other response shows that the program has
    /// passed over the requests before it: they fail.
    pub(crate) fn takes_response(&self, line: &Bytes) -> bool {
        if self.calls().is_empty() {
            return false;
        }
        let Ok((_, messages)) = parse_as_line(line.clone(), parse_messages_tolerant) else {
            return false;
        };
        let is_response = |message: &&Message| message.kind == MessageKind::Response;
        let Some(response) = messages.iter().find(is_response) else {
            return false;
        };

        let routed = self.calls().route(response);
        if let Some(routed) = &routed {
            routed.sender.push(routed.part.clone());
            routed.sender.finish();
            return true;
        }
        let passed_over: Vec<_> = self.calls().take_all().collect();
        for call in passed_over {
            call.sender.finish();
        }
        false
    }

    /// Fails and cancels the calls that exceed their timeout.
    fn fail_expired_calls(&self) {
        let Some(timeout) = self.call_timeout else {
            return;
        };
        let expired = self.calls().take_expired(Instant::now(), timeout);
        for (id, call) in expired {
            let message = format!(
                "the MCP server has not answered within {} s, see SHARED_CALL_TIMEOUT",
                timeout.as_secs_f64()
            );
            call.fail(CallError::new(Cause::CallTimeout, message));
            self.cancel(id, "it takes too long");
        }
    }

    /// Waits until the program has exited.
    pub(crate) async fn until_exited(&self) {
        // The sender is part of `self`, so this cannot fail.
        let _ = self.has_exited.subscribe().wait_for(|exited| *exited).await;
    }

    /// Returns whether the program has exited, or accepts no more and is going to.
    pub(crate) fn has_exited(&self) -> bool {
        *self.has_exited.borrow() || self.input.is_closed()
    }

    async fn send(
        self: &Arc<Self>,
        request: UnambiguousMessage<'_>,
        purpose: CallPurpose,
        memory: &MemoryAccount,
    ) -> Result<MultiplexedCall, CallError> {
        let (sender, receiver) = event_queue(WAITING_BYTES, memory);
        let (id, text) = {
            let mut calls = self.calls();
            if let Some(failure) = &calls.failure {
                return Err(failure.clone());
            }
            calls.open(request, Arc::new(sender), purpose)
        };
        let mut guard = CancelOnDrop {
            multiplexer: self.clone(),
            id,
            is_sent: false,
        };

        let sent = self.input.send(text).await.map_err(|_| self.failure())?;
        guard.is_sent = true;
        Ok(MultiplexedCall {
            receiver,
            sent,
            guard,
        })
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

    /// Fails and cancels a call whose caller does not read.
    fn give_up(&self, id: i64) {
        let call = self.calls().remove(id);
        if let Some(call) = call {
            let failure = CallError::new(Cause::TunnelLost, "the caller did not read its answer");
            call.sender.fail(failure, Vec::new());
            self.cancel(id, "the caller has left");
        }
    }

    fn cancel(&self, id: i64, reason: &str) {
        let params = format!(r#"{{"requestId":{id},"reason":"{reason}"}}"#);
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

    /// Handles a line that is no message: the calls whose responses can be read in it fail.
    fn on_invalid_line(&self, line: &[u8], error: &dyn std::fmt::Display) {
        let (answered, failure) = self.invalid_lines.record(line, error);
        for id in answered {
            let call = self.calls().remove_answered(&id);
            if let Some(call) = call {
                call.fail(failure.clone());
            }
        }
    }

    async fn on_message(&self, message: &Message) {
        if message.is_request() {
            return self.decline(message);
        }
        if message.method() == "notifications/tools/list_changed" {
            self.tools.send_replace(());
        }

        let routed = self.calls().route(message);
        let Some(routed) = routed else {
            return tracing::debug!(
                provider = self.input.provider().as_deref(),
                "the program wrote a message that belongs to no call"
            );
        };
        let start = Instant::now();
        let sent = routed.sender.send(routed.part, self.stalls.left()).await;
        self.stalls.spend_since(start);
        if message.kind == MessageKind::Response {
            routed.sender.finish();
        } else if sent.is_err() {
            self.give_up(routed.id);
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock()
    }
}

impl ProgramObserver for Multiplexer {
    async fn on_line(&self, line: Bytes) {
        match parse_as_line(line.clone(), parse_messages_tolerant) {
            Ok((_, messages)) => {
                for message in &messages {
                    self.on_message(message).await;
                }
            }
            Err(error) => self.on_invalid_line(&line, &error),
        }
    }

    fn on_exit(&self, exit: &Exit) {
        let failure = exit.failure();

        let pending = {
            let mut calls = self.calls();
            calls.failure = Some(failure.clone());
            calls.take_all()
        };
        for call in pending {
            call.fail(failure.clone());
        }
        self.input.close();
        self.has_exited.send_replace(true);
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // An answered call is not pending any more, and what comes after this belongs to no call.
        let was_pending = self.multiplexer.calls().remove(self.id).is_some();
        if was_pending && self.is_sent && self.multiplexer.disconnect_cancels {
            self.multiplexer.cancel(self.id, "the caller has left");
        }
    }
}

impl MultiplexedCall {
    /// Waits for the beginning of the response, as [`json_or_stream`] does.
    pub(crate) async fn respond(
        self,
        whole: impl FnOnce(Bytes, Option<i64>) -> Response<ResponseBody>,
    ) -> ServeResult {
        tokio::select! {
            // Biased towards the response: the exit of the program has its own reason.
            biased;
            response = json_or_stream(self.receiver, self.guard, AT_ONCE, || {}, whole) => response,
            failure = self.sent.failed() => Err(failure.into()),
        }
    }
}

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
