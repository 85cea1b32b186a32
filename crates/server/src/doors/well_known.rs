//! What clients look for below `/.well-known/`: the metadata of a provider that wants OAuth tokens (RFC 9728), and those
//! of an authorization server on its origin (RFC 8414, OpenID Connect Discovery 1.0), each with the id's public path
//! behind its name.
//!
//! They are the provider's own, except that the resource is the public URL; the relay has done the rest. A client must
//! get them before it has a token, and a page in a browser from anywhere. Where the provider has none the answer is a
//! plain 404, which sends clients on; a failure is none, and says so.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use llamapool_wire::path::{self, OAuthDocument};
use llamapool_wire::{CallError, Cause};
use serde_json::Value;

use super::mcp::{Target, ask, refused};
use crate::app::App;
use crate::error;
use crate::public_url::Address;
use crate::request_id::RequestId;

/// The name of the metadata of a resource.
pub(crate) const RESOURCE: &str = "oauth-protected-resource";
/// Each document by its name.
const DOCUMENTS: [(&str, OAuthDocument); 3] = [
    (RESOURCE, OAuthDocument::Resource),
    ("oauth-authorization-server", OAuthDocument::Server),
    ("openid-configuration", OAuthDocument::OpenId),
];
/// The largest document that is taken from a relay.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Somebody looks for something below `/.well-known/`.
pub(crate) async fn look(
    Shared(app): Shared<Arc<App>>,
    Extension(req_id): Extension<RequestId>,
    request: Request,
) -> Response<Body> {
    let mut answer = match *request.method() {
        Method::OPTIONS => preflight(),
        Method::GET | Method::HEAD => match document(&app, &req_id, request).await {
            Ok(Some(answer)) => answer,
            Ok(None) => error::no_metadata(),
            Err(failure) => error::failed_call(&failure, req_id.as_str()),
        },
        _ => error::only_get(),
    };
    answer.headers_mut().insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    answer
}

/// The document, or how the provider or its relay failed; nothing, if there is none.
async fn document(
    app: &Arc<App>,
    req_id: &RequestId,
    request: Request,
) -> Result<Option<Response<Body>>, CallError> {
    app.auth
        .addressee(request.headers(), request.uri())
        .map_err(|failure| refused(app, req_id, None, failure))?;
    let Some(public) = app.public_url.of(request.headers(), request.uri()) else {
        return Ok(None);
    };
    let Some((which, resource)) = asked(request.uri().path(), &public) else {
        return Ok(None);
    };
    let Ok(mut target) = Target::parse_path(&resource) else {
        return Ok(None);
    };
    target.in_tunnel = path::document(which, &target.id);
    let mut request = request;
    // A HEAD gets the head of the whole answer, which is made of the document.
    *request.method_mut() = Method::GET;
    let answer = ask(app, &target, req_id, request).await?;
    match answer.status() {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::OK if which == OAuthDocument::Resource => {
            Ok(with_resource(answer, public.url(&resource))
                .await?
                .map(|text| llamapool_http::json_response(StatusCode::OK, text)))
        }
        _ => Ok(Some(answer)),
    }
}

/// Which document of which resource a path asks for. The public path of the server may stand before the resource's, as
/// it does in public, or be taken away by a proxy.
fn asked(path: &str, public: &Address) -> Option<(OAuthDocument, String)> {
    let (name, _) = path.strip_prefix("/.well-known/")?.split_once('/')?;
    let &(name, which) = DOCUMENTS.iter().find(|(known, _)| *known == name)?;
    let resource = &path["/.well-known/".len() + name.len()..];
    let resource = resource
        .strip_prefix(&public.path)
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(resource);
    resource
        .starts_with(path::MCP_BY_ID)
        .then(|| (which, resource.to_owned()))
}

/// The document with another resource; nothing, if it is none.
async fn with_resource(
    answer: Response<Body>,
    resource: String,
) -> Result<Option<String>, CallError> {
    let body = Limited::new(answer.into_body(), MAX_DOCUMENT_BYTES)
        .collect()
        .await;
    let body = body.map_err(|_| {
        CallError::new(
            Cause::RelayGarbage,
            "the OAuth metadata broke off on their way",
        )
    })?;
    let Ok(Value::Object(mut document)) = serde_json::from_slice(&body.to_bytes()) else {
        return Ok(None);
    };
    document.insert("resource".to_owned(), resource.into());
    Ok(Some(Value::Object(document).to_string()))
}

fn preflight() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("mcp-protocol-version"),
    );
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource_of(path: &str, public_path: &str) -> Option<(OAuthDocument, String)> {
        let public = Address {
            scheme: "https",
            authority: "pool.example".into(),
            path: public_path.into(),
        };
        asked(path, &public)
    }

    #[test]
    fn a_path_says_which_document_of_which_resource() {
        for (name, which) in DOCUMENTS {
            for (path, public_path) in [("", ""), ("", "/llama"), ("/llama", "/llama")] {
                let asked = resource_of(
                    &format!("/.well-known/{name}{path}/api/mcp/id/x"),
                    public_path,
                );
                assert_eq!(
                    asked,
                    Some((which, "/api/mcp/id/x".to_owned())),
                    "{name}{path} of {public_path}"
                );
            }
        }
        for nothing in [
            "/.well-known/oauth-protected-resource",
            "/.well-known/other/api/mcp/id/x",
            "/api/mcp/id/x",
        ] {
            assert_eq!(resource_of(nothing, ""), None, "{nothing}");
        }
        assert_eq!(
            resource_of(
                "/.well-known/oauth-protected-resource/llama/api/mcp/id/x",
                ""
            ),
            None
        );
    }
}
