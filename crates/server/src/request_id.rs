//! The id of a request in the logs of every hop, on every answer, and on the call to the provider.

use axum::http::{HeaderMap, HeaderValue};
use llamapool_wire::header as wire;

/// The longest request id that is taken over from a caller, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The id of a request: the caller's own if it is fit, or a new one.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// The id of the request with these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers
            .get(wire::REQUEST_ID)
            .and_then(|value| value.to_str().ok());
        let is_fit = |id: &&str| {
            !id.is_empty()
                && id.len() <= MAX_REQUEST_ID_BYTES
                && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        Self(
            given
                .filter(is_fit)
                .map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned),
        )
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn to_value(&self) -> HeaderValue {
        // Both kinds are visible ASCII.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(wire::REQUEST_ID, HeaderValue::from_str(given).unwrap());
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn a_fit_id_is_taken_over_and_any_other_replaced() {
        assert_eq!(of("trace/42"), "trace/42");
        for unfit in ["", "two words", "x\ty", &"x".repeat(129)] {
            let replaced = of(unfit);
            assert!(
                replaced.len() == 32 && replaced != unfit,
                "{unfit:?} became {replaced:?}"
            );
        }
        assert_ne!(
            RequestId::of(&HeaderMap::new()).as_str(),
            RequestId::of(&HeaderMap::new()).as_str()
        );
    }
}
