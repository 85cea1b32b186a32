//! The letters of ids and secrets that people copy: base32 (RFC 4648, 6) in lower case without
//! padding, so that a double click selects all of a text.

use data_encoding::{Encoding, Specification};

/// Returns the encoding.
pub(crate) fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification
        .encoding()
        .unwrap_or(data_encoding::BASE32_NOPAD)
}
