//! The provider's OAuth documents: metadata of the resource (RFC 9728), and of the authorization server on its own
//! origin, if somebody opted in.
//!
//! Whatever is not 200 and no failure means "there is none"; a failure is handed on, so that nobody takes it for that.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use llamapool_http::{ForwardTimeouts, forward, strip_hop_by_hop};
use llamapool_wire::path::OAuthDocument;
use llamapool_wire::{CallError, Cause};
use serde_json::Value;
use tokio::time::Instant;

use super::authorization_server::{Kind, Object, make_resource_public, own_issuer, places};
use super::connections::ProviderBody;
use super::own_url::PublicPlace;
use super::{Following, McpHttp, failure, is_end_to_end, remove_own};
use crate::answer_body::AnswerBody;
use crate::board::RunningCall;

/// The largest document that is taken from a provider.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Why there is no document, besides that there is none.
enum NotRead {
    Failed(CallError),
    /// The provider answered that it fails.
    Answered(Box<Response<ProviderBody>>),
}

impl McpHttp {
    /// One of the provider's documents, as callers must read it; 404 if there is none.
    pub(crate) async fn document(
        &self,
        which: OAuthDocument,
        asked: &HeaderMap,
        mut call: RunningCall,
    ) -> Result<Response<AnswerBody>, CallError> {
        let mut answer = match self.read(which, PublicPlace::of(asked).as_ref()).await {
            Ok(document) => {
                let body = document
                    .as_ref()
                    .map(|document| Value::Object(document.clone()).to_string());
                let mut answer = Response::new(Full::from(body.unwrap_or_default()));
                answer.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                );
                if document.is_none() {
                    *answer.status_mut() = StatusCode::NOT_FOUND;
                }
                // That there is none is an answer too.
                call.answered();
                answer.map(|body| body.map_err(|never| match never {}).boxed_unsync())
            }
            Err(NotRead::Answered(answer)) => {
                let answer = ForwardTimeouts::default().carry(*answer, Instant::now(), call);
                answer.map(|body| body.map_err(Into::into).boxed_unsync())
            }
            Err(NotRead::Failed(failure)) => {
                call.failed();
                return Err(failure);
            }
        };
        strip_hop_by_hop(answer.headers_mut(), is_end_to_end);
        remove_own(answer.headers_mut());
        Ok(answer)
    }

    /// Looks at the metadata of the authorization server for what they announce now.
    pub(super) async fn look_at_authorization_server(&self, public: &PublicPlace) {
        for which in [OAuthDocument::Server, OAuthDocument::OpenId] {
            // What cannot be read leaves things as they are.
            drop(self.read(which, Some(public)).await);
        }
    }

    async fn read(
        &self,
        which: OAuthDocument,
        public: Option<&PublicPlace>,
    ) -> Result<Option<Object>, NotRead> {
        // Where llamapool checks the token, the provider's authorization servers are not the caller's concern.
        if self.auth_token.is_some() {
            return Ok(None);
        }
        let resource = self
            .first_document(self.metadata.places(&self.upstream.route))
            .await?;
        let public = public
            .filter(|public| self.authorization_server.is_public() && public.url_of_id().is_some());
        let (base, server) = (self.upstream.route.base(), &self.authorization_server);
        let kind = match which {
            OAuthDocument::Resource => {
                return Ok(resource.map(|mut resource| {
                    public.inspect(|public| make_resource_public(&mut resource, base, public));
                    resource
                }));
            }
            OAuthDocument::Server => Kind::OAuth,
            OAuthDocument::OpenId => Kind::OpenId,
        };
        let Some(public) = public else {
            return Ok(None);
        };
        let issuer = match &resource {
            Some(resource) => own_issuer(resource, base, public),
            // Before MCP 2025-06-18 the resource had no metadata, and its origin was the issuer.
            None => Some(String::new()),
        };
        let places = issuer
            .map(|issuer| places(kind, &issuer))
            .unwrap_or_default();
        let places = places
            .iter()
            .map(|place| self.upstream.route.at_root(place, None))
            .collect();
        let document = self.first_document(places).await?;
        match document {
            Some(mut document) => {
                server.make_public(kind, &mut document, base, public);
                Ok(Some(document))
            }
            None => {
                server.forget(kind);
                Ok(None)
            }
        }
    }

    /// The first document that one of these places has. If none has, and one of them failed, that is the answer.
    async fn first_document(&self, places: Vec<http::Uri>) -> Result<Option<Object>, NotRead> {
        let mut failed = None;
        for place in places {
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.uri_mut() = place;
            request
                .headers_mut()
                .insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            for (name, value) in &self.extra_headers {
                request.headers_mut().insert(name, value.clone());
            }
            let answer = forward(
                &Following {
                    provider: &self.upstream,
                    public: None,
                },
                request,
                &ForwardTimeouts::default(),
                || None,
            )
            .await;
            let answer = answer.map_err(|error| NotRead::Failed(failure(error)))?;
            if answer.status() == StatusCode::OK {
                if let Some(document) = parsed(answer).await? {
                    return Ok(Some(document));
                }
            } else if is_failure(answer.status()) {
                failed = Some(NotRead::Answered(Box::new(answer)));
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

/// Whether a status says that the document may be there all the same.
fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The document, or nothing where there is something else: some servers have a page for every path.
async fn parsed(answer: Response<ProviderBody>) -> Result<Option<Object>, NotRead> {
    let body = match Limited::new(answer.into_body(), MAX_DOCUMENT_BYTES)
        .collect()
        .await
    {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(None),
        Err(_) => {
            let message = "the provider's OAuth metadata broke off";
            return Err(NotRead::Failed(CallError::new(
                Cause::ProviderGarbage,
                message,
            )));
        }
    };
    Ok(serde_json::from_slice(&body).ok())
}
