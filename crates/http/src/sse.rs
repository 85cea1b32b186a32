//! Server-sent events (the HTML standard): reading, writing, and passing an event stream on.
//!
//! - [`is_event_stream`], [`set_headers`], [`disable_buffering`]: the head of a stream
//! - [`lines`], [`EventReader`]: reading
//! - [`EventFields`], [`write_event`]: writing
//! - [`KeepAlive`]: comments in a stream that is idle
//! - [`first_event()`]: one event of a stream instead of the stream
//!
//! The content of an event is bytes to this module; a caller that looks for a particular event
//! passes a predicate.

mod first_event;
mod keepalive;
mod scan;
mod write;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use llamapool_head::{FieldLookup, FieldValue, Fields};

pub use self::first_event::{FirstEventError, first_event};
pub use self::keepalive::KeepAlive;
pub use self::scan::{BYTE_ORDER_MARK, EventReader, EventTooLargeError, lines};
pub use self::write::{EventFields, write_event};

/// The media type of an event stream.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("text/event-stream");

/// The header by which nginx and others are asked not to collect a response before they send it.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NO_BUFFERING: HeaderValue = HeaderValue::from_static("no");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, no-transform");

/// Returns whether these are the headers of an event stream, whatever the parameters of its media
/// type are.
pub fn is_event_stream(headers: &impl FieldLookup) -> bool {
    let value = headers.first_value(&CONTENT_TYPE);
    let mut parts = value
        .map_or(&b""[..], FieldValue::as_bytes)
        .split(|&byte| byte == b';');
    let media_type = parts.next().unwrap_or_default();
    media_type
        .trim_ascii()
        .eq_ignore_ascii_case(b"text/event-stream")
}

/// Sets the headers of an event stream that llamapool makes itself.
pub fn set_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, MEDIA_TYPE);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(ACCEL_BUFFERING, NO_BUFFERING);
}

/// Asks the middleboxes on the way not to hold a forwarded stream back, unless its source has set
/// these headers itself.
pub fn disable_buffering(headers: &mut HeaderMap) {
    headers.entry(ACCEL_BUFFERING).or_insert(NO_BUFFERING);
    headers.entry(CACHE_CONTROL).or_insert(NO_CACHE);
}

/// Does for the fields of a head what [`disable_buffering`] does for a map.
pub fn disable_buffering_of(fields: &mut Fields) {
    for (name, value) in [(ACCEL_BUFFERING, NO_BUFFERING), (CACHE_CONTROL, NO_CACHE)] {
        if !fields.contains_key(&name) {
            fields.append(&name, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_type(media_type: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers
    }

    #[test]
    fn an_event_stream_is_known_by_its_exact_type() {
        for stream in ["text/event-stream", " Text/Event-Stream ; charset=utf-8"] {
            assert!(is_event_stream(&with_type(stream)), "{stream}");
        }
        for other in ["text/event-streamx", "text/plain", ""] {
            assert!(!is_event_stream(&with_type(other)), "{other}");
        }
        assert!(!is_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn headers_of_the_source_for_middleboxes_stay() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));

        disable_buffering(&mut headers);

        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert_eq!(headers["x-accel-buffering"], "no");
    }

    #[test]
    fn fields_get_the_same_as_a_map() {
        let mut stored = HeaderMap::new();
        stored.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for mut headers in [HeaderMap::new(), stored] {
            let mut fields = Fields::from(&headers);

            disable_buffering_of(&mut fields);
            disable_buffering(&mut headers);

            assert_eq!(fields.to_http().unwrap(), headers);
        }
    }
}
