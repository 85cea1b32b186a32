//! What people and monitors look at: `/api/state`, its stream, `/healthz`, `/readyz`, `/metrics`. Health is for probes, which
//! know the server by any name: only its pages' origins are looked at.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use bytes::BytesMut;
use http_body::Frame;
use llamapool_http::{json_response, sse};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::app::App;
use crate::auth::NotAnOperator;
use crate::error;
use crate::metrics::Detail;
use crate::request_id::RequestId;
use crate::state::State;

/// `GET /api/state`: what is true now.
pub(crate) async fn state(
    Shared(app): Shared<Arc<App>>,
    Extension(req_id): Extension<RequestId>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    match app.auth.operator(&headers, &uri) {
        Ok(_) => json(serde_json::to_string(&State::now(&app)).unwrap_or_default()),
        Err(reason) => refuse(&app, &reason, &req_id),
    }
}

/// `GET /api/state/stream`: the same, now and after every `STATE_INTERVAL`, as server-sent events.
pub(crate) async fn state_stream(
    Shared(app): Shared<Arc<App>>,
    Extension(req_id): Extension<RequestId>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    if let Err(reason) = app.auth.operator(&headers, &uri) {
        return refuse(&app, &reason, &req_id);
    }
    let Ok(place) = app.state_streams.clone().try_acquire_owned() else {
        app.metrics.refused("state", "too_many_streams");
        return error::too_many_streams();
    };
    let mut response = Response::new(Body::new(StateStream::new(app, place)));
    sse::set_headers(response.headers_mut());
    response
}

/// `GET /healthz`: the process is alive.
pub(crate) async fn healthz(
    Shared(app): Shared<Arc<App>>,
    Extension(req_id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response<Body> {
    match app.auth.prober(&headers) {
        Ok(()) => json(r#"{"status":"ok"}"#.to_owned()),
        Err(failure) => refuse(&app, &NotAnOperator::Edge(failure), &req_id),
    }
}

/// `GET /readyz`: it takes calls, that is, it is not draining.
pub(crate) async fn readyz(
    Shared(app): Shared<Arc<App>>,
    Extension(req_id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response<Body> {
    match app.auth.prober(&headers) {
        Ok(()) if app.gate.is_closed() => error::draining(),
        Ok(()) => json(r#"{"status":"ready"}"#.to_owned()),
        Err(failure) => refuse(&app, &NotAnOperator::Edge(failure), &req_id),
    }
}

/// `GET /metrics` on an address of its own: for Prometheus. It names ids, so a page in a browser must not get at it.
pub(crate) async fn metrics(
    Shared(app): Shared<Arc<App>>,
    Extension(req_id): Extension<RequestId>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    match app.metrics_edge.check(&headers, &uri) {
        Ok(()) => rendered(&app, Detail::WithIds),
        Err(failure) => refuse(&app, &NotAnOperator::Edge(failure), &req_id),
    }
}

/// `GET /metrics` where everybody gets: an id can be all that protects a provider, so only who presents the API key
/// sees what belongs to one.
pub(crate) async fn public_metrics(
    Shared(app): Shared<Arc<App>>,
    Extension(req_id): Extension<RequestId>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    match app.auth.operator(&headers, &uri) {
        Ok(_) => rendered(&app, Detail::WithIds),
        Err(NotAnOperator::Key) => rendered(&app, Detail::WithoutIds),
        Err(edge) => refuse(&app, &edge, &req_id),
    }
}

fn rendered(app: &App, detail: Detail) -> Response<Body> {
    let mut response = Response::new(Body::from(app.metrics.render(
        &app.registry,
        &app.config.build,
        detail,
    )));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// Any path that has no door.
pub(crate) async fn not_found() -> Response<Body> {
    error::not_found()
}

fn refuse(app: &App, reason: &NotAnOperator, req_id: &RequestId) -> Response<Body> {
    match reason {
        NotAnOperator::Key => {
            app.metrics.refused("state", "wrong_key");
            error::unauthorized()
        }
        NotAnOperator::Edge(failure) => {
            app.metrics.refused("state", failure.cause.word());
            let (cause, error) = (failure.cause.word(), failure.log_message());
            tracing::debug!(req_id = req_id.as_str(), cause, error, "request refused");
            error::failed_call(failure, req_id.as_str())
        }
    }
}

fn json(body: String) -> Response<Body> {
    json_response(StatusCode::OK, body)
}

/// Snapshots as server-sent events, until the reader leaves or the server stops.
struct StateStream {
    app: Arc<App>,
    ticks: Interval,
    farewell: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl StateStream {
    fn new(app: Arc<App>, place: OwnedSemaphorePermit) -> Self {
        let mut ticks = interval(app.config.state.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let farewell = Box::pin(app.farewell.clone().cancelled_owned());
        Self {
            app,
            ticks,
            farewell,
            _place: place,
        }
    }
}

impl http_body::Body for StateStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.farewell.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(cx));
        let state = serde_json::to_string(&State::now(&self.app)).unwrap_or_default();
        let mut event = BytesMut::new();
        sse::write_event(&mut event, state.as_bytes());
        Poll::Ready(Some(Ok(Frame::data(event.freeze()))))
    }
}
