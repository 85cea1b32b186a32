//! Responds to one request from the tunnel: a call to a provider, the stream of its events, or a
//! request for its OAuth metadata.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use llamapool_head::{RequestHead, ResponseHead};
use llamapool_http::{has_dot_segment, is_of_the_connection, sse};
use llamapool_mcp::is_listening;
use llamapool_tunnel::{IncomingBody, OutgoingBody};
use llamapool_wire::{CallError, Cause, path::TunnelPath};
use tokio_util::sync::CancellationToken;

use crate::call::{CallRequest, CallResponse};
use crate::error::{error_response, log_error, request_id};
use crate::events;
use crate::response_body::ResponseBody;
use crate::slot::Slot;

/// The response to one request.
pub(crate) type Responding =
    Pin<Box<dyn Future<Output = (ResponseHead, OutgoingBody<ResponseBody>)> + Send>>;

/// Responds to one request for one of the slots of a tunnel. The future is dropped when the caller
/// leaves. `farewell` ends the streams of offers.
///
/// The future has kilobytes. It is boxed where it is written, so that it is made in its place: one that
/// another function boxes is made on the stack and copied for each call.
pub(crate) fn respond(
    slots: Arc<[Arc<Slot>]>,
    farewell: CancellationToken,
    head: RequestHead,
    body: IncomingBody,
) -> Responding {
    Box::pin(async move {
        let RequestHead {
            method,
            uri,
            mut fields,
        } = head;
        let path = TunnelPath::parse(uri.path());
        let request = CallRequest {
            method: &method,
            uri: &uri,
            fields: &mut fields,
            body,
        };
        let responded = dispatch(&slots, path, farewell, request).await;
        let CallResponse { head, body } = responded.unwrap_or_else(|error| {
            // The provider gets this field, too.
            let req_id = request_id(&fields);
            log_error(&error, path.map(TunnelPath::id), req_id);
            error_response(&error, req_id)
        });
        (head, body)
    })
}

async fn dispatch(
    slots: &[Arc<Slot>],
    path: Option<TunnelPath<'_>>,
    farewell: CancellationToken,
    request: CallRequest<'_>,
) -> Result<CallResponse, CallError> {
    let path = path.ok_or_else(|| garbage("the relay does not know this kind of request"))?;
    if is_of_the_connection(request.method) {
        let message = format!("the method {} is refused", request.method);
        return Err(CallError::new(Cause::MethodRefused, message));
    }
    let slot = slots
        .iter()
        .find(|slot| slot.id().is_some_and(|own| own.as_str() == path.id()))
        .ok_or_else(|| garbage("the relay has no provider with this id"))?;
    let entry = slot.entry();

    match path {
        TunnelPath::Events(_) => {
            let mut head = ResponseHead::new(StatusCode::OK);
            let media_type = HeaderValue::from_static("application/jsonl");
            head.fields.append(&header::CONTENT_TYPE, &media_type);
            Ok(CallResponse::streamed(
                head,
                events::stream(slot.clone(), farewell),
            ))
        }
        // The server has refused it already, if it is the one that it should be: no server may choose
        // what a relay reaches.
        TunnelPath::Call { below, .. } if has_dot_segment(below) => Err(CallError::new(
            Cause::PathRefused,
            "the path behind the id has a segment that could mean `.` or `..`",
        )),
        TunnelPath::Call { below, .. } => {
            let only_listens = is_listening(request.method, request.fields);
            let response = entry.call(request, below).await?;
            let CallResponse { head, body } = response;
            Ok(match body {
                OutgoingBody::Stream(body)
                    if only_listens && sse::is_event_stream(&head.fields) =>
                {
                    let body = entry.listeners.add(body).boxed_unsync();
                    CallResponse::streamed(head, body)
                }
                body => CallResponse { head, body },
            })
        }
        TunnelPath::LlmCall { at_runtime, .. } => {
            // Boxed, so that the future of an MCP call has no room for it.
            Box::pin(entry.llm_call(request, at_runtime)).await
        }
        TunnelPath::Document { which, .. } => {
            // Boxed, so that the future of a call has no room for it.
            Box::pin(entry.document(which, request.fields)).await
        }
    }
}

fn garbage(message: &str) -> CallError {
    CallError::new(Cause::RelayGarbage, message)
}
