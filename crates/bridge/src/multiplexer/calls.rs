//! The requests that a shared program has not answered: under which ids it knows them, and which of
//! them a message of the program belongs to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llamapool_mcp::{Message, MessageKind, Token, TokenKey, UnambiguousMessage};
use llamapool_wire::CallError;
use tokio::time::Instant;

use crate::event_queue::{EventSender, ResponsePart};
use crate::rewrite::replace_spans;

/// The pending calls of one program.
#[derive(Default)]
pub(super) struct Calls {
    pending: HashMap<i64, PendingCall>,
    /// The calls by the progress tokens that the program was given.
    by_token: HashMap<i64, i64>,
    /// The failure of every call after the program has exited.
    pub(super) failure: Option<CallError>,
}

/// A request without a response.
pub(super) struct PendingCall {
    /// The id, as the caller wrote it.
    id: Bytes,
    progress: Option<ProgressToken>,
    pub(super) sender: Arc<EventSender>,
    purpose: CallPurpose,
    opened: Instant,
    /// True if no other caller's call has been pending at the same time. A message that names no
    /// call can then belong to no other.
    is_alone: bool,
}

/// A progress token: that of the bridge, and as the caller wrote it.
struct ProgressToken {
    own: i64,
    callers: Bytes,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallPurpose {
    /// A request of a caller.
    Request,
    /// A subscription of a caller, which waits for notifications and not for a response of its own.
    Subscription,
    /// A request of the bridge itself.
    Own,
}

/// A message of the program for one call.
pub(super) struct Routed {
    pub(super) id: i64,
    pub(super) sender: Arc<EventSender>,
    pub(super) part: ResponsePart,
}

impl Calls {
    /// Registers a call. Returns its id and the request's text with that id.
    pub(super) fn open(
        &mut self,
        request: UnambiguousMessage<'_>,
        sender: Arc<EventSender>,
        purpose: CallPurpose,
    ) -> (i64, Bytes) {
        let id = self.unused_id();
        let progress_token = request.progress_token();
        let progress = progress_token.as_ref().map(|token| ProgressToken {
            own: self.unused_id(),
            callers: request.text.slice(token.span.clone()),
        });

        let mut changes: Vec<_> = line_end_changes(request).collect();
        let own_token = progress.as_ref().map(|progress| progress.own);
        let own_id = request.id.as_ref().map(|_| id);
        let tokens = [&request.id, &progress_token].into_iter().flatten();
        for (token, own) in tokens.zip([own_id, own_token].into_iter().flatten()) {
            changes.retain(|(span, _)| !token.span.contains(&span.start));
            changes.push((token.span.clone(), own.to_string().into()));
        }

        let spelling = |token: &Token| request.text.slice(token.span.clone());
        let call = PendingCall {
            id: request.id.as_ref().map(spelling).unwrap_or_default(),
            progress,
            sender,
            purpose,
            opened: Instant::now(),
            is_alone: true,
        };
        self.insert(id, call);
        (id, replace_spans(&request.text, changes))
    }

    /// Returns whether no call is pending.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Removes a call.
    pub(super) fn remove(&mut self, id: i64) -> Option<PendingCall> {
        let call = self.pending.remove(&id)?;
        if let Some(progress) = &call.progress {
            self.by_token.remove(&progress.own);
        }
        Some(call)
    }

    /// Removes the call that a response with this id is meant for.
    pub(super) fn remove_answered(&mut self, id: &TokenKey) -> Option<PendingCall> {
        self.remove(id.as_integer()?)
    }

    /// Removes all calls.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = PendingCall> + use<> {
        self.by_token.clear();
        std::mem::take(&mut self.pending).into_values()
    }

    /// Removes the calls that have been pending for `timeout` at `now`, except subscriptions.
    pub(super) fn take_expired(
        &mut self,
        now: Instant,
        timeout: Duration,
    ) -> Vec<(i64, PendingCall)> {
        let is_expired = |call: &PendingCall| {
            call.purpose != CallPurpose::Subscription && now >= call.opened + timeout
        };
        let expired = self.pending.iter().filter(|(_, call)| is_expired(call));
        let expired: Vec<i64> = expired.map(|(id, _)| *id).collect();
        expired
            .into_iter()
            .filter_map(|id| Some((id, self.remove(id)?)))
            .collect()
    }

    /// Returns the call that a message belongs to, and the message as that call's caller must see
    /// it. A response removes its call. `None`: no call is named, or none that is pending.
    pub(super) fn route(&mut self, message: &Message) -> Option<Routed> {
        match message.kind {
            MessageKind::Response => {
                let id = message.id.as_ref()?.key.as_integer()?;
                let call = self.remove(id)?;
                let part = ResponsePart::Whole(call.restore_response(message), message.error_code);
                Some(Routed {
                    id,
                    sender: call.sender,
                    part,
                })
            }
            MessageKind::Notification => {
                let progress = reported_progress(message);
                let subscription = message.subscription_id();

                let id = match (&progress, &subscription) {
                    (Some(token), _) => *self.by_token.get(&token.key.as_integer()?)?,
                    (None, Some(token)) => token.key.as_integer()?,
                    (None, None) => self.only_call(message.method())?,
                };
                let call = self.pending.get(&id)?;
                let text = call.restore_notification(message, progress, subscription);
                Some(Routed {
                    id,
                    sender: call.sender.clone(),
                    part: ResponsePart::Event(None, text),
                })
            }
            MessageKind::Request => None,
        }
    }

    fn insert(&mut self, id: i64, mut call: PendingCall) {
        if call.purpose == CallPurpose::Request {
            let others = self.pending.values_mut();
            for other in others.filter(|other| other.purpose == CallPurpose::Request) {
                other.is_alone = false;
                call.is_alone = false;
            }
        }
        if let Some(progress) = &call.progress {
            self.by_token.insert(progress.own, id);
        }
        self.pending.insert(id, call);
    }

    /// Returns a random number that is neither an id nor a token: of 53 bits, which is what every
    /// program can read. No caller can guess that of another's call.
    fn unused_id(&self) -> i64 {
        loop {
            let random = rand::random_range(1..=(1 << 53) - 1);
            let is_used = self.pending.contains_key(&random) || self.by_token.contains_key(&random);
            if !is_used {
                return random;
            }
        }
    }

    /// Returns the call that a message belongs to that names none: the only one, if there has been
    /// no other since it began. Subscriptions do not count.
    fn only_call(&self, method: &str) -> Option<i64> {
        let is_of_other_kind = matches!(
            method,
            // These belong to a subscription, a task, or a request of the program itself.
            "notifications/resources/updated"
                | "notifications/tasks/status"
                | "notifications/elicitation/complete"
                | "notifications/cancelled"
                | "notifications/progress"
        );
        let mut calls = self
            .pending
            .iter()
            .filter(|(_, call)| call.purpose != CallPurpose::Subscription);
        let (id, call) = calls.next()?;
        let is_only = calls.next().is_none() && call.is_alone && !is_of_other_kind;
        is_only.then_some(*id)
    }
}

impl PendingCall {
    /// Fails the call: it gets no response. A subscription is not reported as unanswered, for to
    /// its caller that is nothing else than a stream that breaks off.
    pub(super) fn fail(&self, failure: CallError) {
        let unanswered = if self.is_subscription() {
            Vec::new()
        } else {
            vec![self.id.clone()]
        };
        self.sender.fail(failure, unanswered);
    }

    fn is_subscription(&self) -> bool {
        self.purpose == CallPurpose::Subscription
    }

    /// Returns a response with the caller's id. The result of a subscription contains the id twice.
    fn restore_response(&self, message: &Message) -> Bytes {
        let subscription = if self.is_subscription() {
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
        let progress = progress
            .zip(self.progress.as_ref())
            .map(|(token, progress)| (token.span, progress.callers.clone()));
        let subscription = subscription
            .filter(|_| self.is_subscription())
            .map(|token| (token.span, self.id.clone()));
        let changes = progress.into_iter().chain(subscription);
        replace_spans(&message.text, changes.collect())
    }
}

/// Returns the changes that escape what a program could take for the end of the line.
pub(super) fn line_end_changes(
    message: UnambiguousMessage<'_>,
) -> impl Iterator<Item = (std::ops::Range<usize>, Bytes)> {
    let ends = message.line_ends();
    ends.map(|(span, escape)| (span, escape.into()))
}

fn reported_progress(message: &Message) -> Option<Token> {
    if message.method() == "notifications/progress" {
        message.reported_progress_token()
    } else {
        None
    }
}
