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
pub fn disable_buffering(fields: &mut Fields) {
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
        let stored = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (mut fields, cache) in [
            (Fields::new(), "no-cache, no-transform"),
            (Fields::from_iter([stored]), "no-store"),
        ] {
            disable_buffering(&mut fields);

            assert_eq!(fields.len(), 2);
            assert_eq!(fields.get(&CACHE_CONTROL).unwrap(), cache);
            assert_eq!(fields.get(&ACCEL_BUFFERING).unwrap(), "no");
        }
    }
}
