//! Responds to one request from the tunnel: a call to a provider, the stream of its events, or a
//! request for its OAuth metadata.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use llamapool_http::{has_dot_segment, is_of_the_connection, sse};
use llamapool_mcp::is_listening;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::{CallError, Cause, path::TunnelPath};
use tokio_util::sync::CancellationToken;

use crate::error::{error_response, log_error, request_id};
use crate::events;
use crate::response_body::ResponseBody;
use crate::slot::Slot;

/// The response to one request.
pub(crate) type Responding = Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>;

/// Responds to one request for one of the slots of a tunnel. The future is dropped when the caller
/// leaves. `farewell` ends the streams of offers.
///
/// The future has kilobytes. It is boxed where it is written, so that it is made in its place: one that
/// another function boxes is made on the stack and copied for each call.
pub(crate) fn respond(
    slots: Arc<[Arc<Slot>]>,
    farewell: CancellationToken,
    request: Request<IncomingBody>,
) -> Responding {
    Box::pin(async move {
        let path = request.uri().path().to_owned();
        let req_id = request_id(request.headers());
        let path = TunnelPath::parse(&path);
        dispatch(&slots, path, farewell, request)
            .await
            .unwrap_or_else(|error| {
                log_error(&error, path.map(TunnelPath::id), &req_id);
                error_response(&error, &req_id)
            })
    })
}

async fn dispatch(
    slots: &[Arc<Slot>],
    path: Option<TunnelPath<'_>>,
    farewell: CancellationToken,
    request: Request<IncomingBody>,
) -> Result<Response<ResponseBody>, CallError> {
    let path = path.ok_or_else(|| garbage("the relay does not know this kind of request"))?;
    if is_of_the_connection(request.method()) {
        let message = format!("the method {} is refused", request.method());
        return Err(CallError::new(Cause::MethodRefused, message));
    }
    let slot = slots
        .iter()
        .find(|slot| slot.id().is_some_and(|own| own.as_str() == path.id()))
        .ok_or_else(|| garbage("the relay has no provider with this id"))?;
    let entry = slot.entry();

    match path {
        TunnelPath::Events(_) => {
            let mut response = Response::new(events::stream(slot.clone(), farewell));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/jsonl"),
            );
            Ok(response)
        }
        // The server has refused it already, if it is the one that it should be: no server may choose
        // what a relay reaches.
        TunnelPath::Call { below, .. } if has_dot_segment(below) => Err(CallError::new(
            Cause::PathRefused,
            "the path behind the id has a segment that could mean `.` or `..`",
        )),
        TunnelPath::Call { below, .. } => {
            let only_listens = is_listening(request.method(), request.headers());
            let response = entry.call(request, below).await?;
            if only_listens && sse::is_event_stream(response.headers()) {
                return Ok(response.map(|body| entry.listeners.add(body).boxed_unsync()));
            }
            Ok(response)
        }
        TunnelPath::LlmCall { at_runtime, .. } => {
            // Boxed, so that the future of an MCP call has no room for it.
            Box::pin(entry.llm_call(request, at_runtime)).await
        }
        TunnelPath::Document { which, .. } => {
            // Boxed, so that the future of a call has no room for it.
            Box::pin(entry.document(which, request.headers())).await
        }
    }
}

fn garbage(message: &str) -> CallError {
    CallError::new(Cause::RelayGarbage, message)
}
