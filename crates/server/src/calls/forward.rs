//! Forwards one call through a relay's tunnel, up to the head of its answer; the rest follows with
//! the answer's body.

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, header};
use llamapool_http::{
    BoxError, ForwardTimeouts, LimitedBody, RequestPace, Upstream, forward, linger,
};
use llamapool_tunnel::{IncomingBody, SendError, ServerEnd, StreamLease};
use llamapool_wire::{CallError, Cause, header as wire};
use parking_lot::Mutex;

use super::failure::{forward_failed, is_by_the_caller, too_large};
use super::guard::CallGuard;
use super::label::LabelSet;

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

impl Forwarder {
    /// Bounds and meters the body of a request. Fails at once if it is declared too large; its rest
    /// is then read within bounds, so that the caller gets the answer.
    pub(crate) async fn limit<L: LabelSet>(
        &self,
        headers: &HeaderMap,
        body: Body,
        call: &mut CallGuard<L>,
    ) -> Result<LimitedBody<Body>, CallError> {
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Some(declared) = declared.filter(|&declared| declared > self.max_request_bytes) {
            call.release_place();
            // A caller that asks before it sends has sent nothing.
            if !headers.contains_key(header::EXPECT) {
                linger(body).await;
            }
            return Err(too_large(Some(declared), self.max_request_bytes));
        }

        let (body, meter) = LimitedBody::new(body, self.max_request_bytes, self.pace);
        call.set_meter(meter);
        Ok(body)
    }

    /// Sends a request once, and waits for the head of its answer. The guard records the status or
    /// the failure.
    pub(crate) async fn send<L, B>(
        &self,
        tunnel: &ServerEnd,
        request: Request<B>,
        call: &mut CallGuard<L>,
    ) -> Result<Response<IncomingBody>, CallError>
    where
        L: LabelSet,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let meter = call.meter().clone();
        let tunnel = TunnelUpstream::new(tunnel, call.take_lease());
        let sent = forward(&tunnel, request, &self.timeouts, || meter.last_sent());
        let answer = match sent.await {
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

        match relay_cause(&answer) {
            Some(cause) => {
                let meaning = CallError::new(cause, cause.meaning().trim());
                call.fail(&meaning.with_source("the log of its relay says more"));
            }
            None => call.record_status(answer.status().as_u16()),
        }
        Ok(answer)
    }
}

/// Returns the cause that the relay names, if the answer is the relay's own.
fn relay_cause(answer: &Response<IncomingBody>) -> Option<Cause> {
    let word = answer.headers().get(wire::ERROR)?;
    Cause::from_word(word.to_str().ok()?)
}

/// The tunnel as the next hop of one call.
struct TunnelUpstream<'a> {
    tunnel: &'a ServerEnd,
    /// Taken by the one request that is sent.
    lease: Mutex<StreamLease>,
}

impl<'a> TunnelUpstream<'a> {
    fn new(tunnel: &'a ServerEnd, lease: StreamLease) -> Self {
        Self {
            tunnel,
            lease: Mutex::new(lease),
        }
    }
}

impl Upstream for TunnelUpstream<'_> {
    type Body = IncomingBody;
    type Error = SendError;

    async fn send<B>(&self, request: Request<B>) -> Result<Response<IncomingBody>, SendError>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let lease = std::mem::take(&mut *self.lease.lock());
        self.tunnel.send_with(lease, request).await
    }
}
