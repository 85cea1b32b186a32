//! The tag of a caller: two numbers by which a relay can count what each caller holds, without
//! getting to know the caller.

use http::HeaderValue;

/// The digits of one number, and between the two a dot.
const DIGITS: usize = 16;
const LENGTH: usize = 2 * DIGITS + 1;

/// The tag of a caller. The numbers are hashes with a key that every run of a server draws anew:
/// equal callers have equal numbers, and nothing else follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerTag {
    network: u64,
    credentials: u64,
}

impl CallerTag {
    /// A caller of this network with these credentials. Without credentials the two numbers are
    /// the same.
    pub fn new(network: u64, credentials: Option<u64>) -> Self {
        Self {
            network,
            credentials: credentials.unwrap_or(network),
        }
    }

    /// Returns the number of the network that the caller calls from.
    pub fn network(self) -> u64 {
        self.network
    }

    /// Returns the number of network and credentials together, `None` without credentials.
    pub fn credentials(self) -> Option<u64> {
        (self.credentials != self.network).then_some(self.credentials)
    }

    /// Parses the value of a [`crate::header::CALLER`] header, `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() == LENGTH)?;
        let (network, credentials) = text.split_once('.')?;
        let number = |digits: &str| {
            let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let is_whole = digits.len() == DIGITS && is_number;
            is_whole.then(|| u64::from_str_radix(digits, 16).ok())?
        };

        Some(Self {
            network: number(network)?,
            credentials: number(credentials)?,
        })
    }

    /// Returns the value of a [`crate::header::CALLER`] header.
    pub fn to_header(self) -> HeaderValue {
        let mut text = [b'.'; LENGTH];
        write_digits(&mut text[..DIGITS], self.network);
        write_digits(&mut text[DIGITS + 1..], self.credentials);

        // Digits and a dot are valid in a header.
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Writes a number as hexadecimal digits. It runs once for each call, and formatting would cost a
/// multiple of it.
fn write_digits(digits: &mut [u8], number: u64) {
    for (digit, shift) in digits.iter_mut().rev().zip((0..).step_by(4)) {
        *digit = b"0123456789abcdef"[(number >> shift) as usize & 0xf];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_exactly_these_bytes_and_is_parsed_back() {
        for (tag, bytes) in [
            (
                CallerTag::new(0x0123_4567_89ab_cdef, Some(1)),
                "0123456789abcdef.0000000000000001",
            ),
            (
                CallerTag::new(u64::MAX, None),
                "ffffffffffffffff.ffffffffffffffff",
            ),
        ] {
            assert_eq!(tag.to_header(), bytes);
            assert_eq!(
                CallerTag::parse(tag.to_header().to_str().unwrap()),
                Some(tag)
            );
        }
        assert_eq!(CallerTag::new(7, None).credentials(), None);
        assert_eq!(CallerTag::new(7, Some(8)).credentials(), Some(8));
    }

    #[test]
    fn other_values_are_no_tags() {
        for bad in [
            "",
            ".",
            "0123456789abcdef",
            "0123456789abcdef.000000000000001",
            "0123456789abcdef.00000000000000001",
            "0123456789abcdefg.00000000000000",
            "+123456789abcdef.0000000000000001",
            "0123456789abcdef-0000000000000001",
            "0123456789abcd.000000000000000001",
        ] {
            assert_eq!(CallerTag::parse(bad), None, "{bad}");
        }
    }
}
