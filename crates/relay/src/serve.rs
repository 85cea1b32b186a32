//! Responds to one request from the tunnel: a call to a provider, the stream of its events, or a
//! request for its OAuth metadata.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use llamapool_http::{has_dot_segment, is_of_the_connection, sse};
use llamapool_mcp::is_listening;
use llamapool_tunnel::IncomingBody;
use llamapool_wire::{CallError, Cause, path::TunnelPath};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::{error_response, log_error, request_id};
use crate::events;
use crate::response_body::ResponseBody;

/// Responds to one request. The future is dropped when the caller leaves. `farewell` ends the
/// streams of offers.
pub(crate) async fn respond(
    app: Arc<App>,
    farewell: CancellationToken,
    request: Request<IncomingBody>,
) -> Response<ResponseBody> {
    let path = request.uri().path().to_owned();
    let req_id = request_id(request.headers());
    let path = TunnelPath::parse(&path);
    dispatch(&app, path, farewell, request)
        .await
        .unwrap_or_else(|error| {
            log_error(&error, path.map(TunnelPath::id), &req_id);
            error_response(&error, &req_id)
        })
}

async fn dispatch(
    app: &App,
    path: Option<TunnelPath<'_>>,
    farewell: CancellationToken,
    request: Request<IncomingBody>,
) -> Result<Response<ResponseBody>, CallError> {
    let path = path.ok_or_else(|| garbage("the relay does not know this kind of request"))?;
    if is_of_the_connection(request.method()) {
        let message = format!("the method {} is refused", request.method());
        return Err(CallError::new(Cause::MethodRefused, message));
    }
    let entry = app
        .provider(path.id())
        .ok_or_else(|| garbage("the relay has no provider with this id"))?;

    match path {
        TunnelPath::Events(_) => {
            let mut response = Response::new(events::stream(entry.clone(), farewell));
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
                return Ok(response.map(|body| app.listeners.add(body).boxed_unsync()));
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
