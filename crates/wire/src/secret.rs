//! Keys and tokens: texts that never show themselves.

use std::fmt;

use subtle::ConstantTimeEq;

/// A key or token. It is never shown by `Debug`, has no `Display`, and is compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new random secret with 192 bits, for a key that nobody set.
    pub fn random() -> Self {
        Self(format!("{:032x}{:016x}", rand::random::<u128>(), rand::random::<u64>()))
    }

    /// The text itself. Every call of this is a place where the secret leaves: into a header, or into the log line
    /// that shows a generated key once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a presented text is this secret. Takes as long for a wrong text as for the right one; only the
    /// length can be told from the time.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_alone_and_never_shows() {
        let secret = Secret::new("open sesame");
        assert!(secret.matches(b"open sesame"));
        assert!(!secret.matches(b"open sesamf"));
        assert!(!secret.matches(b"open sesame "));
        assert!(!secret.matches(b""));
        assert!(!format!("{secret:?}").contains("sesame"));
        assert_eq!(Secret::random().expose().len(), 48);
        assert_ne!(Secret::random().expose(), Secret::random().expose());
    }
}
