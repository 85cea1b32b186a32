//! The names that certificates are ordered for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The most bytes of a DNS name (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
/// The most bytes of one of its labels.
const MAX_LABEL: usize = 63;

/// A DNS name in lower case, without a wildcard and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// The reason why no certificate can be ordered for a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainNameError {
    /// The text is an address.
    #[error("{0:?} is an IP address, expected a DNS name such as pool.example")]
    Address(String),
    /// The text has a wildcard.
    #[error(
        "{0:?} is a wildcard, which an authority checks by DNS records alone, expected a full DNS \
         name such as pool.example"
    )]
    Wildcard(String),
    /// The text is no name of a public host.
    #[error(
        "{0:?} is no DNS name, expected two labels or more of letters, digits and hyphens, such as \
         pool.example"
    )]
    Invalid(String),
}

impl DomainName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    fn from_str(text: &str) -> Result<Self, DomainNameError> {
        if text.parse::<IpAddr>().is_ok() {
            return Err(DomainNameError::Address(text.to_owned()));
        }
        if text.contains('*') {
            return Err(DomainNameError::Wildcard(text.to_owned()));
        }

        let is_valid =
            text.len() <= MAX_NAME && text.contains('.') && text.split('.').all(is_label);
        if is_valid {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(DomainNameError::Invalid(text.to_owned()))
        }
    }
}

fn is_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(is_inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Returns the names in one text, for messages.
pub(super) fn list(names: &[DomainName]) -> String {
    let names: Vec<&str> = names.iter().map(DomainName::as_str).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_public_host() {
        let name: DomainName = "Pool-1.EXAMPLE".parse().unwrap();
        assert_eq!(name.as_str(), "pool-1.example");

        let long = format!("{}.example", "a".repeat(64));
        for wrong in [
            "",
            "localhost",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.example",
            "pool.example.",
            "https://pool.example",
            "pool.example:443",
            "pöl.example",
            &long,
        ] {
            let error = wrong.parse::<DomainName>().unwrap_err();
            assert_eq!(error, DomainNameError::Invalid(wrong.to_owned()));
        }
    }

    #[test]
    fn addresses_and_wildcards_are_refused_with_a_reason() {
        let error = |text: &str| text.parse::<DomainName>().unwrap_err().to_string();

        assert!(error("203.0.113.7").contains("is an IP address"));
        assert!(error("2001:db8::1").contains("is an IP address"));
        assert!(error("*.pool.example").contains("by DNS records alone"));
    }
}
