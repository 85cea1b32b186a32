//! Which JSON-RPC method a call is for: learnt in passing, for counting alone, never for deciding.
//!
//! Methods come from callers, so they are mapped to a fixed list; what is not in it counts as `other`.

/// A method, as an index into [`LABELS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Method(u8);

/// All that is told apart: the requests and notifications that clients send in any MCP revision, HTTP methods that
/// carry no message, and three kinds of messages without a method of their own.
pub(crate) const LABELS: [&str; 37] = [
    "other",
    "batch",
    "response",
    "GET",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "initialize",
    "ping",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/update",
    "tasks/cancel",
    "server/discover",
    "subscriptions/listen",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "notifications/elicitation/complete",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
];

/// How much of a body is looked at.
pub(crate) const LOOK_BYTES: usize = 1024;

impl Method {
    /// Anything else.
    pub(crate) const OTHER: Self = Self(0);
    const BATCH: Self = Self(1);
    const RESPONSE: Self = Self(2);

    /// The method that a name stands for.
    pub(crate) fn named(name: &str) -> Self {
        let index = LABELS.iter().position(|label| *label == name);
        Self(index.unwrap_or_default() as u8)
    }

    /// The method with this index.
    pub(crate) fn at(index: u8) -> Self {
        Self(if usize::from(index) < LABELS.len() {
            index
        } else {
            0
        })
    }

    /// Its index.
    pub(crate) fn index(self) -> u8 {
        self.0
    }

    /// Its name.
    pub(crate) fn label(self) -> &'static str {
        LABELS[usize::from(self.0)]
    }

    /// What the beginning of a message says; nothing, if it does not say it yet.
    pub(crate) fn in_message(start: &[u8]) -> Option<Self> {
        let mut scan = Scan { rest: start };
        match scan.next_byte()? {
            b'[' => return Some(Self::BATCH),
            b'{' => {}
            _ => return Some(Self::OTHER),
        }
        loop {
            match scan.next_byte()? {
                b'}' => return Some(Self::RESPONSE),
                b',' => {}
                b'"' => {
                    let is_method = scan.text()? == b"method";
                    if scan.next_byte()? != b':' {
                        return Some(Self::OTHER);
                    }
                    if is_method {
                        let b'"' = scan.next_byte()? else {
                            return Some(Self::OTHER);
                        };
                        return Some(
                            std::str::from_utf8(scan.text()?).map_or(Self::OTHER, Self::named),
                        );
                    }
                    scan.skip_value()?;
                }
                _ => return Some(Self::OTHER),
            }
        }
    }
}

/// Walks over JSON without understanding more of it than where a value ends.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    /// The next byte that is not white space (or a byte order mark).
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            if !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(&byte) {
                return Some(byte);
            }
        }
    }

    /// The inside of a text whose opening quote has been read, escapes as they stand.
    fn text(&mut self) -> Option<&'a [u8]> {
        let mut length = 0;
        loop {
            match self.rest.get(length)? {
                b'"' => break,
                b'\\' => length += 2,
                _ => length += 1,
            }
        }
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = &rest[1..];
        Some(text)
    }

    /// Goes over one value, up to the comma or brace behind it.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match *self.rest.first()? {
                b'"' => {
                    self.rest = &self.rest[1..];
                    self.text()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => return Some(()),
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.rest = &self.rest[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(message: &str) -> Option<&'static str> {
        Method::in_message(message.as_bytes()).map(Method::label)
    }

    #[test]
    fn the_method_is_found_wherever_it_stands() {
        assert_eq!(
            label(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#),
            Some("tools/list")
        );
        assert_eq!(label(r#" { "method" : "ping" "#), Some("ping"));
        let last =
            r#"{"params":{"method":"x","a":[1,{"b":"}\""}]},"id":null,"method":"tools/call"}"#;
        assert_eq!(label(last), Some("tools/call"));
    }

    #[test]
    fn what_has_no_known_method_is_counted_for_what_it_is() {
        assert_eq!(
            label(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#),
            Some("response")
        );
        assert_eq!(label(r#"[{"method":"ping"}]"#), Some("batch"));
        assert_eq!(label(r#"{"method":"evil/label\n"}"#), Some("other"));
        assert_eq!(label(r#"{"method":7}"#), Some("other"));
        assert_eq!(label("nonsense"), Some("other"));
    }

    #[test]
    fn a_message_that_is_not_all_there_yet_says_nothing() {
        let whole = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list""#;
        for length in 0..whole.len() {
            assert_eq!(label(&whole[..length]), None, "{length}");
        }
        assert_eq!(label(whole), Some("tools/list"));
    }

    #[test]
    fn labels_are_unique_and_fit_their_index() {
        for (index, label) in LABELS.iter().enumerate() {
            assert_eq!(Method::named(label).index() as usize, index);
            assert_eq!(Method::at(index as u8).label(), *label);
        }
        assert_eq!(Method::at(255), Method::OTHER);
    }
}
