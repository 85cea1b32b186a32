//! HTTP headers for a provider.
//!
//! An error never contains the value of a header, which may be a key.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use llamapool_settings::value::expected;
use llamapool_settings::{Syntax, ValueError, ValueType};

/// Headers that belong to one connection or frame one message, and so never to a provider.
const REFUSED: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Most characters of a header's name that an error shows.
const MAX_SHOWN_NAME_CHARS: usize = 40;

/// Headers, one per line.
pub(super) const HEADERS: ValueType<HeaderMap> = ValueType {
    syntax: Syntax::Headers,
    parse: headers,
};

fn headers(text: &str) -> Result<HeaderMap, ValueError> {
    let numbered = text.lines().zip(1..);
    let lines = numbered.filter(|(line, _)| !line.trim().is_empty());

    let mut headers = HeaderMap::new();
    for (line, number) in lines {
        let Some((name, value)) = line.split_once(':') else {
            return expected(format!("`Name: value` in line {number}"));
        };
        let (name, value) = header(name.trim(), value.trim())?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ValueError> {
    let shown: String = name.chars().take(MAX_SHOWN_NAME_CHARS).collect();

    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return expected(format!(
            "`Name: value` lines, {shown:?} is not the name of a header"
        ));
    };
    if REFUSED.contains(&name.as_str()) {
        return expected(format!(
            "headers for the provider, {shown:?} belongs to the connection"
        ));
    }

    let printable = HeaderValue::from_str(value)
        .ok()
        .filter(|_| value.is_ascii());
    let Some(mut value) = printable else {
        return expected(format!("printable ASCII in the value of {shown:?}"));
    };
    value.set_sensitive(true);

    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_and_sensitive() {
        let headers = headers("X-Key: a:b, c\n\n  Accept-Language:de\nX-Key: second").unwrap();

        let keys: Vec<_> = headers.get_all("x-key").iter().collect();
        assert_eq!(keys, ["a:b, c", "second"]);
        assert_eq!(headers["accept-language"], "de");
        assert!(!format!("{headers:?}").contains("second"));
    }

    #[test]
    fn headers_are_refused_by_name_without_their_value() {
        for (bad, named) in [
            ("hunter2", "line 1"),
            ("X Key: hunter2", "\"X Key\""),
            ("X-Key: hunter2\u{1}", "\"X-Key\""),
            ("X-Key: hünter2", "\"X-Key\""),
            ("Host: hunter2", "\"Host\""),
            ("content-length: hunter2", "\"content-length\""),
            ("Transfer-Encoding: hunter2", "\"Transfer-Encoding\""),
            ("Keep-Alive: hunter2", "\"Keep-Alive\""),
        ] {
            let ValueError { expected } = headers(bad).unwrap_err();

            assert!(expected.contains(named), "{expected}");
            assert!(!expected.contains("nter2"), "{expected}");
        }
    }
}
