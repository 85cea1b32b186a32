//! One request and its answer, to its end of any kind.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};

use super::sse::EventReader;
use super::{Caller, OpenCall, PATIENCE};
use crate::history::Outcome;

/// When a caller leaves on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Never,
    /// After this long.
    After(Duration),
    /// After so many events.
    AfterEvents(usize),
}

/// The parts of an exchange that its caller goes on with.
#[derive(Debug, Clone, Default)]
pub(super) struct Exchanged {
    pub(super) outcome: Option<Outcome>,
    /// The `Mcp-Session-Id` of the answer.
    pub(super) session: Option<String>,
    /// The id of the last event.
    pub(super) last_event: Option<String>,
    /// `true` once a response was received, not only events.
    pub(super) has_response: bool,
}

impl Exchanged {
    /// Returns the status of an answer that ended cleanly.
    pub(super) fn status(&self) -> Option<u16> {
        match self.outcome {
            Some(Outcome::Answered { status, .. }) => Some(status),
            _ => None,
        }
    }
}

impl Caller {
    /// Sends a request, reads its answer to the end, and records both.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        mut open: OpenCall,
        leave: Leave,
    ) -> Exchanged {
        let mut exchanged = Exchanged::default();
        let left = async {
            match leave {
                Leave::After(time) => tokio::time::sleep(time).await,
                _ => std::future::pending().await,
            }
        };

        let outcome = tokio::select! {
            outcome = receive(request, &mut open, &mut exchanged, leave) => outcome,
            () = left => Outcome::Left,
            () = tokio::time::sleep(PATIENCE) => Outcome::Hung,
        };
        exchanged.has_response = open.has_response();
        exchanged.outcome = Some(outcome.clone());
        open.end(self.now(), outcome);
        exchanged
    }
}

async fn receive(
    request: RequestBuilder,
    open: &mut OpenCall,
    exchanged: &mut Exchanged,
    leave: Leave,
) -> Outcome {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return Outcome::NotSent,
        Err(_) => return Outcome::NoAnswer,
    };

    let status = answer.status().as_u16();
    let cause = header(&answer, "llamapool-error");
    exchanged.session = header(&answer, "mcp-session-id");
    let is_stream =
        header(&answer, "content-type").is_some_and(|it| it.starts_with("text/event-stream"));
    let ended = if is_stream {
        receive_events(answer, open, exchanged, leave).await
    } else {
        receive_json(answer, open).await
    };
    match ended {
        Some(Ended::Cleanly) => Outcome::Answered { status, cause },
        Some(Ended::Left) => Outcome::Left,
        None => Outcome::Broken { status },
    }
}

/// How a body ended.
enum Ended {
    Cleanly,
    /// The caller has seen as many events as it wanted.
    Left,
}

/// Reads the events of a stream. `None` if it broke off.
async fn receive_events(
    mut answer: Response,
    open: &mut OpenCall,
    exchanged: &mut Exchanged,
    leave: Leave,
) -> Option<Ended> {
    let mut reader = EventReader::default();
    loop {
        let Some(piece) = answer.chunk().await.ok()? else {
            return Some(Ended::Cleanly);
        };
        for event in reader.take(&piece) {
            open.receive(&event.data);
            exchanged.last_event = event.id.or(exchanged.last_event.take());

            let received = open.call.messages.len();
            if matches!(leave, Leave::AfterEvents(events) if received >= events) {
                return Some(Ended::Left);
            }
        }
    }
}

/// Reads a JSON body. `None` if it broke off.
async fn receive_json(answer: Response, open: &mut OpenCall) -> Option<Ended> {
    let text = answer.text().await.ok()?;
    open.receive(&text);
    Some(Ended::Cleanly)
}

fn header(answer: &Response, name: &str) -> Option<String> {
    let value = answer.headers().get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

impl OpenCall {
    fn has_response(&self) -> bool {
        let mut messages = self.call.messages.iter();
        messages.any(|message| !matches!(message.content, crate::history::Content::Event(_)))
    }
}
