//! Reads the provider's OAuth documents.
//!
//! Any status besides 200 means that there is no document, unless it is a failure of the provider:
//! that is forwarded, so that it is not taken for an absence.

use std::borrow::Cow;

use http::{HeaderValue, Method, StatusCode, Uri, header};
use llamapool_head::{Fields, ResponseHead};
use llamapool_http::http1::RequestBody;
use llamapool_http::{CollectError, collect};
use llamapool_limits::MemoryAccount;
use llamapool_wire::{CallError, Cause};
use serde_json::{Map, Value};

use crate::providers::mcp_http::headers::add_extra;
use crate::providers::mcp_http::pool::ProviderBody;
use crate::providers::mcp_http::upstream::{ProviderRequest, ProviderUpstream, Redirects};

/// The largest document that is taken from a provider.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// A document could not be read, though there may be one.
pub(super) enum FetchError {
    /// The provider was not reached, or the document broke off.
    Failed(CallError),
    /// The provider responded with a failure of its own.
    Refused(Box<(ResponseHead, ProviderBody)>),
}

/// Returns the first document at one of these URLs, `None` if there is none. If one of them failed
/// and no other has a document, the failure is returned.
pub(super) async fn first_document(
    upstream: &ProviderUpstream,
    urls: Vec<Uri>,
) -> Result<Option<Object>, FetchError> {
    let mut fields = Fields::new();
    let json = HeaderValue::from_static("application/json");
    fields.append(&header::ACCEPT, &json);
    add_extra(&mut fields, upstream.extra_headers());

    let mut refused = None;
    for url in urls {
        let request = ProviderRequest {
            method: &Method::GET,
            url: Cow::Owned(url),
            fields: &fields,
            body: RequestBody::Empty,
        };
        let sent = upstream.forward(Redirects::Follow, None, request).await;
        let response = sent.map_err(FetchError::Failed)?;
        let status = response.head.status;
        if status == StatusCode::OK {
            if let Some(document) = parse(response.body, upstream.memory()).await? {
                return Ok(Some(document));
            }
        } else if is_failure(status) {
            refused = Some(FetchError::Refused(Box::new((
                response.head,
                response.body,
            ))));
        }
    }
    refused.map_or(Ok(None), Err)
}

/// Returns whether a status leaves open if there is a document.
fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Parses a document. `None` if the response is something else: some servers have a page for every
/// path.
async fn parse(body: ProviderBody, memory: &MemoryAccount) -> Result<Option<Object>, FetchError> {
    match collect(body, MAX_DOCUMENT_BYTES, memory).await {
        Ok(body) => Ok(serde_json::from_slice(&body).ok()),
        Err(CollectError::TooLarge(_)) => Ok(None),
        Err(CollectError::OutOfMemory(_)) => Err(FetchError::Failed(CallError::new(
            Cause::RelayMemoryFull,
            "there is no memory for the provider's OAuth metadata, see MAX_MEMORY",
        ))),
        Err(CollectError::Broken) => Err(FetchError::Failed(CallError::new(
            Cause::ProviderGarbage,
            "the provider's OAuth metadata broke off",
        ))),
    }
}
