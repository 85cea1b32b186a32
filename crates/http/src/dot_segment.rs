//! Paths that could lead up, however they are spelt.
//!
//! A path below a provider's URL must stay there, whatever the provider and the proxies before it
//! make of it: some decode twice, some cut parameters off at a `;`, some take a `\` for a `/`, some
//! accept overlong UTF-8 or map fullwidth characters to ASCII. The check follows all of them at once
//! and errs on the side of refusing. It changes nothing: a path that passes is forwarded as it came.

/// How often a path is decoded. A path that still changes then has no honest purpose.
const MAX_ROUNDS: usize = 8;

/// Returns whether a path has a segment that a reader could take for `.` or `..`, or a NUL, at which
/// some readers cut a path off.
pub fn has_dot_segment(path: &str) -> bool {
    // Nothing else can become a dot.
    let is_plain = |byte: &u8| !matches!(byte, b'.' | b'%' | 0x80..);
    if path.as_bytes().iter().all(is_plain) {
        return false;
    }

    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..MAX_ROUNDS {
        let ascii = to_ascii(&bytes);
        if ascii.contains(&0) || ascii.split(|byte| b"/\\".contains(byte)).any(is_dots) {
            return true;
        }
        let decoded = percent_decode(&ascii);
        if decoded == bytes {
            return false;
        }
        bytes = decoded;
    }
    true
}

/// Returns whether a segment is `.` or `..`, apart from parameters, from what would begin a query or
/// a fragment once it is decoded, and from spaces and control characters, which some readers drop.
fn is_dots(segment: &[u8]) -> bool {
    let end = segment
        .iter()
        .position(|byte| b";?#".contains(byte))
        .unwrap_or(segment.len());
    let name = segment[..end].iter();
    let mut visible = name.filter(|byte| **byte > b' ' && **byte != 0x7f);
    let is_dot = |byte: Option<&u8>| byte == Some(&b'.');
    is_dot(visible.next())
        && visible.next().is_none_or(|&byte| byte == b'.')
        && visible.next().is_none()
}

/// Replaces what some readers take for a character of ASCII: overlong UTF-8, fullwidth forms, and
/// other characters that look like dots and slashes.
fn to_ascii(bytes: &[u8]) -> Vec<u8> {
    let mut ascii = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, more)) = rest.split_first() {
        if first < 0x80 {
            ascii.push(first);
            rest = more;
        } else {
            let (text, length) = similar(rest);
            ascii.extend_from_slice(text);
            rest = &rest[length..];
        }
    }
    ascii
}

/// Returns the ASCII characters that the character at the beginning of `bytes` may be taken for, or
/// its bytes, and their number.
fn similar(bytes: &[u8]) -> (&[u8], usize) {
    // Overlong forms: the bits of an ASCII character in two bytes, or behind zeros in more.
    let (length, overlong) = match *bytes {
        [0xc0 | 0xc1, second, ..] => (2, Some((bytes[0] << 6) | (second & 0x3f))),
        [0xe0, 0x80 | 0x81, third, ..] => (3, Some((bytes[1] << 6) | (third & 0x3f))),
        [0xf0, 0x80, 0x80 | 0x81, fourth, ..] => (4, Some((bytes[2] << 6) | (fourth & 0x3f))),
        _ => (0, None),
    };
    if let Some(character) = overlong {
        return (ascii_text(character & 0x7f), length);
    }

    match *bytes {
        // U+FF01 to U+FF5E, fullwidth forms of U+0021 to U+007E.
        [0xef, 0xbc, third @ 0x81..=0xbf, ..] => (ascii_text(third - 0x80 + 0x20), 3),
        [0xef, 0xbd, third @ 0x80..=0x9e, ..] => (ascii_text(third - 0x80 + 0x60), 3),
        // U+2024 one dot leader, U+FE52 small full stop, U+3002 and U+FF61 ideographic full stops.
        [0xe2, 0x80, 0xa4, ..]
        | [0xef, 0xb9, 0x92, ..]
        | [0xe3, 0x80, 0x82, ..]
        | [0xef, 0xbd, 0xa1, ..] => (b".", 3),
        // U+2025 two dot leader.
        [0xe2, 0x80, 0xa5, ..] => (b"..", 3),
        // U+2044 fraction slash, U+2215 division slash, U+29F8 big solidus.
        [0xe2, 0x81, 0x84, ..] | [0xe2, 0x88, 0x95, ..] | [0xe2, 0xa7, 0xb8, ..] => (b"/", 3),
        // U+2216 set minus, U+29F5 reverse solidus operator, U+FE68 small reverse solidus.
        [0xe2, 0x88, 0x96, ..] | [0xe2, 0xa7, 0xb5, ..] | [0xef, 0xb9, 0xa8, ..] => (b"\\", 3),
        // U+FE6A small percent sign.
        [0xef, 0xb9, 0xaa, ..] => (b"%", 3),
        _ => (&bytes[..1], 1),
    }
}

/// Returns an ASCII character as a text.
fn ascii_text(character: u8) -> &'static [u8] {
    const ALL: [u8; 128] = {
        let mut all = [0; 128];
        let mut character = 0;
        while character < all.len() {
            all[character] = character as u8;
            character += 1;
        }
        all
    };
    let at = usize::from(character);
    ALL.get(at..=at).unwrap_or_default()
}

/// Decodes `%2e`, and `%u002e` as some servers do.
fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, more)) = rest.split_first() {
        rest = more;
        let escape = match (first, more) {
            (b'%', [b'u' | b'U', digits @ ..]) => hex(digits, 4).map(|code| (code, 5)),
            (b'%', digits) => hex(digits, 2).map(|code| (code, 2)),
            _ => None,
        };
        let Some((code, length)) = escape else {
            decoded.push(first);
            continue;
        };

        rest = &more[length..];
        match u8::try_from(code) {
            Ok(byte) => decoded.push(byte),
            Err(_) => {
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    decoded
}

/// Returns the number in the first `count` hexadecimal digits.
fn hex(digits: &[u8], count: usize) -> Option<u32> {
    let digits = digits.get(..count)?;
    digits.iter().try_fold(0, |number, &digit| {
        Some(number << 4 | char::from(digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_dot_segment_is_found() {
        for path in [
            ".",
            "..",
            "/a/..",
            "/a/./b",
            "/a/%2E%2e/b",
            "/a/.%2e",
            "/a%2f..%2fb",
            "/..%5Cb",
            "/a\\..\\b",
            "/..;/b",
            "/..;v=1/b",
            "/..%3bv/b",
            "/%252e%252e/b",
            "/%25252e%25252e/b",
            "/..%00/b",
            "/a%00",
            "/..%20/b",
            "/.%09./b",
            "/..%3fx",
            "/..%23x",
            "/%c0%ae%c0%ae/b",
            "/..%c0%afb",
            "/..%c1%9cb",
            "/%e0%80%ae%e0%80%ae/b",
            "/%f0%80%80%ae./b",
            "/%ef%bc%8e%ef%bc%8e/b",
            "/．．/b",
            "/..／b",
            "/‥/b",
            "/․․/b",
            "/。。/b",
            "/%u002e%u002e/b",
            "/%uff0e%uff0e/b",
            "/％2e％2e/b",
            "/..%u2216b",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn paths_that_lead_nowhere_else_pass() {
        for path in [
            "",
            "/",
            "//",
            "/a/b.c/.well-known/x",
            "/...",
            "/a..b",
            "/..a/b..",
            "/a;b=..;c",
            "/grüße/%F0%9F%A6%99",
            "/100%",
            "/%zz%2",
            "/a%2fb%5cc",
            "/a%3f..b",
            "/v1.2;x/~announced/messages/",
            "/%e2%80%a6",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn a_path_that_never_stops_changing_is_refused() {
        assert!(has_dot_segment(&format!("/%{}41", "25".repeat(20))));
    }

    proptest! {
        #[test]
        fn no_path_makes_the_check_panic(path in "(\\.|%|u|2|e|5|;|/|\\\\|．|é|c0|ae|ef|bc)*") {
            let _ = has_dot_segment(&path);
        }

        #[test]
        fn a_path_of_plain_segments_passes(path in "(/[a-z0-9~_-]{1,8}(\\.[a-z]{1,3})?){0,5}") {
            prop_assert!(!has_dot_segment(&path));
        }
    }
}
