//! The check of a message for a program that several callers share.
//!
//! A caller must not reach another's call, whatever library the program reads JSON with. Some
//! compare names without case (Go's `encoding/json`, with `ſ` as `s` and the Kelvin sign as `k`),
//! some ignore `_` and `-` (Go's `json/v2`), some accept the names of their own variables (the
//! Python SDK reads `meta` as `_meta` and `request_id` as `requestId`), and of a name that stands
//! twice some take the first value. So only a message that all of them read alike is passed on.

use std::collections::HashSet;
use std::ops::{Deref, Range};

use super::members::{Members, string_length};
use super::token::Token;
use super::{Message, Part};

/// How deep arrays and objects of a message may be nested: the most that serde_json reads. Other
/// readers stop at 1000 (Python) or 10 000 (Go), and some programs end then.
const MAX_DEPTH: usize = 127;
/// The most characters of a name that an error quotes.
const QUOTED_CHARS: usize = 64;

/// A name that programs read, and its folded form.
type KnownName = (&'static str, &'static str);

const ENVELOPE: &[KnownName] = &[
    ("jsonrpc", "jsonrpc"),
    ("id", "id"),
    ("method", "method"),
    ("params", "params"),
    ("result", "result"),
    ("error", "error"),
];
const PARAMS: &[KnownName] = &[
    ("_meta", "meta"),
    ("progressToken", "progresstoken"),
    ("requestId", "requestid"),
    ("name", "name"),
    ("uri", "uri"),
    ("taskId", "taskid"),
    ("arguments", "arguments"),
    ("protocolVersion", "protocolversion"),
];
const META: &[KnownName] = &[
    ("progressToken", "progresstoken"),
    (
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/protocolversion",
    ),
    (
        "io.modelcontextprotocol/subscriptionId",
        "io.modelcontextprotocol/subscriptionid",
    ),
];

/// A message that every program reads alike. Only such a message may reach a program that several
/// callers share.
#[derive(Debug, Clone, Copy)]
pub struct UnambiguousMessage<'a>(&'a Message);

/// Why programs could read a message differently.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmbiguousMessageError {
    /// A name stands twice in an object that programs read.
    #[error("the key {0:?} stands twice")]
    Repeated(String),
    /// A name differs only in case or delimiters from one that programs read.
    #[error("the key {found:?} could be read as {known:?}; spell it so")]
    Misspelled {
        /// The beginning of the name.
        found: String,
        /// The name that it could be read as.
        known: &'static str,
    },
    /// A member is of a type that it cannot have.
    #[error("{0}")]
    WrongType(&'static str),
    /// Arrays and objects are nested too deep.
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl<'a> UnambiguousMessage<'a> {
    /// Checks a message: its names in the envelope, in `params` and in `_meta`, the types of the
    /// members that are looked at, and its depth.
    ///
    /// # Errors
    ///
    /// The first reason for which programs could read it differently.
    pub fn check(message: &'a Message) -> Result<Self, AmbiguousMessageError> {
        let text = message.str();
        if depth(text) > MAX_DEPTH {
            return Err(AmbiguousMessageError::TooDeep);
        }
        let envelope = Members::read(text)
            .map_err(|_| AmbiguousMessageError::WrongType("expected an object"))?;
        check_names(&envelope, ENVELOPE)?;

        let params = object(text, envelope.get("params"), "params is no object")?;
        check_names(&params, PARAMS)?;
        let meta = object(text, params.get("_meta"), "_meta is no object")?;
        check_names(&meta, META)?;

        for (part, names) in [(&params, PARAMS), (&meta, META)] {
            check_tokens(text, part, names)?;
        }
        Ok(Self(message))
    }

    /// Returns the places of the characters at which some readers end a line although JSON allows
    /// them in a string, with the escapes that mean the same. A program that reads so (Node.js's
    /// `readline`) would otherwise find a second message in one.
    pub fn line_ends(&self) -> impl Iterator<Item = (Range<usize>, String)> + use<'a> {
        let found = self
            .0
            .str()
            .match_indices(['\u{85}', '\u{2028}', '\u{2029}']);
        found.map(|(at, char)| {
            let escape: String = char
                .chars()
                .map(|char| format!("\\u{:04x}", u32::from(char)))
                .collect();
            (at..at + char.len(), escape)
        })
    }
}

impl Deref for UnambiguousMessage<'_> {
    type Target = Message;

    fn deref(&self) -> &Message {
        self.0
    }
}

/// Returns the members of the object at `place`; none if it is absent or null.
fn object(text: &str, place: Part, wrong: &'static str) -> Result<Members, AmbiguousMessageError> {
    match place {
        Some(place) if !is_null(text, &place) => {
            Members::read_at(text, place).ok_or(AmbiguousMessageError::WrongType(wrong))
        }
        _ => Ok(Members::default()),
    }
}

/// Checks that tokens are strings or numbers, so that each one is found that a program could find.
fn check_tokens(
    text: &str,
    members: &Members,
    known: &[KnownName],
) -> Result<(), AmbiguousMessageError> {
    const TOKENS: [&str; 3] = [
        "progressToken",
        "requestId",
        "io.modelcontextprotocol/subscriptionId",
    ];
    let known = known.iter().map(|(name, _)| *name);
    for name in known.filter(|name| TOKENS.contains(name)) {
        let Some(place) = members.get(name).filter(|place| !is_null(text, place)) else {
            continue;
        };
        if Token::read(text, place).is_none() {
            return Err(AmbiguousMessageError::WrongType(
                "a progress token or request id is neither a string nor a number",
            ));
        }
    }
    Ok(())
}

fn is_null(text: &str, place: &Range<usize>) -> bool {
    text.get(place.clone()) == Some("null")
}

fn check_names(members: &Members, known: &[KnownName]) -> Result<(), AmbiguousMessageError> {
    let mut seen = HashSet::new();
    for name in members.iter().map(|member| &*member.name) {
        if !seen.insert(name) {
            return Err(AmbiguousMessageError::Repeated(quoted(name)));
        }
        if known.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let folded = folded_name(name);
        if let Some((known, _)) = known.iter().find(|(_, known)| *known == folded) {
            return Err(AmbiguousMessageError::Misspelled {
                found: quoted(name),
                known,
            });
        }
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    name.chars().take(QUOTED_CHARS).collect()
}

/// Returns a name without what any reader ignores: case, as any of them folds it, and delimiters.
///
/// Upper case first makes `s` of `ſ` and `i` of `ı`; lower case then makes `k` of the Kelvin sign.
/// The dot is what remains of `İ`.
pub fn folded_name(name: &str) -> String {
    let folded = name
        .chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase);
    folded
        .filter(|char| !matches!(char, '_' | '-' | '\u{307}'))
        .collect()
}

/// Returns how deep arrays and objects are nested in JSON.
fn depth(json: &str) -> usize {
    let mut depth = 0usize;
    let mut deepest = 0;
    let mut rest = json.as_bytes();
    while let Some(byte) = rest.first() {
        let mut length = 1;
        match byte {
            b'"' => length = string_length(rest).unwrap_or(rest.len()),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        rest = &rest[length..];
    }
    deepest
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<(), AmbiguousMessageError> {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        UnambiguousMessage::check(&message).map(|_| ())
    }

    fn call(envelope: &str, params: &str, meta: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{{"Name":1,"ID":2,"ID":3}},"_meta":{{"progressToken":"own"{meta}}}{params}}}{envelope}}}"#
        )
    }

    #[test]
    fn an_ordinary_message_is_unambiguous() {
        for text in [
            call("", "", ""),
            call(
                r#","extra":1"#,
                r#","other":{"_meta":{}}"#,
                r#","x/Name":1"#,
            ),
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.into(),
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#.into(),
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":null}}"#.into(),
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":null}}}"#
                .into(),
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"requestId":1.5}}"#.into(),
        ] {
            assert_eq!(check(&text), Ok(()), "{text}");
        }
    }

    /// The spellings that Go, .NET, Java and Python programs take for a known name.
    #[test]
    fn a_key_that_a_program_could_take_for_a_known_one_is_refused() {
        for (envelope, params, meta) in [
            (r#","ID":2"#, "", ""),
            (r#","\u0049d":2"#, "", ""),
            (r#","Method":"x""#, "", ""),
            (r#","param\u017f":{}"#, "", ""),
            (r#","PARAMS":{}"#, "", ""),
            (r#","\u0131d":2"#, "", ""),
            (r#","\u0130d":2"#, "", ""),
            (r#","i_d":2"#, "", ""),
            (r#","Result":2"#, "", ""),
            ("", r#","_Meta":{}"#, ""),
            ("", r#","meta":{}"#, ""),
            ("", r#","RequestID":1"#, ""),
            ("", r#","request_id":1"#, ""),
            ("", r#","Arguments":{}"#, ""),
            ("", r#","ta\u017fk-Id":1"#, ""),
            ("", "", r#","ProgressToken":1"#),
            ("", "", r#","progress_token":1"#),
            ("", "", r#","progressTo\u212aen":1"#),
            ("", "", r#","progreßToken":1"#),
            ("", "", r#","io.modelcontextprotocol/subscriptionID":1"#),
        ] {
            let text = call(envelope, params, meta);
            let refused = check(&text).unwrap_err();
            assert!(
                matches!(refused, AmbiguousMessageError::Misspelled { .. }),
                "{text}"
            );
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        for (envelope, params, meta) in [
            (r#","x":2,"x":2"#, "", ""),
            ("", r#","_meta":{}"#, ""),
            ("", r#","name":"other""#, ""),
            ("", "", r#","progressToken":1"#),
            ("", "", r#","progress\u0054oken":1"#),
        ] {
            let refused = check(&call(envelope, params, meta)).unwrap_err();
            assert!(matches!(refused, AmbiguousMessageError::Repeated(_)));
        }
    }

    #[test]
    fn values_of_a_wrong_type_are_refused() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[{"_meta":{}}]}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":{}}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"progressToken":true}}"#,
            r#"{"jsonrpc":"2.0","method":"x","params":{"requestId":[1]}}"#,
        ] {
            let refused = check(text).unwrap_err();
            assert!(
                matches!(refused, AmbiguousMessageError::WrongType(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |levels: usize| {
            let open = "[".repeat(levels);
            let close = "]".repeat(levels);
            call("", &format!(r#","x":{open}"]"{close}"#), "")
        };

        assert_eq!(check(&nested(MAX_DEPTH - 2)), Ok(()));
        assert_eq!(
            check(&nested(MAX_DEPTH - 1)),
            Err(AmbiguousMessageError::TooDeep)
        );
        assert_eq!(check(&nested(20_000)), Err(AmbiguousMessageError::TooDeep));
    }

    #[test]
    fn the_folded_names_are_those_of_the_known_ones() {
        for (name, folded) in [ENVELOPE, PARAMS, META].concat() {
            assert_eq!(folded_name(name), folded);
        }
    }

    #[test]
    fn line_ends_of_other_readers_are_found() {
        let text = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{\"a\":\"\u{85}b\u{2028}\"}}";
        let message = Message::parse(Bytes::from(text)).unwrap();
        let found: Vec<_> = UnambiguousMessage::check(&message)
            .unwrap()
            .line_ends()
            .collect();

        let at = |char| text.find(char).unwrap();
        assert_eq!(
            found,
            [
                (at('\u{85}')..at('\u{85}') + 2, "\\u0085".to_owned()),
                (at('\u{2028}')..at('\u{2028}') + 3, "\\u2028".to_owned())
            ]
        );
    }

    proptest! {
        /// Go's `encoding/json` folds names with Unicode's simple folding, here on the characters
        /// that fold to ASCII.
        #[test]
        fn every_case_of_a_known_key_is_refused(choices in proptest::collection::vec(0usize..3, 13), at in 0usize..3) {
            let known = ["progressToken", "requestId", "arguments"][at];
            let respelled: String = known
                .chars()
                .zip(choices)
                .map(|(char, choice)| match (choice, char.to_ascii_lowercase()) {
                    (2, 's') => 'ſ',
                    (2, 'k') => '\u{212a}',
                    (0, _) => char,
                    _ => if char.is_ascii_lowercase() { char.to_ascii_uppercase() } else { char.to_ascii_lowercase() },
                })
                .collect();
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"{respelled}":1}}}}"#);

            prop_assert_eq!(check(&text).is_err(), respelled != known);
        }
    }
}
