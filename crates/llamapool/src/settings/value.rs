//! Values that only llamapool has: ids, names, secrets, numbers of the tunnel.

use llamapool_settings::value::{expected, items, non_blank, secret_text, size_within};
use llamapool_settings::{Syntax, ValueError, ValueType};
use llamapool_wire::{DisplayName, RelayId, Secret};

/// Largest number of the tunnel's settings: the largest window of HTTP/2.
const MAX_TUNNEL_NUMBER: u64 = (1 << 31) - 1;
/// Smallest window of a stream. Smaller ones cost a round trip for every small chunk.
const MIN_WINDOW_BYTES: u64 = 64 * 1024;
/// Smallest bound of headers that leaves room for those that every call has.
const MIN_HEADER_BYTES: u64 = 1024;

/// A key or token.
pub(super) const SECRET: ValueType<Secret> = ValueType {
    syntax: Syntax::Secret,
    parse: |text| secret_text(text).map(Secret::new),
};
/// An id, `None` if the text is blank.
pub(super) const ID: ValueType<Option<RelayId>> = ValueType {
    syntax: Syntax::Text,
    parse: id,
};
/// A display name.
pub(super) const NAME: ValueType<DisplayName> = ValueType {
    syntax: Syntax::Text,
    parse: |text| Ok(DisplayName::new(text.trim())),
};
/// The flow-control window of a stream, in bytes.
pub(super) const WINDOW_BYTES: ValueType<u32> = ValueType {
    syntax: Syntax::Size,
    parse: |text| tunnel_size(text, MIN_WINDOW_BYTES),
};
/// The largest headers of a call, in bytes.
pub(super) const HEADER_BYTES: ValueType<u32> = ValueType {
    syntax: Syntax::Size,
    parse: |text| tunnel_size(text, MIN_HEADER_BYTES),
};
/// A number of streams in a tunnel.
pub(super) const STREAMS: ValueType<u32> = ValueType {
    syntax: Syntax::Count,
    parse: streams,
};

fn id(text: &str) -> Result<Option<RelayId>, ValueError> {
    match non_blank(text) {
        None => Ok(None),
        Some(id) => id
            .parse()
            .map(Some)
            .or_else(|_| expected("1 to 128 of A-Z a-z 0-9 - _ . ~, not . or ..")),
    }
}

fn tunnel_size(text: &str, min: u64) -> Result<u32, ValueError> {
    let size = size_within(text, min, MAX_TUNNEL_NUMBER)?;
    u32::try_from(size)
        .or_else(|_| expected(format!("a size of at most {MAX_TUNNEL_NUMBER} bytes")))
}

fn streams(text: &str) -> Result<u32, ValueError> {
    match text.trim().parse::<u32>() {
        Ok(count) if count >= 1 && u64::from(count) <= MAX_TUNNEL_NUMBER => Ok(count),
        _ => expected(format!("a whole number, 1 to {MAX_TUNNEL_NUMBER}")),
    }
}

/// Returns whether a text can be the name of a model.
pub(super) fn is_model_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

/// Parses patterns of names of models, separated by commas or one a line.
pub(crate) fn model_patterns(text: &str) -> Result<Vec<&str>, ValueError> {
    let patterns: Vec<_> = text.lines().flat_map(items).collect();
    let is_pattern = |pattern: &&str| is_model_name(pattern.trim_start_matches('!'));
    if !patterns.iter().all(is_pattern) {
        return expected("names of models, with * for any text and ! in front to leave some out");
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_bounds() {
        assert_eq!((WINDOW_BYTES.parse)("64KiB"), Ok(65_536));
        assert_eq!((WINDOW_BYTES.parse)("2147483647"), Ok(2_147_483_647));
        assert!((WINDOW_BYTES.parse)("65535").is_err());
        assert!((WINDOW_BYTES.parse)("2GiB").is_err());
    }

    #[test]
    fn a_number_of_streams_has_bounds() {
        assert_eq!(streams("1"), Ok(1));

        for bad in ["", "-1", "0", "1.0", "many", "2147483648"] {
            assert!(streams(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_blank_id_is_none() {
        assert_eq!(id(" "), Ok(None));
        assert_eq!(id(" a ").unwrap().unwrap().as_str(), "a");
        assert!(id("a/b").is_err());
    }
}
