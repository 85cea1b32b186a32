//! Calls to MCP providers: `/api/mcp/id/{id}` and what is below it, with any method.
//!
//! The call goes through as it came; what is added, taken away or looked at on the way stands in the files of this
//! folder, one for each stage. Nothing here depends on what a body says.

mod admission;
mod answer;
mod call_headers;
mod failures;
mod outgoing;
mod passing_look;
mod target;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use llamapool_http::forward;
use llamapool_wire::{CallError, RelayId, header as wire, path};
use tokio::time::Instant;

use self::admission::{Admitted, NotAdmitted};
use self::answer::{Asked, answer, note_head, seal_session};
use self::failures::{failure, is_by_the_caller, offline, too_many};
use self::outgoing::{Bound, Outgoing, Tunnel, outgoing, timeouts};
pub(crate) use self::target::Target;
use crate::app::App;
use crate::auth::Caller;
use crate::books::{Call, Running};
use crate::challenge;
use crate::cors;
use crate::doors::well_known;
use crate::error;
use crate::peer::Peer;
use crate::request_id::RequestId;

/// A call arrives.
pub(crate) async fn call(
    app: &Arc<App>,
    peer: Peer,
    req_id: &RequestId,
    request: Request,
) -> Response<Body> {
    let caller = match app.auth.caller(request.headers(), request.uri()) {
        Ok(caller) => caller,
        Err(failure) => {
            return error::failed_call(&refused(app, req_id, None, failure), req_id.as_str());
        }
    };
    let origin = caller.origin.clone();
    let preflight = origin
        .as_ref()
        .and_then(|origin| cors::preflight(request.method(), request.headers(), origin));
    if let Some(answer) = preflight {
        return answer;
    }
    let answer = run(app, (caller, peer), req_id, request).await;
    let mut answer = answer.unwrap_or_else(|reason| match reason {
        NotAdmitted::CallError(failure) => error::failed_call(&failure, req_id.as_str()),
        NotAdmitted::SessionGone => error::session_gone(),
    });
    if let Some(origin) = &origin {
        cors::expose(answer.headers_mut(), origin);
    }
    answer
}

/// Finds a relay for the call and lets it in; a refusal before that is in nobody's books but the metrics'.
async fn run(
    app: &Arc<App>,
    (_, peer): (Caller, Peer),
    req_id: &RequestId,
    request: Request,
) -> Result<Response<Body>, NotAdmitted> {
    let refuse = |failure| NotAdmitted::CallError(refused(app, req_id, None, failure));
    let target = Target::parse(request.uri()).map_err(refuse)?;
    run_at(app, &target, peer, req_id, request).await
}

/// Asks a provider for something besides calls, on behalf of a caller.
pub(crate) async fn ask(
    app: &Arc<App>,
    target: &Target,
    req_id: &RequestId,
    request: Request,
) -> Result<Response<Body>, CallError> {
    let peer = request
        .extensions()
        .get::<Peer>()
        .copied()
        .unwrap_or_default();
    run_at(app, target, peer, req_id, request)
        .await
        .map_err(|reason| match reason {
            NotAdmitted::CallError(failure) => failure,
            NotAdmitted::SessionGone => offline(&target.id),
        })
}

async fn run_at(
    app: &Arc<App>,
    target: &Target,
    peer: Peer,
    req_id: &RequestId,
    request: Request,
) -> Result<Response<Body>, NotAdmitted> {
    let refuse = |failure| NotAdmitted::CallError(refused(app, req_id, Some(&target.id), failure));
    let client = app
        .registry
        .find(&target.id)
        .ok_or_else(|| refuse(offline(&target.id)))?;
    let (admitted, permit) = admission::admit(app, &client, target, request.headers(), peer)
        .map_err(|reason| match reason {
            NotAdmitted::CallError(failure) => refuse(failure),
            NotAdmitted::SessionGone => {
                app.metrics.refused("mcp", "session_gone");
                let (req_id, id) = (req_id.as_str(), target.id.as_str());
                tracing::debug!(req_id, id, cause = "session_gone", "call refused");
                NotAdmitted::SessionGone
            }
        })?;
    let limit = app.config.mcp.max_calls_per_id;
    let running = Running::new(client.id.clone(), req_id.as_str().to_owned());
    let call = Call::open(
        client.books.clone(),
        limit,
        permit,
        app.metrics.clone(),
        running,
    );
    let call = call.ok_or_else(|| refuse(too_many(&client.id, limit)))?;
    forward_call(app, target, &admitted, call, request)
        .await
        .map_err(NotAdmitted::CallError)
}

/// Runs a call that was let in, to the head of its answer; the rest rides in the answer's body.
async fn forward_call(
    app: &App,
    target: &Target,
    admitted: &Admitted,
    mut call: Call,
    request: Request,
) -> Result<Response<Body>, CallError> {
    let (started, timeouts, method) = (Instant::now(), timeouts(app), request.method().clone());
    let address = app.public_url.of(request.headers(), request.uri());
    let Outgoing {
        request,
        meter,
        wants_single_answer,
    } = outgoing(
        app,
        Bound {
            target,
            admitted,
            address: address.as_ref(),
        },
        &call,
        request,
    )
    .await
    .inspect_err(|failure| call.failed(failure))?;
    call.set_meter(meter.clone());
    let upstream = Tunnel(&admitted.relay.tunnel.end);
    let mut incoming = match forward(&upstream, request, &timeouts, || meter.last_sent()).await {
        Ok(incoming) => incoming,
        Err(error) => {
            let has_left = is_by_the_caller(&error, &meter);
            let failure = failure(error, &meter, app.config.mcp.max_request_bytes);
            if has_left {
                call.noted(&failure);
            } else {
                call.failed(&failure);
            }
            return Err(failure);
        }
    };
    note_head(&mut call, &incoming);
    if let Some(address) = address.filter(|_| !incoming.headers().contains_key(wire::ERROR)) {
        let metadata = address.well_known(
            well_known::RESOURCE,
            &format!("{}{}", path::MCP_BY_ID, target.id),
        );
        challenge::make_public(incoming.status(), incoming.headers_mut(), &metadata);
    }
    if admitted.has_sessions {
        seal_session(app, &target.id, &admitted.relay, incoming.headers_mut());
    }
    answer(
        app,
        Asked {
            method,
            wants_single_answer,
            started,
            timeouts,
        },
        call,
        incoming,
    )
    .await
}

/// Counts and logs a call that was not let in. Anybody can make such calls, so they must not fill the log.
pub(crate) fn refused(
    app: &App,
    req_id: &RequestId,
    id: Option<&RelayId>,
    failure: CallError,
) -> CallError {
    app.metrics.refused("mcp", failure.cause.word());
    let (id, cause, error) = (
        id.map(RelayId::as_str),
        failure.cause.word(),
        failure.log_message(),
    );
    tracing::debug!(req_id = req_id.as_str(), id, cause, error, "call refused");
    failure
}
