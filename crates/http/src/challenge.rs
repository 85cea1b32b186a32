//! The parameters of challenges in a `WWW-Authenticate` header (RFC 9110, section 11.6.1).
//!
//! One header may contain several challenges, and a quoted string may contain anything.

use std::ops::Range;

/// Returns the places of a parameter's values in a header, with their quotes.
pub fn parameter_values(parameter: &str, header: &str) -> Vec<Range<usize>> {
    let bytes = header.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            at = end_of_quoted(bytes, at);
            continue;
        }

        let is_start = at == 0 || matches!(bytes[at - 1], b' ' | b',' | b'\t');
        match value_at(parameter, header, at).filter(|_| is_start) {
            Some(value) => {
                at = value.end;
                found.push(value);
            }
            None => at += header[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

/// Returns the text of a value, without quotes and escapes.
pub fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let inner = inner.strip_suffix('"').unwrap_or(inner);

    let mut text = String::new();
    let mut is_escaped = false;
    for character in inner.chars() {
        is_escaped = character == '\\' && !is_escaped;
        if !is_escaped {
            text.push(character);
        }
    }
    text
}

/// Returns the place of the parameter's value if the parameter's name begins at `at`.
fn value_at(parameter: &str, header: &str, at: usize) -> Option<Range<usize>> {
    let rest = &header[at..];
    let name = rest.get(..parameter.len())?;
    let value = rest[parameter.len()..]
        .trim_start()
        .strip_prefix('=')?
        .trim_start();
    if !name.eq_ignore_ascii_case(parameter) {
        return None;
    }

    let start = header.len() - value.len();
    let end = if value.starts_with('"') {
        end_of_quoted(header.as_bytes(), start)
    } else {
        start + value.find([',', ' ', '\t']).unwrap_or(value.len())
    };
    Some(start..end)
}

/// Returns the place behind the quoted string that begins at `start`.
fn end_of_quoted(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(header: &str) -> Vec<String> {
        parameter_values("place", header)
            .into_iter()
            .map(|value| unquote(&header[value]))
            .collect()
    }

    #[test]
    fn values_are_found_in_every_spelling_outside_of_quotes() {
        for (header, expected) in [
            (
                r#"Bearer place="http://p/m", scope="a b""#,
                &["http://p/m"][..],
            ),
            (r#"Bearer error="x", Place = http://p/m"#, &["http://p/m"]),
            (r#"Bearer place=http://p/m,scope=a"#, &["http://p/m"]),
            (
                r#"Bearer place="a", DPoP algs="ES256", PLACE = "b",Basic realm=x, place=c"#,
                &["a", "b", "c"],
            ),
            (r#"Bearer realm="say \"place=x\"", a=b"#, &[]),
            (r#"Bearer no_place="x", places=y"#, &[]),
            (r#"Bearer place="a\"b\\c""#, &[r#"a"b\c"#]),
            ("place", &[]),
            ("place=", &[""]),
            ("Bearer place=\"open", &["open"]),
        ] {
            assert_eq!(values(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_header_holds_makes_it_panic(header in "(place|=|\"|\\\\|,| |é|x)*") {
            for value in parameter_values("place", &header) {
                unquote(&header[value]);
            }
        }
    }
}
