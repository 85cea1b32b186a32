//! The URIs by which is decided: only such that no provider reads as another one.

/// Checks that a URI has one meaning as it is written: a provider that normalizes it (RFC 3986, 6.2)
/// finds nothing to change.
///
/// # Errors
///
/// The first part that a provider could read as another one.
pub(super) fn check_plain(uri: &str) -> Result<(), String> {
    let (scheme, rest) = uri
        .split_once(':')
        .ok_or_else(|| "the resource is no URI: it has no scheme".to_owned())?;
    if scheme.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the scheme of the resource has an upper-case letter".to_owned());
    }
    if uri.contains(['\\', ' ', '\t']) {
        return Err("the resource has a backslash or a space".to_owned());
    }
    check_escapes(uri)?;

    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the host of the resource has an upper-case letter".to_owned());
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let name = segment.split(';').next().unwrap_or_default();
        let is_last = segments.peek().is_none();
        if matches!(name, "." | "..") || (segment.is_empty() && !is_last) {
            return Err("the path of the resource has an empty or a dot segment".to_owned());
        }
    }
    if matches!(path.split('/').next(), Some("." | "..")) {
        return Err("the path of the resource begins with a dot segment".to_owned());
    }
    Ok(())
}

/// Checks that nothing is escaped that needs no escape, and no separator is.
fn check_escapes(uri: &str) -> Result<(), String> {
    for after in uri.split('%').skip(1) {
        let hex = after.get(..2);
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let is_needed = byte.is_some_and(|byte| {
            let is_unreserved =
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            !is_unreserved && !matches!(byte, b'/' | b'\\' | b'%' | 0..=31 | 127)
        });
        let is_upper =
            hex.is_some_and(|hex| !hex.contains(|digit: char| digit.is_ascii_lowercase()));
        if !is_needed || !is_upper {
            return Err("the resource has an escape that could be written otherwise".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_as_it_is_mostly_written_is_plain() {
        for uri in [
            "file:///docs/a.md",
            "file:///docs/",
            "https://example.com:8443/a/b?c=../d#e",
            "memo://insights",
            "memo:insights/1",
            "test://template/{id}/data",
            "file:///docs/a%20b%C3%A4.md",
            "file:///docs/ä",
            "urn:example:a.b..c",
        ] {
            assert_eq!(check_plain(uri), Ok(()), "{uri}");
        }
    }

    #[test]
    fn a_uri_that_could_be_read_as_another_one_is_refused() {
        for uri in [
            "docs/a.md",
            "FILE:///docs/a",
            "https://EXAMPLE.com/a",
            "file:///docs/../secret",
            "file:///docs/./a",
            "file:///docs/..",
            "file:///docs/..;x/a",
            "file:///docs//a",
            "file:////docs/a",
            "file:///docs/%2e%2e/secret",
            "file:///docs/%2E%2E/secret",
            "file:///docs%2Fa",
            "file:///docs/..%5Csecret",
            "file:///docs\\..\\secret",
            "file:///%64ocs/a",
            "file:///docs/a%c3%a4",
            "file:///docs/a%",
            "file:///docs/%252e",
            "file:///docs/a%00",
            "file:///docs/a b",
            "memo:../a",
        ] {
            assert!(check_plain(uri).is_err(), "{uri}");
        }
    }
}
