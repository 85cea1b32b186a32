//! The id of a request in the logs of every hop, on every answer, and on the call to the provider.

use axum::http::{Extensions, HeaderValue};
use llamapool_head::FieldLookup;
use llamapool_wire::header as wire;

/// The longest request id that is taken over from a caller, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The id of a request: the caller's own if it is valid, or a new one.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// Returns the id of the request with these headers.
    pub(crate) fn of(headers: &impl FieldLookup) -> Self {
        let sent = headers.text_of(&wire::REQUEST_ID);
        let is_valid = |id: &&str| {
            !id.is_empty()
                && id.len() <= MAX_REQUEST_ID_BYTES
                && id.bytes().all(|byte| byte.is_ascii_graphic())
        };

        let id = sent.filter(is_valid).map(str::to_owned);
        Self(id.unwrap_or_else(random))
    }

    /// Returns the id of a request that came by the router.
    pub(crate) fn of_routed(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Returns the id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id as the value of a header.
    pub(crate) fn to_value(&self) -> HeaderValue {
        // Both kinds are visible ASCII.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// Returns 32 random hexadecimal digits. It runs once for each call, and formatting would cost a multiple of
/// it.
fn random() -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let number = rand::random::<u128>();
    let mut digits = [0; 32];
    for (digit, shift) in digits.iter_mut().zip((0..128).step_by(4)) {
        *digit = DIGITS[(number >> shift) as usize & 15];
    }
    // Digits are ASCII.
    std::str::from_utf8(&digits).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    fn of(sent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(wire::REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn a_valid_id_is_taken_over_and_any_other_replaced() {
        assert_eq!(of("trace/42"), "trace/42");

        for invalid in ["", "two words", "x\ty", &"x".repeat(129)] {
            let replaced = of(invalid);
            assert!(
                replaced.len() == 32 && replaced != invalid,
                "{invalid:?} became {replaced:?}"
            );
        }

        assert_ne!(
            RequestId::of(&HeaderMap::new()).as_str(),
            RequestId::of(&HeaderMap::new()).as_str()
        );
    }
}
