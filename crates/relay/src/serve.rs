//! Answers one request that came through the tunnel: the event stream, or a call to the provider.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use llamapool_tunnel::IncomingBody;
use llamapool_wire::{Cause, Failure, path};
use tokio_util::sync::CancellationToken;

use crate::answer_body::AnswerBody;
use crate::app::App;
use crate::board::RunningCall;
use crate::error::{failed_call, request_id};
use crate::events;

/// Answers one request. Its future is dropped when the caller leaves.
pub(crate) async fn answer(
    app: Arc<App>,
    farewell: CancellationToken,
    request: Request<IncomingBody>,
) -> Response<AnswerBody> {
    let path = request.uri().path();
    if path == path::EVENTS {
        let mut response = Response::new(events::stream(app, farewell));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
        return response;
    }
    let req_id = request_id(request.headers());
    if path == path::RESOURCE_METADATA {
        let call = RunningCall::begin(app.board.calls());
        return app.provider.resource_metadata(call).await.unwrap_or_else(|failure| failed_call(&failure, &req_id));
    }
    let below = path.strip_prefix(path::MCP_CALL).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(below) = below.map(str::to_owned) else {
        let failure = Failure::new(Cause::RelayGarbage, "the relay does not know this kind of request");
        return failed_call(&failure, &req_id);
    };
    let call = RunningCall::begin(app.board.calls());
    app.provider.call(request, &below, call).await.unwrap_or_else(|failure| {
        tracing::debug!(req_id, cause = failure.cause.word(), error = failure.message, "call failed");
        failed_call(&failure, &req_id)
    })
}
