//! The answers to browsers before and after a call (the Fetch standard, CORS protocol).
//!
//! Only for an `Origin` that the origin policy admits, and in the provider's place: it never gets
//! the `Origin`, so its own answers about origins are about another one.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use llamapool_head::{FieldLookup, FieldValue, Fields};
use llamapool_http::remove_headers;

use super::principal::AllowedOrigin;

/// The methods of an MCP client.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
/// The headers that an MCP client reads of an answer, besides those that every page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Last-Event-ID, Retry-After, X-Request-Id, Llamapool-Error",
);
/// The headers that a client of the LLM API reads of an answer.
const LLM_EXPOSED: HeaderValue = HeaderValue::from_static(
    "X-Request-Id, Request-Id, Retry-After, Retry-After-Ms, X-Should-Retry, Llamapool-Error, Llamapool-Route, X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests, X-RateLimit-Reset-Requests, X-RateLimit-Limit-Tokens, X-RateLimit-Remaining-Tokens, X-RateLimit-Reset-Tokens",
);
/// The seconds for which a browser may remember the answer to a preflight: the most that any of them
/// does.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// The headers upon which the answers depend.
const VARY: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
);

/// Answers a preflight. Returns `None` if the request is none.
///
/// The requested headers are allowed as they are: `Mcp-Param-*` has no list (MCP 2026-07-28), and
/// `*` would not stand for `Authorization`.
pub(crate) fn preflight(
    method: &Method,
    headers: &impl FieldLookup,
    origin: &AllowedOrigin,
) -> Option<Response<Body>> {
    if method != Method::OPTIONS || !headers.has_field(&header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }

    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;

    let allowed = answer.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.value().clone());
    allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    allowed.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    allowed.insert(header::VARY, VARY);
    let requested = headers.first_value(&header::ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(requested) = requested.and_then(FieldValue::to_http) {
        allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested);
    }

    Some(answer)
}

/// Lets a browser's page read an answer, in place of the provider's own answers about origins.
pub(crate) fn expose_fields(fields: &mut Fields, origin: &AllowedOrigin) {
    fields.retain(|name, _| !name.starts_with("access-control-"));
    fields.append(&header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.value());
    fields.append(&header::ACCESS_CONTROL_EXPOSE_HEADERS, &EXPOSED);
    fields.append(&header::VARY, &HeaderValue::from_static("Origin"));
}

/// The same for an answer of the LLM API.
pub(crate) fn expose_llm(headers: &mut HeaderMap, origin: &AllowedOrigin) {
    remove_headers(headers, |name| name.as_str().starts_with("access-control-"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.value().clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, LLM_EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn origin() -> AllowedOrigin {
        let mut fields = Fields::new();
        fields.append(
            &header::ORIGIN,
            &HeaderValue::from_static("https://app.example"),
        );
        AllowedOrigin::new(fields.get(&header::ORIGIN).unwrap()).unwrap()
    }

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_preflight_gets_exactly_the_headers_that_it_requests() {
        let headers = headers(&[
            (header::ACCESS_CONTROL_REQUEST_METHOD, "POST"),
            (
                header::ACCESS_CONTROL_REQUEST_HEADERS,
                "authorization,mcp-param-region",
            ),
        ]);

        let answer = preflight(&Method::OPTIONS, &headers, &origin()).unwrap();

        assert_eq!(answer.status(), 204);
        assert_eq!(
            answer.headers()["access-control-allow-origin"],
            "https://app.example"
        );
        assert_eq!(
            answer.headers()["access-control-allow-headers"],
            "authorization,mcp-param-region"
        );
        assert!(
            answer.headers()["access-control-allow-methods"]
                .to_str()
                .unwrap()
                .contains("DELETE")
        );
    }

    #[test]
    fn an_options_request_without_preflight_is_the_providers() {
        assert!(preflight(&Method::OPTIONS, &HeaderMap::new(), &origin()).is_none());
        let headers = headers(&[(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")]);
        assert!(preflight(&Method::POST, &headers, &origin()).is_none());
    }

    #[test]
    fn the_server_answers_about_origins_not_the_provider() {
        let headers = headers(&[
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
            (header::VARY, "Accept"),
        ]);

        let mut fields = Fields::from(&headers);
        expose_fields(&mut fields, &origin());
        let headers = fields.to_http().unwrap();

        assert_eq!(
            headers
                .get_all(header::ACCESS_CONTROL_ALLOW_ORIGIN)
                .iter()
                .count(),
            1
        );
        assert_eq!(
            headers["access-control-allow-origin"],
            "https://app.example"
        );
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(
            headers["access-control-expose-headers"]
                .to_str()
                .unwrap()
                .contains("Mcp-Session-Id")
        );
        assert_eq!(headers.get_all(header::VARY).iter().count(), 2);
    }
}
