//! The runtime's URL, and short requests to it: polls of its models and its load. Calls have
//! connections of their own.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, VIA};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use llamapool_wire::Secret;
use serde_json::Value;

use crate::error::error_chain;
use crate::providers::pool::{ConnectionPool, Connector, PoolError, ProviderBody};

/// How long one poll may take: a runtime that is busy still answers these.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of the answer to a poll. A list of 512 models has some 500 KB.
const MAX_POLL_BYTES: usize = 4 << 20;
/// The name of llamapool in `Via` (RFC 9110, 7.6.3), by which it recognizes its own requests.
pub(super) const VIA_LLAMAPOOL: HeaderValue = HeaderValue::from_static("1.1 llamapool");

/// The runtime's URL and key.
#[derive(Clone)]
pub(super) struct RuntimeAddress {
    base: Uri,
    authorization: Option<HeaderValue>,
}

/// Sends polls, over connections of their own.
pub(super) struct PollClient {
    pool: ConnectionPool,
    address: RuntimeAddress,
    timeout: Duration,
}

/// The answer to a poll.
pub(super) struct PollAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A poll has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    /// No connection was made.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The connection ended, or the answer is not HTTP.
    #[error("no answer to {path}: {error}")]
    Broken { path: String, error: String },
    /// The answer was late.
    #[error("no answer to {path} within {timeout:?}")]
    Timeout { path: String, timeout: Duration },
    /// The answer is not what a runtime of this kind sends.
    #[error("the answer to {path} {problem}")]
    Unexpected { path: String, problem: String },
}

impl RuntimeAddress {
    /// The runtime at a URL. A `/v1` at its end is not part of it: every path begins with its own.
    pub(super) fn new(url: &Uri, api_key: Option<&Secret>) -> Self {
        let authorization = api_key.and_then(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            base: url.clone(),
            authorization,
        }
    }

    /// Returns the URL of a path at the runtime, which may have a query.
    pub(super) fn url(&self, at_runtime: &str) -> Uri {
        let path = self.base.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path);
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(format!("{path}{at_runtime}")).ok();
        Uri::from_parts(parts).unwrap_or_else(|_| self.base.clone())
    }

    /// Adds the runtime's key.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) {
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
    }
}

impl PollClient {
    /// A client of the runtime at an address.
    pub(super) fn new(connector: Connector, address: RuntimeAddress) -> Self {
        Self {
            pool: ConnectionPool::new(connector, &address.base),
            address,
            timeout: POLL_TIMEOUT,
        }
    }

    /// Changes how long one poll may take.
    pub(super) fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Closes connections that were idle for too long, for as long as the relay lives.
    pub(super) async fn sweep(&self) {
        self.pool.sweep().await;
    }

    /// Gets a path.
    pub(super) async fn get(&self, path: &str) -> Result<PollAnswer, PollError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Gets the JSON at a path, which must answer 200.
    pub(super) async fn get_json(&self, path: &str) -> Result<Value, PollError> {
        self.get(path).await?.json(path)
    }

    /// Posts JSON to a path, and returns the JSON of its answer, which must be 200.
    pub(super) async fn post_json(&self, path: &str, body: &Value) -> Result<Value, PollError> {
        let body = Bytes::from(body.to_string());
        self.send(Method::POST, path, body).await?.json(path)
    }

    /// Gets a path whose answer is a stream without an end. Waits for its head as for an answer.
    pub(super) async fn open(&self, path: &str) -> Result<ProviderBody, PollError> {
        let head = self.head(Method::GET, path, Bytes::new());
        let response = self.in_time(path, head).await?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(unexpected(path, format!("has the status {status}"))),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<PollAnswer, PollError> {
        self.in_time(path, self.exchange(method, path, body)).await
    }

    async fn in_time<T>(
        &self,
        path: &str,
        answer: impl Future<Output = Result<T, PollError>>,
    ) -> Result<T, PollError> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(PollError::Timeout {
                path: path.to_owned(),
                timeout: self.timeout,
            }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<PollAnswer, PollError> {
        let response = self.head(method, path, body).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_POLL_BYTES).collect().await;
        let body = body.map_err(|error| PollError::Broken {
            path: path.to_owned(),
            error: error_chain(&*error),
        })?;
        Ok(PollAnswer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// Sends a request. Returns when the head of its response is here.
    async fn head(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<ProviderBody>, PollError> {
        let has_body = !body.is_empty();
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.address.url(path);
        let headers = request.headers_mut();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(VIA, VIA_LLAMAPOOL);
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.address.authorize(headers);

        let sent = self.pool.send_http(request).await;
        sent.map_err(|error| match error {
            PoolError::Unreachable(error) => PollError::Unreachable(error_chain(&*error)),
            PoolError::Lost(error) => PollError::Broken {
                path: path.to_owned(),
                error: error_chain(&error),
            },
        })
    }
}

impl PollAnswer {
    /// Returns the JSON of an answer that is 200.
    pub(super) fn json(&self, path: &str) -> Result<Value, PollError> {
        if self.status != StatusCode::OK {
            return Err(unexpected(path, format!("has the status {}", self.status)));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| unexpected(path, format!("is not JSON: {error}")))
    }

    /// Returns the text of an answer that is 200.
    pub(super) fn text(&self) -> Option<&str> {
        let is_ok = self.status == StatusCode::OK;
        std::str::from_utf8(&self.body).ok().filter(|_| is_ok)
    }
}

/// Returns the error for an answer that no runtime of the kind sends.
pub(super) fn unexpected(path: &str, problem: impl Into<String>) -> PollError {
    PollError::Unexpected {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v1_at_the_end_of_the_url_is_not_doubled() {
        for (base, url) in [
            ("http://a:1", "http://a:1/v1/models?x=1"),
            ("http://a:1/v1", "http://a:1/v1/models?x=1"),
            ("http://a:1/v1/", "http://a:1/v1/models?x=1"),
            ("http://a/openai/v1", "http://a/openai/v1/models?x=1"),
            ("http://a/v10", "http://a/v10/v1/models?x=1"),
        ] {
            let address = RuntimeAddress::new(&Uri::from_static(base), None);

            assert_eq!(address.url("/v1/models?x=1"), url, "{base}");
        }
    }
}
