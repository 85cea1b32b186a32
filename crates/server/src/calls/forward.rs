//! Forwards one call through a relay's tunnel, up to the head of its answer; the rest follows with
//! the answer's body.

use std::pin::pin;

use axum::body::Body;
use axum::http::header;
use bytes::Bytes;
use llamapool_head::{FieldLookup, Fields, RequestHead, ResponseHead};
use llamapool_http::{Alarm, BoxError, ForwardTimeouts, LimitedBody, RequestPace, linger};
use llamapool_tunnel::{IncomingBody, OutgoingBody, ServerEnd};
use llamapool_wire::{CallError, Cause, header as wire};
use tokio::time::Instant;

use super::failure::{forward_failed, is_by_the_caller, too_large};
use super::guard::CallGuard;
use super::label::LabelSet;
use super::message::RequestBody;

/// Forwards the calls of one door, within its timeouts and its bound of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarder {
    /// The timeouts of a call.
    pub(crate) timeouts: ForwardTimeouts,
    /// The largest request body, in bytes.
    pub(crate) max_request_bytes: u64,
    /// How slowly a request body may arrive.
    pub(crate) pace: RequestPace,
}

/// The body of a request within its bounds.
pub(crate) enum LimitedRequest {
    /// It has arrived whole.
    Whole(Bytes),
    /// It is on its way.
    Stream(LimitedBody<Body>),
}

impl Forwarder {
    /// Bounds and meters the body of a request. Fails at once if it is declared too large; its rest
    /// is then read within bounds, so that the caller gets the answer.
    pub(crate) async fn limit<L: LabelSet>(
        &self,
        headers: &Fields,
        body: RequestBody,
        call: &mut CallGuard<L>,
    ) -> Result<LimitedRequest, CallError> {
        let body = match body {
            RequestBody::Whole(bytes) if bytes.len() as u64 <= self.max_request_bytes => {
                call.meter().count_whole(bytes.len());
                return Ok(LimitedRequest::Whole(bytes));
            }
            RequestBody::Whole(bytes) => Body::from(bytes),
            RequestBody::Stream(body) => body,
        };
        let declared = headers
            .text_of(&header::CONTENT_LENGTH)
            .and_then(|length| length.parse::<u64>().ok());
        if let Some(declared) = declared.filter(|&declared| declared > self.max_request_bytes) {
            call.release_place();
            // A caller that asks before it sends has sent nothing.
            if !headers.contains_key(&header::EXPECT) {
                linger(body).await;
            }
            return Err(too_large(Some(declared), self.max_request_bytes));
        }

        let (body, meter) = LimitedBody::new(body, self.max_request_bytes, self.pace);
        call.set_meter(meter);
        Ok(LimitedRequest::Stream(body))
    }

    /// Sends a request once, and waits for the head of its answer. The guard records the status or
    /// the failure.
    pub(crate) async fn send<L, B>(
        &self,
        tunnel: &ServerEnd,
        (head, body): (&RequestHead, OutgoingBody<B>),
        (alarm, started): (&mut Alarm, Instant),
        call: &mut CallGuard<L>,
    ) -> Result<(ResponseHead, IncomingBody), CallError>
    where
        L: LabelSet,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let meter = call.meter().clone();
        let sending = pin!(tunnel.send_head(call.take_lease(), head, body));
        let timeouts = self.timeouts;
        let sent = timeouts.wait(alarm, started, sending, || meter.last_sent());
        let (head, body) = match sent.await {
            Ok(answer) => answer,
            Err(error) => {
                let has_left = is_by_the_caller(&error, &meter);
                let failure = forward_failed(error, &meter, self);
                if has_left {
                    call.record_failure(&failure);
                } else {
                    call.fail(&failure);
                }
                return Err(failure);
            }
        };

        match relay_cause(&head) {
            Some(cause) => {
                let meaning = CallError::new(cause, cause.meaning().trim());
                call.fail(&meaning.with_source("the log of its relay says more"));
            }
            None => call.record_status(head.status.as_u16()),
        }
        Ok((head, body))
    }
}

/// Returns the cause that the relay names, if the answer is the relay's own.
fn relay_cause(answer: &ResponseHead) -> Option<Cause> {
    Cause::from_word(answer.fields.text_of(&wire::ERROR)?)
}
