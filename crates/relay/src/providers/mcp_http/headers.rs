//! The headers of requests to the provider and of its responses.

use http::{HeaderMap, StatusCode, header};
use llamapool_head::{Fields, ResponseHead};
use llamapool_http::{ContentLengthError, normalize_length_of, reserved, sse, strip_fields};
use llamapool_mcp::header as mcp;
use llamapool_tunnel::field_bytes;
use llamapool_wire::{CallError, Cause, header as wire};

/// Room for the status, and for the headers that this side adds.
const ADDED_BYTES: usize = 256;

/// Removes the headers that the provider must not see, and adds `extra`, which only it may see.
/// With `is_token_ours`, `Authorization` has the relay's own token and is removed. Returns the declared
/// length of the body.
///
/// # Errors
///
/// The server declares a length that is not one number.
pub(super) fn prepare_request(
    fields: &mut Fields,
    extra: &HeaderMap,
    is_token_ours: bool,
) -> Result<Option<u64>, CallError> {
    strip_fields(fields, is_end_to_end, |name| match name {
        // The server has checked it; a provider that checks too would compare it with its own address.
        b"host" | b"origin" => true,
        b"authorization" => is_token_ours,
        _ => {
            let is_reserved = || reserved::is_reserved_in_request(name);
            is_own(name) || (!is_of_the_server(name) && is_reserved())
        }
    });
    let length = normalize_length_of(fields)
        .map_err(|error| odd_length(Cause::RelayGarbage, "the call", error))?;

    add_extra(fields, extra);
    Ok(length)
}

/// Adds the headers that only the provider may see, in the place of those that have their names, in
/// any spelling.
pub(super) fn add_extra(fields: &mut Fields, extra: &HeaderMap) {
    if extra.is_empty() {
        return;
    }
    fields.retain_bytes(|name, _| {
        let name = reserved::folded_bytes(name);
        !extra.keys().any(|own| reserved::folded_bytes(own) == name)
    });
    for (name, value) in extra {
        fields.append(name, value);
    }
}

/// Removes the headers of one hop, those that only llamapool itself may set, and those that speak
/// for more than this provider.
///
/// # Errors
///
/// The provider declares a length that is not one number.
pub(super) fn clean_response(fields: &mut Fields) -> Result<(), CallError> {
    strip_fields(fields, is_end_to_end, |name| {
        is_own(name) || reserved::is_reserved_in_response(name)
    });
    let length = normalize_length_of(fields);
    length
        .map(drop)
        .map_err(|error| odd_length(Cause::ProviderGarbage, "the provider's answer", error))
}

/// Returns whether a header is one of llamapool's own, in any spelling.
fn is_own(name: &[u8]) -> bool {
    name.first() == Some(&b'l') && reserved::folded_bytes(name).starts_with(wire::PREFIX.as_bytes())
}

/// Returns whether a header is a statement of the server about the caller. Everything else of that kind is
/// a caller's own word.
fn is_of_the_server(name: &[u8]) -> bool {
    matches!(
        name,
        b"x-forwarded-for" | b"x-forwarded-host" | b"x-forwarded-proto" | b"x-request-id"
    )
}

fn odd_length(cause: Cause, message: &str, error: ContentLengthError) -> CallError {
    CallError::new(
        cause,
        format!("{message} has a Content-Length that is not one number"),
    )
    .with_source(error.to_string())
}

/// Checks that the head of a response fits through the tunnel. Here the error can name the provider.
pub(super) fn check_size(fields: &Fields, max_bytes: u32) -> Result<(), CallError> {
    let bytes = field_bytes(fields);
    if bytes + ADDED_BYTES <= max_bytes as usize {
        return Ok(());
    }
    let message = format!(
        "the provider's answer has headers of {bytes} bytes, more than the {max_bytes} that TUNNEL_MAX_HEADER_BYTES allows"
    );
    Err(CallError::new(Cause::ProviderGarbage, message))
}

/// Returns whether a response is an event stream that is not encoded.
pub(super) fn is_plain_event_stream(head: &ResponseHead) -> bool {
    head.status == StatusCode::OK
        && sse::is_event_stream(&head.fields)
        && !head.fields.contains_key(&header::CONTENT_ENCODING)
}

/// Returns whether a header is kept although `Connection` names it. A request from the tunnel has
/// no header of this hop, and the headers that a provider names in `Connection` are its own affair,
/// except for the session.
fn is_end_to_end(name: &[u8]) -> bool {
    name.starts_with(mcp::PREFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// Prepares a map of headers.
    fn prepare_request(
        headers: &mut HeaderMap,
        extra: &HeaderMap,
        is_token_ours: bool,
    ) -> Result<Option<u64>, CallError> {
        let mut fields = Fields::from(&*headers);
        let length = super::prepare_request(&mut fields, extra, is_token_ours)?;
        *headers = fields.to_http().unwrap();
        Ok(length)
    }

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
    fn headers_of_the_relay_replace_every_spelling_of_a_callers() {
        let mut sent = headers(&[
            ("x-api-key", "caller"),
            ("x_api_key", "caller"),
            ("x-api_key", "caller"),
            ("x-other", "1"),
        ]);
        let mut extra = headers(&[("x-api-key", "one")]);
        extra.append("x-api-key", HeaderValue::from_static("two"));

        prepare_request(&mut sent, &extra, false).unwrap();

        assert_eq!(sent.len(), 3);
        let own: Vec<_> = sent.get_all("x-api-key").iter().collect();
        assert_eq!(own, ["one", "two"]);
        assert_eq!(sent["x-other"], "1");
    }

    #[test]
    fn only_the_servers_own_words_about_the_caller_pass() {
        let stated = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-host", "pool.example"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "r1"),
        ];
        let mut sent = headers(&stated);
        for forged in [
            "x_forwarded_for",
            "x-real-ip",
            "x-original-url",
            "llamapool_id",
        ] {
            sent.insert(forged, HeaderValue::from_static("1"));
        }

        prepare_request(&mut sent, &HeaderMap::new(), false).unwrap();

        assert_eq!(sent, headers(&stated));
    }

    #[test]
    fn an_odd_length_is_an_error_of_the_one_that_declares_it() {
        let odd = headers(&[("content-length", "+1")]);

        let of_the_server = prepare_request(&mut odd.clone(), &HeaderMap::new(), false);
        let of_the_provider = clean_response(&mut Fields::from(&odd));

        assert_eq!(of_the_server.unwrap_err().cause, Cause::RelayGarbage);
        assert_eq!(of_the_provider.unwrap_err().cause, Cause::ProviderGarbage);
    }
}
