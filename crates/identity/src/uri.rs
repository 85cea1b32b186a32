//! A strict reading of URIs. Nothing is normalised: a spelling that a browser would change before it
//! goes there is refused, so that what was compared is what is used.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest URI, in bytes.
pub(crate) const MAX_URI_BYTES: usize = 2048;
/// The longest name of a host, in bytes (RFC 1035, 2.3.4).
const MAX_HOST_BYTES: usize = 253;
/// The longest label of a host, in bytes.
const MAX_LABEL_BYTES: usize = 63;

/// The parts of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UriParts<'a> {
    /// As it is spelled.
    pub(crate) scheme: &'a str,
    /// As it is spelled, IPv6 addresses in brackets; `None` without `//`.
    pub(crate) host: Option<&'a str>,
    pub(crate) port: Option<u16>,
    /// With its slash; empty if there is none.
    pub(crate) path: &'a str,
    /// All behind the host and the port.
    pub(crate) rest: &'a str,
    pub(crate) query: Option<&'a str>,
}

/// The reasons why a text is no URI that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// It is empty or too long.
    #[error("expected 1 to {MAX_URI_BYTES} bytes")]
    Length,
    /// It has a character that URIs do not have, a star or a backslash.
    #[error("the character {0:?} is not allowed")]
    Character(char),
    /// It has a fragment.
    #[error("a fragment is not allowed")]
    Fragment,
    /// It has no scheme.
    #[error("expected a scheme in front")]
    Scheme,
    /// There is a user in front of the host.
    #[error("user information is not allowed")]
    UserInfo,
    /// The host is missing, or not spelled as browsers spell it.
    #[error("the host is not valid")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the port is not valid")]
    Port,
    /// The path has a segment `.` or `..`.
    #[error("dot segments are not allowed")]
    DotSegment,
    /// A percent sign without two hexadecimal digits, or one that hides a dot, a slash, a backslash or
    /// a control character.
    #[error("a percent-encoding is not allowed there")]
    Escape,
}

impl<'a> UriParts<'a> {
    /// Reads a URI.
    pub(crate) fn parse(text: &'a str) -> Result<Self, UriError> {
        if text.is_empty() || text.len() > MAX_URI_BYTES {
            return Err(UriError::Length);
        }
        if text.contains('#') {
            return Err(UriError::Fragment);
        }
        if let Some(other) = text.chars().find(|c| !is_uri_character(*c)) {
            return Err(UriError::Character(other));
        }

        let (scheme, behind) = text.split_once(':').ok_or(UriError::Scheme)?;
        if !is_scheme(scheme) {
            return Err(UriError::Scheme);
        }
        let (authority, rest) = match behind.strip_prefix("//") {
            None => (None, behind),
            Some(behind) => {
                let end = behind.find(['/', '?']).unwrap_or(behind.len());
                let (authority, rest) = behind.split_at(end);
                (Some(authority), rest)
            }
        };
        let (host, port) = match authority {
            None => (None, None),
            Some(authority) => {
                let (host, port) = host_and_port(authority)?;
                (Some(host), port)
            }
        };

        let (path, query) = match rest.split_once('?') {
            None => (rest, None),
            Some((path, query)) => (path, Some(query)),
        };
        check_path(path)?;
        check_escapes(query.unwrap_or_default(), |byte| byte.is_ascii_control())?;
        Ok(Self {
            scheme,
            host,
            port,
            path,
            rest,
            query,
        })
    }
}

/// Returns whether a character may stand in a URI (RFC 3986, 2), the star excepted.
fn is_uri_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?[]@!$&'()+,;=%".contains(c)
}

fn is_scheme(scheme: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(is_letter)
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), UriError> {
    if authority.contains('@') {
        return Err(UriError::UserInfo);
    }
    let end_of_address = authority.find(']').map_or(0, |at| at + 1);
    let (address, behind) = authority.split_at(end_of_address);
    let (name, port) = match behind.split_once(':') {
        None => (behind, None),
        Some((name, port)) => (name, Some(port)),
    };

    let host = match (address, name) {
        ("", name) => name,
        (address, "") => address,
        _ => return Err(UriError::Host),
    };
    if !is_host(host) {
        return Err(UriError::Host);
    }
    let port = port.map(parsed_port).transpose()?;
    Ok((host, port))
}

fn parsed_port(digits: &str) -> Result<u16, UriError> {
    let is_canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let port = digits.parse().ok().filter(|_| is_canonical);
    port.ok_or(UriError::Port)
}

/// Returns whether a host is spelled as browsers spell it, but for the case of its letters.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        let parsed: Result<Ipv6Addr, _> = address.parse();
        return parsed.is_ok_and(|parsed| parsed.to_string() == address);
    }

    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(is_letter)
    };
    if host.len() > MAX_HOST_BYTES || !host.split('.').all(is_label) {
        return false;
    }
    // Browsers read a host that ends in a number as an IPv4 address, in any spelling of one.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.to_ascii_lowercase().starts_with("0x");
    !is_number || host.parse::<Ipv4Addr>().is_ok()
}

fn check_path(path: &str) -> Result<(), UriError> {
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err(UriError::DotSegment);
    }
    check_escapes(path, |byte| {
        byte.is_ascii_control() || matches!(byte, b'.' | b'/' | b'\\')
    })
}

/// Checks that every percent sign is followed by two digits, which stand for nothing hidden.
fn check_escapes(text: &str, is_hidden: impl Fn(u8) -> bool) -> Result<(), UriError> {
    for escape in text.split('%').skip(1) {
        let digits = escape.get(..2).ok_or(UriError::Escape)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        if byte.is_none_or(&is_hidden) {
            return Err(UriError::Escape);
        }
    }
    Ok(())
}
