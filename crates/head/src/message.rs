//! The heads of a request and of a response.

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use crate::fields::Fields;

/// The head of a request.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target, as it was sent.
    pub uri: Uri,
    /// The header fields.
    pub fields: Fields,
}

/// The head of a response.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub fields: Fields,
}

impl RequestHead {
    /// Returns the head of a request of the crate `http`. Its extensions stay behind.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields: Fields::from(request.headers()),
        }
    }

    /// Returns a request of the crate `http` with this body. `None` if it has more fields than that
    /// holds.
    pub fn into_http<B>(self, body: B) -> Option<Request<B>> {
        let mut request = Request::new(body);
        *request.headers_mut() = self.fields.to_http()?;
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        Some(request)
    }
}

impl ResponseHead {
    /// Returns a head with this status and no field.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            fields: Fields::new(),
        }
    }

    /// Returns a head of these fields.
    pub fn from_map(status: StatusCode, map: &HeaderMap) -> Self {
        Self {
            status,
            fields: Fields::from(map),
        }
    }

    /// Returns the head of a response of the crate `http`. Its extensions stay behind.
    pub fn of<B>(response: &Response<B>) -> Self {
        Self::from_map(response.status(), response.headers())
    }

    /// Returns a response of the crate `http` with this body. `None` if it has more fields than that
    /// holds.
    pub fn into_http<B>(self, body: B) -> Option<Response<B>> {
        let mut response = Response::new(body);
        *response.headers_mut() = self.fields.to_http()?;
        *response.status_mut() = self.status;
        Some(response)
    }
}
