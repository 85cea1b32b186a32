//! Health, for probes: `/healthz` and `/readyz`. Probes address the server by any name; only the
//! origins of pages are checked.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{Response, StatusCode};
use llamapool_http::json_response;

use crate::auth::{AccessControl, Prober};
use crate::error;
use crate::scheduler::DrainGate;

/// The context of the health routes.
pub(crate) struct HealthApi {
    /// Checks the origins of pages.
    pub(crate) access: AccessControl,
    /// Closed while the server drains.
    pub(crate) gate: Arc<DrainGate>,
}

impl FromRef<Arc<HealthApi>> for AccessControl {
    fn from_ref(api: &Arc<HealthApi>) -> Self {
        api.access.clone()
    }
}

/// `GET /healthz`: the process is alive.
pub(crate) async fn healthz(_: Prober) -> Response<Body> {
    json_response(StatusCode::OK, r#"{"status":"ok"}"#)
}

/// `GET /readyz`: the server takes calls, that is, it is not draining.
pub(crate) async fn readyz(_: Prober, State(api): State<Arc<HealthApi>>) -> Response<Body> {
    if api.gate.is_closed() {
        return error::draining();
    }
    json_response(StatusCode::OK, r#"{"status":"ready"}"#)
}
