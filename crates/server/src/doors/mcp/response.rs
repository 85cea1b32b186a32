//! The answer as it goes to the caller.

use axum::body::Body;
use axum::http::{StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use llamapool_head::ResponseHead;
use llamapool_http::listen::{Answer, AnswerBody};
use llamapool_http::{BodyEnd, BodyObserver, sse};
use llamapool_mcp::MethodLabel;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::{CallError, Cause};
use tokio::time::Instant;

use super::answer_headers::{self, AnswerOrigin};
use super::context::McpDoor;
use super::sse_to_json::single_answer;
use crate::calls::{CallAnswer, CallGuard};

/// The largest answer that ends its call before its caller has read it. It costs its caller's
/// connection that much memory, and llamapool nothing else.
const WHOLE_ANSWER_BYTES: usize = 64 * 1024;

/// The traits of a request that its answer depends on.
pub(super) struct RequestTraits<'a> {
    /// Set for a `HEAD`.
    pub(super) is_head: bool,
    pub(super) wants_single_answer: bool,
    pub(super) started: Instant,
    pub(super) origin: AnswerOrigin<'a>,
}

/// Makes the provider's answer the caller's. The guard of the call is held by its body, unless the
/// body has arrived whole and is small: then the call is over.
pub(super) async fn respond(
    door: &McpDoor,
    request: RequestTraits<'_>,
    mut call: CallGuard<MethodLabel>,
    (mut head, body): (ResponseHead, IncomingBody),
) -> Result<CallAnswer, CallError> {
    answer_headers::rewrite(&mut head, body.is_end_stream(), &request.origin)
        .inspect_err(|failure| call.fail(failure))?;

    let timeouts = door.forwarder.timeouts;
    let is_stream = sse::is_event_stream(&head.fields);
    let is_encoded = head.fields.contains_key(&header::CONTENT_ENCODING);
    if request.wants_single_answer && is_stream && !is_encoded && head.status == StatusCode::OK {
        // Boxed, as few calls need it.
        return Box::pin(single(door, &request, call, (head, body))).await;
    }

    if is_stream {
        sse::disable_buffering(&mut head.fields);
    }
    if request.is_head {
        let body = timeouts.carry_body(body, request.started, call);
        // It has no body, which is not to be taken for a length of zero.
        let body = AnswerBody::Stream(Body::from_stream(body.into_data_stream()));
        return Ok(Answer { head, body });
    }

    let body = match body.into_whole(WHOLE_ANSWER_BYTES) {
        Ok(whole) if whole.is_complete() => {
            call.on_data(whole.len());
            call.on_end(BodyEnd::Complete);
            let body = if whole.was_known_empty() {
                AnswerBody::Whole(whole.into_bytes())
            } else {
                AnswerBody::WholeInChunks(whole.into_bytes())
            };
            return Ok(Answer { head, body });
        }
        Ok(broken) => {
            let broken = timeouts.carry_body(broken, request.started, call);
            let body = AnswerBody::Stream(Body::new(broken));
            return Ok(Answer { head, body });
        }
        Err(body) => timeouts.carry_body(body, request.started, call),
    };

    // A body of a declared length has no room for comments, and an encoded one no place.
    let has_length = head.fields.contains_key(&header::CONTENT_LENGTH);
    let takes_comments = is_stream && !is_encoded && !has_length;
    let keepalive = door.config.stream_keepalive;
    let body = if keepalive.is_zero() || !takes_comments {
        Body::new(body)
    } else {
        Body::new(sse::KeepAlive::new(body, keepalive))
    };
    let body = AnswerBody::Stream(body);
    Ok(Answer { head, body })
}

/// Makes one JSON answer of an event stream.
async fn single(
    door: &McpDoor,
    request: &RequestTraits<'_>,
    mut call: CallGuard<MethodLabel>,
    (head, body): (ResponseHead, IncomingBody),
) -> Result<CallAnswer, CallError> {
    let timeouts = door.forwarder.timeouts;
    let body = timeouts.carry_body(body, request.started, ());
    let Some(stream) = head.into_http(body) else {
        let message = "the relay's answer has more headers than llamapool handles";
        let failure = CallError::new(Cause::RelayGarbage, message);
        call.fail(&failure);
        return Err(failure);
    };
    let answer = single_answer(stream, door.config.max_answer_bytes, call.memory()).await;
    let answer = answer.inspect_err(|failure| call.fail(failure))?;
    let answer = timeouts.carry(answer, request.started, call);
    Ok(answer.map(Body::new).into())
}
