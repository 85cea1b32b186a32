//! Reads the provider's OAuth documents.
//!
//! Any status besides 200 means that there is no document, unless it is a failure of the provider:
//! that is forwarded, so that it is not taken for an absence.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use llamapool_http::{CollectError, collect};
use llamapool_limits::MemoryAccount;
use llamapool_wire::{CallError, Cause};
use serde_json::{Map, Value};

use crate::providers::mcp_http::headers::add_extra;
use crate::providers::mcp_http::pool::ProviderBody;
use crate::providers::mcp_http::upstream::{ProviderUpstream, Redirects};

/// The largest document that is taken from a provider.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// A document could not be read, though there may be one.
pub(super) enum FetchError {
    /// The provider was not reached, or the document broke off.
    Failed(CallError),
    /// The provider responded with a failure of its own.
    Refused(Box<Response<ProviderBody>>),
}

/// Returns the first document at one of these URLs, `None` if there is none. If one of them failed
/// and no other has a document, the failure is returned.
pub(super) async fn first_document(
    upstream: &ProviderUpstream,
    urls: Vec<Uri>,
) -> Result<Option<Object>, FetchError> {
    let mut refused = None;
    for url in urls {
        let response = upstream
            .forward(Redirects::Follow, None, document_request(upstream, url))
            .await
            .map_err(FetchError::Failed)?;
        if response.status() == StatusCode::OK {
            if let Some(document) = parse(response, upstream.memory()).await? {
                return Ok(Some(document));
            }
        } else if is_failure(response.status()) {
            refused = Some(FetchError::Refused(Box::new(response)));
        }
    }
    refused.map_or(Ok(None), Err)
}

fn document_request(upstream: &ProviderUpstream, url: Uri) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = url;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    add_extra(headers, upstream.extra_headers());
    request
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
async fn parse(
    response: Response<ProviderBody>,
    memory: &MemoryAccount,
) -> Result<Option<Object>, FetchError> {
    match collect(response.into_body(), MAX_DOCUMENT_BYTES, memory).await {
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
