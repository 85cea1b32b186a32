//! Removes headers: those of one hop (RFC 9110, 7.6.1), and those of a caller's choice.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use llamapool_head::{FieldLookup, Fields};

/// Headers of one hop, whether or not `Connection` names them.
const ALWAYS: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes the headers of this hop: the well-known ones, and those that `Connection` names.
///
/// A sender must not name end-to-end headers in `Connection` (RFC 9110, 7.6.1); one that does would make
/// a proxy drop a header that the provider itself would have seen. Headers for which `is_end_to_end`
/// returns true are kept. Beside a `Transfer-Encoding` a length is wrong, and goes with it (RFC 9112,
/// section 6.3).
pub fn strip_hop_by_hop(headers: &mut HeaderMap, is_end_to_end: impl Fn(&HeaderName) -> bool) {
    // Most heads have none of them, and finding that out costs less than looking for each.
    if !headers.keys().any(|name| ALWAYS.contains(name)) {
        return;
    }

    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers.contains_key(CONNECTION) {
        for name in named_by_connection(headers) {
            if !is_end_to_end(&name) {
                headers.remove(name);
            }
        }
    }
    for name in &ALWAYS {
        headers.remove(name);
    }
}

/// Removes every header for which `is_removed` returns true. Most heads have none, and cost no
/// allocation.
pub fn remove_headers(headers: &mut HeaderMap, is_removed: impl Fn(&HeaderName) -> bool) {
    let removed: Vec<_> = headers
        .keys()
        .filter(|name| is_removed(name))
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Does in one pass over the fields of a head what [`strip_hop_by_hop`] and [`remove_headers`] do for a
/// map. `is_removed` gets names that belong to no hop.
pub fn strip_fields(
    fields: &mut Fields,
    is_end_to_end: impl Fn(&[u8]) -> bool,
    is_removed: impl Fn(&[u8]) -> bool,
) {
    let has_coding = fields.contains_key(&TRANSFER_ENCODING);
    let mut named = named_by_connection(fields);
    named.retain(|name| !is_of_hop(name.as_str().as_bytes()));

    fields.retain_bytes(|name, _| {
        let is_stripped = is_of_hop(name)
            || (has_coding && name == CONTENT_LENGTH.as_str().as_bytes())
            || (named.iter().any(|hop| hop.as_str().as_bytes() == name) && !is_end_to_end(name));
        !is_stripped && !is_removed(name)
    });
}

/// Returns whether a name is one of [`ALWAYS`].
fn is_of_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

fn named_by_connection(headers: &impl FieldLookup) -> Vec<HeaderName> {
    let values = headers.all_values(&CONNECTION);
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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

    /// Strips a map, and compares what is left with what is left of its fields.
    fn strip_hop_by_hop(headers: &mut HeaderMap, is_end_to_end: impl Fn(&[u8]) -> bool) {
        let mut fields = Fields::from(&*headers);

        super::strip_hop_by_hop(headers, |name| is_end_to_end(name.as_str().as_bytes()));
        strip_fields(&mut fields, is_end_to_end, |_| false);

        assert_eq!(fields.to_http().unwrap(), *headers);
    }

    #[test]
    fn fields_are_removed_by_their_names_too() {
        let mut fields = Fields::from(&headers(&[("te", "trailers"), ("x-a", "1"), ("x-b", "2")]));

        strip_fields(&mut fields, |_| true, |name| name == b"x-a");

        let left: Vec<_> = fields.iter().map(|(name, _)| name).collect();
        assert_eq!(left, ["x-b"]);
    }

    #[test]
    fn every_name_of_the_hop_is_known_as_one() {
        assert!(
            ALWAYS
                .iter()
                .all(|name| is_of_hop(name.as_str().as_bytes()))
        );
        assert!(!is_of_hop(b"host") && !is_of_hop(b"content-length"));
    }

    #[test]
    fn the_headers_of_the_hop_are_removed_and_others_stay() {
        let mut all = headers(&[
            ("connection", "keep-alive, X-Hop"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-hop", "1"),
            ("x-end", "2"),
            ("content-type", "application/json"),
        ]);
        strip_hop_by_hop(&mut all, |_| false);

        assert_eq!(
            all,
            headers(&[("x-end", "2"), ("content-type", "application/json")])
        );
    }

    #[test]
    fn connection_cannot_remove_end_to_end_headers() {
        let mut all = headers(&[
            ("connection", "x-session"),
            ("connection", "x-hop"),
            ("x-session", "1"),
            ("x-hop", "1"),
        ]);
        strip_hop_by_hop(&mut all, |name| name == b"x-session");

        assert_eq!(all, headers(&[("x-session", "1")]));
    }

    #[test]
    fn a_length_beside_a_transfer_encoding_is_removed() {
        let mut both = headers(&[("content-length", "5"), ("transfer-encoding", "chunked")]);
        strip_hop_by_hop(&mut both, |_| true);

        assert_eq!(both, headers(&[]));
    }

    #[test]
    fn nonsense_in_connection_is_harmless() {
        let mut all = headers(&[("connection", ",, ;;= ,close"), ("a", "1")]);
        strip_hop_by_hop(&mut all, |_| false);

        assert_eq!(all, headers(&[("a", "1")]));
    }
}
