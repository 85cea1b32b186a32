//! The answer as it goes to the caller.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use llamapool_http::{ForwardTimeouts, sse, strip_hop_by_hop};
use llamapool_mcp::header::SESSION_ID;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::{CallError, Cause, RelayId, header as wire};
use tokio::time::Instant;

use super::call_headers;
use crate::app::App;
use crate::books::Call;
use crate::plain_answer::single_answer;
use crate::registry::Relay;
use crate::sessions::Purpose;

/// What of the request matters for its answer.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) wants_single_answer: bool,
    pub(super) started: Instant,
    pub(super) timeouts: ForwardTimeouts,
}

/// Books what the head of the answer says.
pub(super) fn note_head(call: &mut Call, answer: &Response<IncomingBody>) {
    let cause = answer
        .headers()
        .get(wire::ERROR)
        .and_then(|word| Cause::from_word(word.to_str().ok()?));
    match cause {
        Some(cause) => call.failed(
            &CallError::new(cause, cause.meaning().trim())
                .with_source("the log of its relay says more"),
        ),
        None => call.answered(answer.status().as_u16()),
    }
}

/// Makes the provider's answer the caller's. The call rides in its body.
pub(super) async fn answer(
    app: &App,
    asked: Asked,
    mut call: Call,
    answer: Response<IncomingBody>,
) -> Result<Response<Body>, CallError> {
    let mut answer = answer;
    strip_hop_by_hop(answer.headers_mut(), call_headers::is_end_to_end);
    let Asked {
        method,
        wants_single_answer,
        started,
        timeouts,
    } = asked;
    let is_stream = sse::is_event_stream(answer.headers());
    let is_encoded = answer.headers().contains_key(header::CONTENT_ENCODING);
    if wants_single_answer && answer.status() == StatusCode::OK && is_stream && !is_encoded {
        let answer = timeouts.carry(answer, started, ());
        return match single_answer(answer, app.config.mcp.max_answer_bytes).await {
            Ok(answer) => Ok(timeouts.carry(answer, started, call).map(Body::new)),
            Err(failure) => {
                call.failed(&failure);
                Err(failure)
            }
        };
    }
    let mut answer = timeouts.carry(answer, started, call);
    if is_stream {
        sse::disable_buffering(answer.headers_mut());
    }
    if method == Method::HEAD {
        // It has no body, which is not to be taken for a length of zero.
        return Ok(answer.map(|body| Body::from_stream(body.into_data_stream())));
    }
    let keepalive = app.config.mcp.stream_keepalive;
    // A body of a known length has no room for comments, and an encoded one no place.
    let takes_comments =
        is_stream && !is_encoded && !answer.headers().contains_key(header::CONTENT_LENGTH);
    if keepalive.is_zero() || !takes_comments {
        return Ok(answer.map(Body::new));
    }
    Ok(answer.map(|body| Body::new(sse::KeepAlive::new(body, keepalive))))
}

/// Seals the session that an answer of a shared id names.
pub(super) fn seal_session(app: &App, id: &RelayId, relay: &Relay, headers: &mut HeaderMap) {
    let Some(session) = headers.get(SESSION_ID) else {
        return;
    };
    let sealed = app
        .seal
        .seal(Purpose::Session, id, relay.tag, session.as_bytes())
        .and_then(|id| HeaderValue::from_str(&id).ok());
    match sealed {
        Some(sealed) => drop(headers.insert(SESSION_ID, sealed)),
        None => drop(headers.remove(SESSION_ID)),
    }
}
