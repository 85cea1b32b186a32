//! The documents below `/.well-known/`: the metadata of a provider that wants OAuth tokens (RFC
//! 9728), and those of an authorization server on its origin (RFC 8414, OpenID Connect Discovery
//! 1.0), each with the id's public path behind its name.
//!
//! Where an id is open they are the provider's own, except that the resource is the public URL; the
//! relay has done the rest. Where it asks for a sign-in they are the server's, whether the id exists
//! or not; those of the own authorization server have its path, or none. A client must get them before it has a token, and a page in a browser from any origin. A
//! provider without them is a plain 404, which sends clients on; a failure is answered as one.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use llamapool_http::{Alarm, CollectError, collect, json_response};
use llamapool_identity::AccessMode;
use llamapool_limits::{Claim, MemoryAccount, Owner};
use llamapool_wire::path::{self, OAuthDocument};
use llamapool_wire::{CallError, Cause};
use serde_json::Value;

use super::mcp::{McpDoor, RESOURCE_METADATA, Target};
use super::oauth;
use crate::auth::{Auth, Caller};
use crate::calls::{CallRequest, into_response};
use crate::error::{self, JsonRpc};
use crate::listen::{Address, Peer, PublicUrl, RequestId};
use crate::sign_in::{Issuer, SignIn};

/// Each document by its name.
const DOCUMENTS: [(&str, OAuthDocument); 3] = [
    (RESOURCE_METADATA, OAuthDocument::Resource),
    ("oauth-authorization-server", OAuthDocument::Server),
    ("openid-configuration", OAuthDocument::OpenId),
];
/// The metadata of an authorization server.
const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";
/// The largest document that is taken from a relay.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// The context of the documents.
pub(crate) struct WellKnownDoor {
    pub(crate) auth: Arc<Auth>,
    pub(crate) public_url: PublicUrl,
    /// Runs the calls that fetch the documents.
    pub(crate) mcp: Arc<McpDoor>,
    /// The own authorization server, if sign-in is on.
    pub(crate) sign_in: Option<Arc<SignIn>>,
}

/// Any request below `/.well-known/`.
pub(crate) async fn well_known(
    State(door): State<Arc<WellKnownDoor>>,
    Extension(req_id): Extension<RequestId>,
    request: Request,
) -> Response<Body> {
    let mut answer = match *request.method() {
        Method::OPTIONS => preflight(),
        Method::GET | Method::HEAD => match door.document(&req_id, request).await {
            Ok(Some(answer)) => answer,
            Ok(None) => error::no_metadata(),
            Err(failure) => error::failed_call::<JsonRpc>(&failure, req_id.as_str()),
        },
        _ => error::only_get(),
    };

    answer.headers_mut().insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    answer
}

impl WellKnownDoor {
    /// Returns the document. `None` if there is none; fails as the provider or its relay failed.
    async fn document(
        &self,
        req_id: &RequestId,
        mut request: Request,
    ) -> Result<Option<Response<Body>>, CallError> {
        let peer = Peer::of(request.extensions());
        let caller = self
            .auth
            .public_reader(request.headers(), request.uri(), peer)
            .map_err(|failure| self.mcp.refused(req_id, None, failure))?;

        let own = self.sign_in.as_ref();
        if let Some(sign_in) = own.filter(|it| is_of_server(request.uri().path(), &it.issuer)) {
            return Ok(Some(document_of(&oauth::server(sign_in))));
        }
        let Some(public) = self.public_url.of(request.headers(), request.uri()) else {
            return Ok(None);
        };
        let Some((document, resource)) = parse_path(request.uri().path(), &public) else {
            return Ok(None);
        };
        let Ok(mut target) = Target::parse_path(&resource) else {
            return Ok(None);
        };
        match (self.auth.access(&target.id), own) {
            (AccessMode::Open, _) => {}
            (AccessMode::SignIn, Some(sign_in)) if document == OAuthDocument::Resource => {
                let url = sign_in.issuer.url(&resource);
                let document = oauth::resource(sign_in, &target.id, &url);
                return Ok(Some(document_of(&document)));
            }
            // Nothing but a credential of this server opens it, whatever its provider announces.
            (AccessMode::Keys | AccessMode::SignIn, _) => return Ok(None),
        }
        let Ok(in_tunnel) = Uri::try_from(path::document(document, &target.id)) else {
            return Ok(None);
        };
        target.in_tunnel = in_tunnel;

        let memory = self.memory(&caller, &target);
        // A HEAD gets the head of the whole answer, which is made of the document.
        *request.method_mut() = Method::GET;
        let answer = self.ask_provider(&target, caller, req_id, request).await?;

        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK if document == OAuthDocument::Resource => {
                let text = with_resource(answer, public.url(&resource), &memory).await?;
                Ok(text.map(|text| json_response(StatusCode::OK, text)))
            }
            _ => Ok(Some(answer)),
        }
    }

    /// Returns the account of the memory for a document of an id.
    fn memory(&self, caller: &Caller, target: &Target) -> MemoryAccount {
        let id = Claim {
            owner: Owner::of(&("id", &target.id)),
            factor: usize::MAX,
        };
        let [caller, address] = caller.owners.claims();
        self.mcp.memory.account([caller, address, id])
    }

    /// Returns the answer of the relay of an id.
    async fn ask_provider(
        &self,
        target: &Target,
        caller: Caller,
        req_id: &RequestId,
        request: Request,
    ) -> Result<Response<Body>, CallError> {
        let mut alarm = Alarm::default();
        let request = CallRequest::new(request, &mut alarm);
        let answer = self.mcp.run(target, caller, req_id, request).await;
        let answer = answer.map_err(|error| error.into_failure(&target.id))?;
        Ok(into_response(answer))
    }
}

/// Returns whether a path is that of the metadata of the own authorization server.
fn is_of_server(path: &str, issuer: &Issuer) -> bool {
    path.strip_prefix(SERVER_METADATA)
        .is_some_and(|rest| issuer.is_of_issuer(rest))
}

fn document_of(document: &Value) -> Response<Body> {
    json_response(StatusCode::OK, document.to_string())
}

/// Returns the document and the resource that a path names. The public path of the server may stand
/// before the resource's, as it does in public, or be removed by a proxy.
fn parse_path(path: &str, public: &Address) -> Option<(OAuthDocument, String)> {
    let (name, _) = path.strip_prefix("/.well-known/")?.split_once('/')?;
    let &(name, document) = DOCUMENTS.iter().find(|(known, _)| *known == name)?;

    let resource = &path["/.well-known/".len() + name.len()..];
    let resource = resource
        .strip_prefix(&public.path)
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(resource);
    resource
        .starts_with(path::MCP_BY_ID)
        .then(|| (document, resource.to_owned()))
}

/// Returns the document with another resource. `None` if it is not a JSON object.
async fn with_resource(
    answer: Response<Body>,
    resource: String,
    memory: &MemoryAccount,
) -> Result<Option<String>, CallError> {
    let body = collect(answer.into_body(), MAX_DOCUMENT_BYTES, memory).await;
    let body = body.map_err(|error| match error {
        CollectError::OutOfMemory(_) => CallError::new(
            Cause::MemoryFull,
            "there is no memory for the OAuth metadata, see MAX_MEMORY",
        ),
        CollectError::TooLarge(_) | CollectError::Broken => CallError::new(
            Cause::RelayGarbage,
            "the OAuth metadata broke off on their way",
        ),
    })?;

    let Ok(Value::Object(mut document)) = serde_json::from_slice(&body) else {
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
        parse_path(path, &public)
    }

    #[test]
    fn a_path_names_a_document_of_a_resource() {
        for (name, which) in DOCUMENTS {
            for (path, public_path) in [("", ""), ("", "/llama"), ("/llama", "/llama")] {
                let found = resource_of(
                    &format!("/.well-known/{name}{path}/api/mcp/id/x"),
                    public_path,
                );
                assert_eq!(
                    found,
                    Some((which, "/api/mcp/id/x".to_owned())),
                    "{name}{path} of {public_path}"
                );
            }
        }

        for other in [
            "/.well-known/oauth-protected-resource",
            "/.well-known/other/api/mcp/id/x",
            "/api/mcp/id/x",
        ] {
            assert_eq!(resource_of(other, ""), None, "{other}");
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
