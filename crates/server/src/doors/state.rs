//! The state API, for people and dashboards: `/api/state` and its stream.

mod audit;
mod certificates;
mod clients;
mod llm;
mod snapshot;
mod stream;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{Response, StatusCode};
use llamapool_http::{json_response, sse};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::snapshot::to_json;
use self::stream::StateStream;
use crate::auth::{AccessControl, Operator};
use crate::error;
use crate::listen::RequestId;
use crate::metrics::Door;

pub(crate) use snapshot::StateSources;

/// The state API.
#[derive(Debug, Clone)]
pub struct StateConfig {
    /// The most open state streams.
    pub max_streams: usize,
    /// The time between two snapshots on the state stream.
    pub interval: Duration,
}

/// The context of the state API.
pub(crate) struct StateApi {
    access: AccessControl,
    sources: Arc<StateSources>,
    /// One permit for each stream that may be open.
    streams: Arc<Semaphore>,
    interval: Duration,
    /// Ends the streams, which have no end of their own.
    farewell: CancellationToken,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            max_streams: 100,
            interval: Duration::from_secs(2),
        }
    }
}

impl StateApi {
    /// Returns the context of the state API.
    pub(crate) fn new(
        access: AccessControl,
        sources: StateSources,
        config: &StateConfig,
        farewell: CancellationToken,
    ) -> Self {
        let max_streams = config.max_streams.min(Semaphore::MAX_PERMITS);
        Self {
            access,
            sources: Arc::new(sources),
            streams: Arc::new(Semaphore::new(max_streams)),
            interval: config.interval,
            farewell,
        }
    }
}

impl FromRef<Arc<StateApi>> for AccessControl {
    fn from_ref(api: &Arc<StateApi>) -> Self {
        api.access.clone()
    }
}

/// `GET /api/state`: the state now.
pub(crate) async fn state(_: Operator, State(api): State<Arc<StateApi>>) -> Response<Body> {
    json_response(StatusCode::OK, to_json(&api.sources))
}

/// `GET /api/state/stream`: the state now and after every `STATE_INTERVAL`, as server-sent events.
pub(crate) async fn state_stream(
    operator: Operator,
    Extension(req_id): Extension<RequestId>,
    State(api): State<Arc<StateApi>>,
) -> Response<Body> {
    let Ok(permit) = api.streams.clone().try_acquire_owned() else {
        let cause = "too_many_streams";
        let principal = operator.principal().label();
        tracing::debug!(
            req_id = req_id.as_str(),
            principal,
            cause,
            "request refused"
        );
        api.access.metrics.refused(Door::State, cause);
        return error::too_many_streams();
    };

    let farewell = api.farewell.clone();
    let stream = StateStream::new(api.sources.clone(), api.interval, farewell, permit);
    let stream = stream.of_key(operator.principal().key_use());
    let mut response = Response::new(Body::new(stream));
    sse::set_headers(response.headers_mut());
    response
}
