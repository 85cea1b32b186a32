//! Keeps pages in a browser on this machine away from the status server and the metrics.
//!
//! A page reaches a server on loopback under a name of its own (DNS rebinding), or with an Origin.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::{Json, Router};
use llamapool_http::host::{self, AllowedHosts};
use serde_json::json;

/// Refuses requests with an Origin, with several Hosts, on a loopback address those whose Host is no
/// loopback name, and on others those of a browser under a name.
pub(super) fn without_browsers(router: Router, is_loopback: bool) -> Router {
    router.layer(from_fn_with_state(is_loopback, refuse_browsers))
}

async fn refuse_browsers(
    State(is_loopback): State<bool>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let name = hosts
        .next()
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let is_ambiguous = hosts.next().is_some();
    let is_foreign = is_loopback && !host::is_loopback(host::without_port(name));
    let is_foreign = is_foreign || AllowedHosts::Any.may_be_rebound(name, headers);

    if is_ambiguous || is_foreign || headers.contains_key(header::ORIGIN) {
        return refusal(
            StatusCode::FORBIDDEN,
            "the status server is not for browsers, and has one Host, which on loopback is localhost",
        );
    }
    next.run(request).await
}

/// Returns a response with an error of the status server.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    (status, Json(json!({ "error": message }))).into_response()
}
