//! The provider's OAuth documents: the metadata of the resource (RFC 9728), and of the authorization
//! server on its own origin, if `PROVIDER_OAUTH` publishes it (design 0002).
//!
//! [`discovery`] locates a document, [`fetch`] reads it, [`rewrite`] makes it public.

mod discovery;
mod fetch;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod rewrite;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use llamapool_head::{Fields, ResponseHead};
use llamapool_http::{ForwardedBody, json_response};
use llamapool_tunnel::OutgoingBody;
use llamapool_wire::CallError;
use llamapool_wire::path::OAuthDocument;
use serde_json::Value;

use self::discovery::{MetadataKind, ResourceMetadataUrl, server_metadata_paths};
use self::fetch::{FetchError, Object, first_document};
use self::rewrite::{AuthorizationServer, own_issuer, rewrite_resource};
use super::allowed_paths::AllowedPaths;
use super::headers;
use super::public_url::ProviderPublicUrl;
use super::upstream::ProviderUpstream;
use crate::call::CallResponse;
use crate::status::calls::CallGuard;

/// The OAuth documents of one provider.
pub(super) struct OAuth {
    resource_metadata: ResourceMetadataUrl,
    authorization_server: AuthorizationServer,
    /// True if callers get no document at all.
    is_withheld: bool,
}

impl OAuth {
    /// With `publishes`, callers reach the authorization server on the provider's origin. With
    /// `is_withheld`, there is no document for them.
    pub(super) fn new(publishes: bool, is_withheld: bool) -> Self {
        Self {
            resource_metadata: ResourceMetadataUrl::default(),
            authorization_server: AuthorizationServer::new(publishes),
            is_withheld,
        }
    }

    /// Returns whether callers reach the authorization server on the provider's origin.
    pub(super) fn publishes(&self) -> bool {
        self.authorization_server.is_public()
    }

    /// Notes the place of the metadata that a challenge names.
    pub(super) fn learn(&self, response: &ResponseHead) {
        self.resource_metadata.learn(response);
    }

    /// Returns the path on the provider for a caller's path, `None` if the metadata do not name it.
    pub(super) fn resolve(&self, below: &str) -> Option<String> {
        self.authorization_server.resolve(below)
    }

    /// Returns whether an unknown path is a reason to read the metadata again. Returns true once,
    /// and then not for a while.
    pub(super) fn should_refresh(&self) -> bool {
        self.authorization_server.should_refresh()
    }

    /// Reads the metadata of the authorization server, for the paths that they name now.
    pub(super) async fn refresh(&self, upstream: &ProviderUpstream, public: &ProviderPublicUrl) {
        for document in [OAuthDocument::Server, OAuthDocument::OpenId] {
            // A document that cannot be read leaves the paths as they are.
            let _ = self.read(upstream, document, Some(public)).await;
        }
    }

    /// Rewrites the issuer in a redirect of the authorization server, and allows its callback.
    pub(super) fn rewrite_redirect(
        &self,
        fields: &mut Fields,
        public: &ProviderPublicUrl,
        allowed: &AllowedPaths,
    ) {
        self.authorization_server
            .rewrite_redirect(fields, public, allowed);
    }

    /// Responds with one of the documents, as callers must read it; with 404 if there is none.
    pub(super) async fn respond(
        &self,
        upstream: &ProviderUpstream,
        document: OAuthDocument,
        request_fields: &Fields,
        mut call: CallGuard,
    ) -> Result<CallResponse, CallError> {
        let public = ProviderPublicUrl::from_headers(request_fields);
        let mut response = match self.read(upstream, document, public.as_ref()).await {
            Ok(document) => {
                // That there is none is a response too.
                call.complete();
                document_response(document)
            }
            Err(FetchError::Refused(response)) => {
                let (head, body) = *response;
                let body = ForwardedBody::observed(body, call);
                CallResponse::streamed(head, body.map_err(Into::into).boxed_unsync())
            }
            Err(FetchError::Failed(error)) => {
                call.fail();
                return Err(error);
            }
        };
        headers::clean_response(&mut response.head.fields)?;
        Ok(response)
    }

    /// Reads a document and makes it public. `None` if there is none.
    async fn read(
        &self,
        upstream: &ProviderUpstream,
        document: OAuthDocument,
        public: Option<&ProviderPublicUrl>,
    ) -> Result<Option<Object>, FetchError> {
        if self.is_withheld {
            return Ok(None);
        }
        let base = upstream.route().base();
        let resource_urls = self.resource_metadata.candidates(upstream.route());
        let resource = first_document(upstream, resource_urls).await?;
        let public = public.filter(|public| self.publishes() && public.url_of_id().is_some());

        let kind = match document {
            OAuthDocument::Resource => {
                return Ok(resource.map(|mut resource| {
                    if let Some(public) = public {
                        rewrite_resource(&mut resource, base, public);
                    }
                    resource
                }));
            }
            OAuthDocument::Server => MetadataKind::OAuth,
            OAuthDocument::OpenId => MetadataKind::OpenId,
        };
        let Some(public) = public else {
            return Ok(None);
        };

        let issuer = match &resource {
            Some(resource) => own_issuer(resource, base, public),
            // Before MCP 2025-06-18 the resource had no metadata, and its origin was the issuer.
            None => Some(String::new()),
        };
        let paths = issuer.map(|issuer| server_metadata_paths(kind, &issuer));
        let urls = paths
            .unwrap_or_default()
            .iter()
            .map(|path| upstream.route().at_root(path, None))
            .collect();
        let mut metadata = first_document(upstream, urls).await?;
        match &mut metadata {
            Some(metadata) => self
                .authorization_server
                .rewrite_metadata(kind, metadata, base, public),
            None => self.authorization_server.forget(kind),
        }
        Ok(metadata)
    }
}

fn document_response(document: Option<Object>) -> CallResponse {
    let (status, text) = match document {
        Some(document) => (StatusCode::OK, Value::Object(document).to_string()),
        None => (StatusCode::NOT_FOUND, String::new()),
    };
    CallResponse {
        head: ResponseHead::of(&json_response::<()>(status, ())),
        body: OutgoingBody::Whole(Bytes::from(text)),
    }
}
