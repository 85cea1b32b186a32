//! The metadata of a provider that wants OAuth tokens: `/.well-known/oauth-protected-resource/api/mcp/id/<id>` (RFC 9728).
//!
//! They are the provider's own, except that the resource is the public URL. A client must get them before it has a
//! token, and a page in a browser from anywhere. Where the provider has none the answer is a plain 404, which sends
//! clients on.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use llamapool_wire::{Failure, path};

use super::mcp::{Target, ask, refused};
use crate::app::App;
use crate::error;
use crate::request_id::RequestId;

/// The name of the document.
pub(crate) const NAME: &str = "oauth-protected-resource";
/// The largest document that is taken from a provider.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Somebody asks for the metadata of an id.
pub(crate) async fn resource_metadata(
    Shared(app): Shared<Arc<App>>,
    Extension(req_id): Extension<RequestId>,
    request: Request,
) -> Response<Body> {
    let mut answer = match *request.method() {
        Method::OPTIONS => preflight(),
        Method::GET => match document(&app, &req_id, request).await {
            Ok(Some(document)) => error::json(StatusCode::OK, document),
            Ok(None) => error::no_metadata(),
            Err(failure) => error::failed_call(&failure, req_id.as_str()),
        },
        _ => error::only_get(),
    };
    answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

/// The provider's document with the public URL as its resource; nothing, if it has none.
async fn document(app: &Arc<App>, req_id: &RequestId, request: Request) -> Result<Option<String>, Failure> {
    app.auth.addressee(request.headers(), request.uri()).map_err(|failure| refused(app, req_id, None, failure))?;
    let Some(public) = app.public_url.of(request.headers(), request.uri()) else { return Ok(None) };
    let resource = request.uri().path().strip_prefix("/.well-known/").and_then(|path| path.strip_prefix(NAME));
    let resource = resource.unwrap_or_default().to_owned();
    let Ok(mut target) = Target::parse_path(&resource) else { return Ok(None) };
    target.in_tunnel = path::resource_metadata(&target.id);
    let answer = ask(app, &target, req_id, request).await?;
    if answer.status() != StatusCode::OK {
        return Ok(None);
    }
    let body = Limited::new(answer.into_body(), MAX_DOCUMENT_BYTES).collect().await;
    let document = body.ok().and_then(|body| serde_json::from_slice::<serde_json::Value>(&body.to_bytes()).ok());
    let Some(serde_json::Value::Object(mut document)) = document else { return Ok(None) };
    document.insert("resource".to_owned(), public.url(&resource).into());
    Ok(Some(serde_json::Value::Object(document).to_string()))
}

fn preflight() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("mcp-protocol-version"));
    answer
}
