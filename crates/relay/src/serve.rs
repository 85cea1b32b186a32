//! Answers one request that came through the tunnel: the event stream of a provider, a call to it, or a question for its
//! metadata.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header};
use llamapool_tunnel::IncomingBody;
use llamapool_wire::{CallError, Cause, path::TunnelPath};
use tokio_util::sync::CancellationToken;

use crate::answer_body::AnswerBody;
use crate::app::App;
use crate::board::RunningCall;
use crate::error::{failed_call, log_failure, request_id};
use crate::events;

/// Answers one request. Its future is dropped when the caller leaves.
pub(crate) async fn answer(
    app: Arc<App>,
    farewell: CancellationToken,
    request: Request<IncomingBody>,
) -> Response<AnswerBody> {
    let path = request.uri().path().to_owned();
    let req_id = request_id(request.headers());
    let asked = TunnelPath::parse(&path);
    answer_for(&app, asked, farewell, request)
        .await
        .unwrap_or_else(|failure| {
            log_failure(&failure, asked.map(TunnelPath::id), &req_id);
            failed_call(&failure, &req_id)
        })
}

async fn answer_for(
    app: &App,
    asked: Option<TunnelPath<'_>>,
    farewell: CancellationToken,
    request: Request<IncomingBody>,
) -> Result<Response<AnswerBody>, CallError> {
    let unknown = || {
        CallError::new(
            Cause::RelayGarbage,
            "the relay does not know this kind of request",
        )
    };
    let asked = asked.ok_or_else(unknown)?;
    let no_such = || {
        CallError::new(
            Cause::RelayGarbage,
            "the relay has no provider with this id",
        )
    };
    let hosted = app.by_id(asked.id()).ok_or_else(no_such)?;
    match asked {
        TunnelPath::Events(_) => {
            let mut response = Response::new(events::stream(hosted.clone(), farewell));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/jsonl"),
            );
            Ok(response)
        }
        TunnelPath::Call { below, .. } => {
            hosted
                .provider
                .call(request, below, RunningCall::begin(hosted.board.calls()))
                .await
        }
        TunnelPath::Document { which, .. } => {
            let call = RunningCall::begin(hosted.board.calls());
            hosted
                .provider
                .document(which, request.headers(), call)
                .await
        }
    }
}
