//! Keys and tokens that can be guessed.

use llamapool_wire::Secret;

/// The fewest characters of a key that is no word: 16 random ones of 64 have 96 bits.
pub(crate) const LEAST_CHARS: usize = 16;

/// Returns whether a key can be guessed.
pub(crate) fn is_weak(key: &Secret) -> bool {
    key.expose().chars().count() < LEAST_CHARS
}

/// Warns of keys that can be guessed, by the names of their settings. Only for what other machines
/// reach.
pub(crate) fn warn<'a>(keys: impl IntoIterator<Item = (&'static str, Option<&'a Secret>)>) {
    for (name, key) in keys {
        if key.is_some_and(is_weak) {
            tracing::warn!(
                setting = name,
                "a key of fewer than {LEAST_CHARS} characters can be guessed: use a long random one, \
                 such as the output of `openssl rand -hex 24`"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_weak_and_generated_keys_are_not() {
        for weak in ["test123", "secret", "fifteen-letters"] {
            assert!(is_weak(&Secret::new(weak)), "{weak}");
        }
        assert!(!is_weak(&Secret::new("sixteen-letters!")));
        assert!(!is_weak(&Secret::random()));
    }
}
