//! Keys and tokens: texts that are never shown.

use std::fmt;

use http::header;
use llamapool_head::FieldLookup;
use subtle::ConstantTimeEq;

/// A key or token. It is never shown by `Debug`, has no `Display`, and is compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns a new secret with 192 random bits, for a key that is not configured.
    pub fn random() -> Self {
        Self(format!(
            "{:032x}{:016x}",
            rand::random::<u128>(),
            rand::random::<u64>()
        ))
    }

    /// Returns the text. Every use of this is a place where the secret leaves: into a header, or into the
    /// log line that shows a generated key once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether a presented text is this secret. A wrong text takes as long as the right one; the
    /// time depends on the length alone.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }

    /// Returns whether headers present this secret as a `Bearer` token in their only `Authorization`.
    pub fn is_presented_in(&self, headers: &impl FieldLookup) -> bool {
        let mut values = headers.all_values(&header::AUTHORIZATION);
        let token = values.next().and_then(|value| bearer(value.as_bytes()));
        let is_only_one = values.next().is_none();

        is_only_one && token.is_some_and(|token| self.matches(token))
    }
}

/// Returns the token of a `Bearer` authorization, `None` for another scheme. The scheme's case does not
/// matter (RFC 9110, 11.1).
pub fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then_some(token.trim_ascii())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn a_secret_matches_itself_alone_and_is_never_shown() {
        let secret = Secret::new("open sesame");

        assert!(secret.matches(b"open sesame"));
        assert!(!secret.matches(b"open sesamf"));
        assert!(!secret.matches(b"open sesame "));
        assert!(!secret.matches(b""));
        assert!(!format!("{secret:?}").contains("sesame"));
        assert_eq!(Secret::random().expose().len(), 48);
        assert_ne!(Secret::random().expose(), Secret::random().expose());
    }

    #[test]
    fn a_secret_is_presented_once_as_a_bearer_token() {
        let is_presented = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            Secret::new("sesame").is_presented_in(&headers)
        };

        for right in ["Bearer sesame", "bearer sesame", "BEARER  sesame "] {
            assert!(is_presented(&[right]), "{right}");
        }
        for wrong in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["sesame"],
            &["Basic sesame"],
            &["Bearer Sesame"],
        ] {
            assert!(!is_presented(wrong), "{wrong:?}");
        }
        assert!(!is_presented(&["Bearer sesame", "Bearer sesame"]));
    }
}
