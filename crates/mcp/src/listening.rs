//! Requests by which a client only listens.

use http::Method;
use llamapool_head::FieldLookup;

use crate::MethodLabel;
use crate::header;

/// Returns whether a client only listens with a request: its event stream has no end of its own, and
/// no response to another request is to come on it. A client that loses it begins another one.
///
/// It is a GET of Streamable HTTP (MCP 2025-03-26 to 2025-11-25, listening for messages from the
/// server), or `subscriptions/listen` (MCP 2026-07-28). A GET without a session and without a
/// revision can be the stream of MCP 2024-11-05, which carries all responses, and one with
/// `Last-Event-ID` gets the rest of a response.
pub fn is_listening(method: &Method, headers: &impl FieldLookup) -> bool {
    if method == Method::GET {
        let is_streamable_http =
            headers.has_field(&header::SESSION_ID) || headers.has_field(&header::PROTOCOL_VERSION);
        return is_streamable_http && !headers.has_field(&header::LAST_EVENT_ID);
    }
    let named = headers.first_value(&header::METHOD);
    method == Method::POST
        && named.is_some_and(|name| name == MethodLabel::SubscriptionsListen.as_str())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn streams_that_carry_responses_are_no_listeners() {
        let listens = |method: Method, fields: &[(HeaderName, &'static str)]| {
            let headers: HeaderMap = fields
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect();
            is_listening(&method, &headers)
        };
        let session = (header::SESSION_ID, "s");
        let revision = (header::PROTOCOL_VERSION, "2025-06-18");

        assert!(listens(Method::GET, std::slice::from_ref(&session)));
        assert!(listens(Method::GET, &[revision]));
        assert!(listens(
            Method::POST,
            &[(header::METHOD, "subscriptions/listen")]
        ));

        assert!(!listens(Method::GET, &[]), "HTTP with SSE");
        assert!(!listens(
            Method::GET,
            &[session.clone(), (header::LAST_EVENT_ID, "7")]
        ));
        assert!(!listens(Method::POST, &[session]));
        assert!(!listens(Method::POST, &[(header::METHOD, "tools/call")]));
    }
}
