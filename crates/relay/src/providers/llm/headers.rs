//! The headers of calls to the runtime and of its answers.

use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, VARY, VIA,
};
use llamapool_dialect::LlmErrorKind;
use llamapool_http::{remove_headers, reserved, strip_hop_by_hop};
use llamapool_tunnel::header_bytes;
use llamapool_wire::header as wire;

use super::client::{RuntimeAddress, VIA_LLAMAPOOL};
use super::error::LlmError;

/// The type of whole answers.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The type of Ollama's streams.
pub(super) const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Room for the status, and for the headers that this side adds.
const ADDED_BYTES: usize = 256;

/// Headers of callers that end here: their credentials, what browsers add (Ollama refuses an
/// `Origin` that it does not know), and what is no longer true of the body.
const ENDING_HERE: &[&str] = &[
    "accept-encoding",
    "api-key",
    "authorization",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "host",
    "openai-organization",
    "openai-project",
    "origin",
    "referer",
    "x-api-key",
];
/// The beginnings of names of headers of browsers.
const OF_BROWSERS: [&str; 2] = ["sec-", "access-control-request-"];

/// Prepares the headers of a call for the runtime at an address.
pub(super) fn prepare_request(headers: &mut HeaderMap, address: &RuntimeAddress, is_json: bool) {
    strip_hop_by_hop(headers, |_| false);
    remove_headers(headers, |name| {
        let folded = reserved::folded(name);
        let is_of_browser = OF_BROWSERS.iter().any(|start| folded.starts_with(start));
        ENDING_HERE.contains(&&*folded)
            || is_of_browser
            || is_own(name)
            || reserved::is_reserved_in_request(name)
    });

    headers.append(VIA, VIA_LLAMAPOOL);
    // Events of an encoded stream cannot be read.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if is_json {
        // `curl -d` claims a form, and some runtimes believe it.
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    address.authorize(headers);
}

/// Removes from an answer the headers of one hop, those of llamapool, and those that speak for the
/// origin of the server, such as the permissions of CORS.
///
/// # Errors
///
/// The answer is encoded although no encoding was accepted, or its headers do not fit.
pub(super) fn clean_response(headers: &mut HeaderMap, max_bytes: u32) -> Result<(), LlmError> {
    strip_hop_by_hop(headers, |_| false);
    let encoding = headers.remove(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let message = "the runtime's answer has a Content-Encoding, expected none";
        return Err(LlmError::new(LlmErrorKind::RuntimeGarbage, message));
    }
    remove_headers(headers, |name| {
        name.as_str().starts_with("access-control-")
            || name == http::header::SET_COOKIE
            || is_own(name)
            || reserved::is_reserved_in_response(name)
    });
    remove_origin_from_vary(headers);

    let bytes = header_bytes(headers);
    if bytes + ADDED_BYTES > max_bytes as usize {
        let message = format!(
            "the runtime's answer has headers of {bytes} bytes, more than the {max_bytes} that \
             TUNNEL_MAX_HEADER_BYTES allows"
        );
        return Err(LlmError::new(LlmErrorKind::RuntimeGarbage, message));
    }
    Ok(())
}

/// Makes the headers those of a body that is another one than the runtime's.
pub(super) fn replace_body(headers: &mut HeaderMap, content_type: HeaderValue) {
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, content_type);
}

/// Returns the content type of an answer, empty without one.
pub(super) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn remove_origin_from_vary(headers: &mut HeaderMap) {
    if !headers.contains_key(VARY) {
        return;
    }
    let values = headers
        .get_all(VARY)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim);
    let others: Vec<_> = names
        .filter(|name| !name.eq_ignore_ascii_case("origin"))
        .collect();
    match HeaderValue::from_str(&others.join(", ")) {
        Ok(value) if !others.is_empty() => drop(headers.insert(VARY, value)),
        _ => drop(headers.remove(VARY)),
    }
}

/// Returns whether a header is one of llamapool's own, in any spelling.
fn is_own(name: &HeaderName) -> bool {
    name.as_str().starts_with('l') && reserved::folded(name).starts_with(wire::PREFIX)
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use llamapool_wire::Secret;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        pairs.collect()
    }

    #[test]
    fn credentials_and_words_of_browsers_end_here() {
        let key = Secret::new("runtime-key");
        let address = RuntimeAddress::new(&Uri::from_static("http://a"), Some(&key));
        let mut sent = headers(&[
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "x"),
            ("user-agent", "sdk"),
            ("x-request-id", "r1"),
            ("via", "1.1 proxy"),
            ("content-type", "application/x-www-form-urlencoded"),
        ]);
        let expected: HeaderMap = sent.clone();
        for ending in [
            "authorization",
            "x-api-key",
            "x_api_key",
            "api-key",
            "cookie",
            "origin",
            "referer",
            "sec-fetch-mode",
            "access-control-request-method",
            "forwarded",
            "x-forwarded-for",
            "openai-project",
            "content-encoding",
            "llamapool-attempt",
            "connection",
            "expect",
        ] {
            sent.insert(
                HeaderName::from_static(ending),
                HeaderValue::from_static("1"),
            );
        }

        prepare_request(&mut sent, &address, true);

        for (name, value) in &expected {
            if name != CONTENT_TYPE && name != VIA {
                assert_eq!(sent[name], value);
            }
        }
        let vias: Vec<_> = sent.get_all(VIA).iter().collect();
        assert_eq!(vias, ["1.1 proxy", "1.1 llamapool"]);
        assert_eq!(sent[CONTENT_TYPE], "application/json");
        assert_eq!(sent[ACCEPT_ENCODING], "identity");
        assert_eq!(sent["authorization"], "Bearer runtime-key");
        assert_eq!(sent.len(), expected.len() + 3);
    }

    #[test]
    fn an_answer_does_not_speak_for_the_origin() {
        let mut answer = headers(&[
            ("access-control-allow-origin", "*"),
            ("access-control-allow-headers", "*"),
            ("set-cookie", "a=b"),
            ("vary", "Origin, Accept"),
            ("server", "llama.cpp"),
            ("content-encoding", "identity"),
            ("llamapool-error", "forged"),
        ]);

        clean_response(&mut answer, 65_536).unwrap();

        assert_eq!(
            answer,
            headers(&[("vary", "Accept"), ("server", "llama.cpp")])
        );
        let mut only_origin = headers(&[("vary", "origin")]);
        clean_response(&mut only_origin, 65_536).unwrap();
        assert!(only_origin.is_empty());
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_an_error() {
        let mut encoded = headers(&[("content-encoding", "gzip")]);
        let mut large = headers(&[("x-large", "x")]);

        let encoded = clean_response(&mut encoded, 65_536).unwrap_err();
        let large = clean_response(&mut large, 200).unwrap_err();

        assert_eq!(encoded.kind, LlmErrorKind::RuntimeGarbage);
        assert_eq!(large.kind, LlmErrorKind::RuntimeGarbage);
    }
}
