//! The answer as it goes to the caller.

use axum::body::Body;
use axum::http::{Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use llamapool_http::{BodyEnd, BodyObserver, sse};
use llamapool_mcp::MethodLabel;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::CallError;
use tokio::time::Instant;

use super::answer_headers::{self, AnswerOrigin};
use super::context::McpDoor;
use super::sse_to_json::single_answer;
use crate::calls::CallGuard;

/// The largest answer that ends its call before its caller has read it. It costs its caller's
/// connection that much memory, and llamapool nothing else.
const WHOLE_ANSWER_BYTES: usize = 64 * 1024;

/// The traits of a request that its answer depends on.
pub(super) struct RequestTraits<'a> {
    pub(super) method: Method,
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
    mut answer: Response<IncomingBody>,
) -> Result<Response<Body>, CallError> {
    answer_headers::rewrite(&mut answer, &request.origin)
        .inspect_err(|failure| call.fail(failure))?;

    let timeouts = door.forwarder.timeouts;
    let is_stream = sse::is_event_stream(answer.headers());
    let is_encoded = answer.headers().contains_key(header::CONTENT_ENCODING);
    let is_ok = answer.status() == StatusCode::OK;
    if request.wants_single_answer && is_ok && is_stream && !is_encoded {
        let stream = timeouts.carry(answer, request.started, ());
        let max_bytes = door.config.max_answer_bytes;
        let answer = single_answer(stream, max_bytes, call.memory()).await;
        let answer = answer.inspect_err(|failure| call.fail(failure))?;
        return Ok(timeouts.carry(answer, request.started, call).map(Body::new));
    }

    if is_stream {
        sse::disable_buffering(answer.headers_mut());
    }
    if request.method == Method::HEAD {
        let answer = timeouts.carry(answer, request.started, call);
        // It has no body, which is not to be taken for a length of zero.
        return Ok(answer.map(|body| Body::from_stream(body.into_data_stream())));
    }

    let (head, body) = answer.into_parts();
    let answer = match body.into_whole(WHOLE_ANSWER_BYTES) {
        Ok(whole) if whole.is_complete() => {
            call.on_data(whole.len());
            call.on_end(BodyEnd::Complete);
            return Ok(Response::from_parts(head, Body::new(whole)));
        }
        Ok(broken) => {
            let broken = Response::from_parts(head, broken);
            return Ok(timeouts.carry(broken, request.started, call).map(Body::new));
        }
        Err(body) => timeouts.carry(Response::from_parts(head, body), request.started, call),
    };

    // A body of a declared length has no room for comments, and an encoded one no place.
    let has_length = answer.headers().contains_key(header::CONTENT_LENGTH);
    let takes_comments = is_stream && !is_encoded && !has_length;
    let keepalive = door.config.stream_keepalive;
    if keepalive.is_zero() || !takes_comments {
        return Ok(answer.map(Body::new));
    }
    Ok(answer.map(|body| Body::new(sse::KeepAlive::new(body, keepalive))))
}
