//! Texts as parts of HTTP messages, for the fuzz targets.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A message: its first line, its headers, and its body behind the first empty line.
pub struct Parts<'a> {
    /// The first line.
    pub line: &'a str,
    /// The headers of the lines that are some.
    pub headers: HeaderMap,
    /// Everything behind the first empty line.
    pub body: &'a [u8],
}

/// Splits bytes into the parts of a message. `None` if its head is not UTF-8.
pub fn parts(data: &[u8]) -> Option<Parts<'_>> {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &b""[..]),
    };

    let mut lines = std::str::from_utf8(head).ok()?.split('\n');
    let line = lines.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            name.parse::<HeaderName>(),
            HeaderValue::from_str(value.trim()),
        ) {
            headers.append(name, value);
        }
    }
    Some(Parts {
        line,
        headers,
        body,
    })
}
