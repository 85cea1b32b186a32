//! How values are written, and the way from text to a typed value.
//!
//! Spans, sizes, counts and words are here; addresses, URLs and headers in `address`. No names and no sources here.
//! The one rule: a parser says what it expected, never what it got, since what it got may be secret.

use std::path::PathBuf;
use std::time::Duration;

use llamapool_wire::{DisplayName, RelayId, Secret};

/// The longest span that can be set, a year: far from every overflow of a clock.
const MAX_SPAN: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The largest number that a window or a block of headers may have: that of HTTP/2, which callers speak too.
const MAX_HTTP2_NUMBER: u64 = (1 << 31) - 1;
/// The smallest window of a stream: smaller ones make a round trip of every little piece.
const MIN_WINDOW_BYTES: u64 = 64 * 1024;
/// The smallest bound for headers that leaves room for those that every call has.
const MIN_HEADER_BYTES: u64 = 1024;

/// How a value is written, which decides what a source may give and what the help shows for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `500ms`, `20s`, `5m`, `1h`, or seconds.
    Span,
    /// Bytes, or `64KiB`, `10MiB`, `1GiB`.
    Size,
    /// A whole number.
    Count,
    /// A port, alone or with an address.
    Port,
    /// An address.
    Address,
    /// On or off; the flag needs no value.
    Switch,
    /// Several words, separated by commas.
    List,
    /// Names of environment variables, or such with values, which are never shown.
    Variables,
    /// Words as a shell would split them, which are never shown.
    Command,
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static str),
    /// A URL, which may hide a password.
    Url,
    /// The path of a file.
    File,
    /// A text that is never shown.
    Secret,
    /// Header lines that are never shown.
    Headers,
}

impl Form {
    /// What stands for the value in the help.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Span => "duration",
            Self::Size => "size",
            Self::Count => "count",
            Self::Port => "port",
            Self::Address => "address",
            Self::Switch => "true|false",
            Self::List => "list",
            Self::Variables => "NAME,NAME=value",
            Self::Command => "command",
            Self::Text => "text",
            Self::Choice(words) => words,
            Self::Url => "url",
            Self::File => "file",
            Self::Secret => "secret",
            Self::Headers => "Name: value",
        }
    }

    /// What separates several values in one text; none: there is one value.
    pub fn separator(self) -> Option<&'static str> {
        match self {
            Self::List | Self::Variables => Some(","),
            Self::Headers => Some("\n"),
            _ => None,
        }
    }

    /// Whether no value of it may be shown.
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Secret | Self::Headers | Self::Variables | Self::Command
        )
    }
}

/// What a parser expected instead of what it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected(pub(super) String);

/// A form, and the parser for it.
pub(super) struct Kind<T> {
    pub(super) form: Form,
    pub(super) parse: fn(&str) -> Result<T, Expected>,
}

pub(super) fn expected<T>(what: impl Into<String>) -> Result<T, Expected> {
    Err(Expected(what.into()))
}

/// A span that may be zero.
pub(super) const SPAN: Kind<Duration> = Kind {
    form: Form::Span,
    parse: span,
};
/// A span that may not be zero.
pub(super) const POSITIVE_SPAN: Kind<Duration> = Kind {
    form: Form::Span,
    parse: positive_span,
};
/// A number of bytes, at least one.
pub(super) const BYTES: Kind<u64> = Kind {
    form: Form::Size,
    parse: |text| size_within(text, 1, u64::MAX),
};
/// A number of bytes that fit into memory, at least one.
pub(super) const MEMORY: Kind<usize> = Kind {
    form: Form::Size,
    parse: |text| memory(text, 1),
};
/// A number of bytes that fit into memory, or none.
pub(super) const MEMORY_OR_NONE: Kind<usize> = Kind {
    form: Form::Size,
    parse: |text| memory(text, 0),
};
/// The window of a stream.
pub(super) const WINDOW: Kind<u32> = Kind {
    form: Form::Size,
    parse: |text| http2_size(text, MIN_WINDOW_BYTES),
};
/// The bound of a block of headers.
pub(super) const HEADER_BYTES: Kind<u32> = Kind {
    form: Form::Size,
    parse: |text| http2_size(text, MIN_HEADER_BYTES),
};
/// A number of things, at least one.
pub(super) const COUNT: Kind<usize> = Kind {
    form: Form::Count,
    parse: |text| count(text, 1),
};
/// A number of things, or zero.
pub(super) const COUNT_OR_ZERO: Kind<usize> = Kind {
    form: Form::Count,
    parse: |text| count(text, 0),
};
/// A number of streams in a tunnel.
pub(super) const STREAMS: Kind<u32> = Kind {
    form: Form::Count,
    parse: streams,
};
/// On or off.
pub(super) const SWITCH: Kind<bool> = Kind {
    form: Form::Switch,
    parse: switch,
};
/// A key or token.
pub(super) const SECRET: Kind<Secret> = Kind {
    form: Form::Secret,
    parse: secret,
};
/// An id, or nothing.
pub(super) const ID: Kind<Option<RelayId>> = Kind {
    form: Form::Text,
    parse: id,
};
/// A name for people.
pub(super) const NAME: Kind<DisplayName> = Kind {
    form: Form::Text,
    parse: |text| Ok(DisplayName::new(text.trim())),
};
/// A program and its arguments, or nothing.
pub(super) const COMMAND: Kind<Vec<String>> = Kind {
    form: Form::Command,
    parse: command,
};
/// Environment variables.
pub(super) const VARIABLES: Kind<Vec<Variable>> = Kind {
    form: Form::Variables,
    parse: variables,
};
/// The path of a file, or nothing.
pub(super) const FILE: Kind<Option<PathBuf>> = Kind {
    form: Form::File,
    parse: |text| Ok(some_text(text).map(PathBuf::from)),
};
/// Any text, or nothing.
pub(super) const TEXT: Kind<Option<String>> = Kind {
    form: Form::Text,
    parse: |text| Ok(some_text(text)),
};

pub(super) fn some_text(text: &str) -> Option<String> {
    Some(text.trim())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn span(text: &str) -> Result<Duration, Expected> {
    let wanted =
        || Expected("a duration of at most a year such as 500ms, 20s, 5m or 1h, or seconds".into());
    let (number, unit) = split_unit(text);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wanted()),
    };
    let number: f64 = number.parse().map_err(|_| wanted())?;
    let span = Duration::try_from_secs_f64(number * seconds).map_err(|_| wanted())?;
    if span > MAX_SPAN {
        Err(wanted())
    } else {
        Ok(span)
    }
}

fn positive_span(text: &str) -> Result<Duration, Expected> {
    match span(text)? {
        Duration::ZERO => expected("a duration longer than zero"),
        span => Ok(span),
    }
}

fn size_within(text: &str, min: u64, max: u64) -> Result<u64, Expected> {
    let wanted = || Expected("a size such as 512KiB, 64MiB or 1GiB, or bytes".into());
    let (number, unit) = split_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(wanted()),
    };
    let number: u64 = number.parse().map_err(|_| wanted())?;
    match number.checked_mul(factor) {
        Some(size) if size < min => expected(format!("a size of at least {min} bytes")),
        Some(size) if size <= max => Ok(size),
        _ => expected(format!("a size of at most {max} bytes")),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

fn memory(text: &str, min: u64) -> Result<usize, Expected> {
    let size = size_within(text, min, isize::MAX as u64)?;
    usize::try_from(size).or_else(|_| expected("a size that fits into memory"))
}

fn http2_size(text: &str, min: u64) -> Result<u32, Expected> {
    let size = size_within(text, min, MAX_HTTP2_NUMBER)?;
    u32::try_from(size).or_else(|_| expected(format!("a size of at most {MAX_HTTP2_NUMBER} bytes")))
}

fn count(text: &str, min: usize) -> Result<usize, Expected> {
    match text.trim().parse::<usize>() {
        Ok(count) if count >= min => Ok(count),
        _ => expected(format!("a whole number, at least {min}")),
    }
}

fn streams(text: &str) -> Result<u32, Expected> {
    match text.trim().parse::<u32>() {
        Ok(count) if count >= 1 && u64::from(count) <= MAX_HTTP2_NUMBER => Ok(count),
        _ => expected(format!("a whole number, 1 to {MAX_HTTP2_NUMBER}")),
    }
}

fn switch(text: &str) -> Result<bool, Expected> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => expected("true or false (or 1, 0, yes, no, on, off)"),
    }
}

fn secret(text: &str) -> Result<Secret, Expected> {
    let fits = text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && text.trim() == text;
    match text {
        "" => expected("at least one character; leave it out to have none"),
        _ if !fits => {
            expected("printable ASCII characters without spaces or line ends around them")
        }
        text => Ok(Secret::new(text)),
    }
}

/// The words of a command. No shell is there: quotes and backslashes hold words together, and nothing else is special.
fn command(text: &str) -> Result<Vec<String>, Expected> {
    shlex::split(text)
        .ok_or_else(|| Expected("a program and its arguments, with every quote closed".into()))
}

/// An environment variable: one that is passed on, or one with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

fn variables(text: &str) -> Result<Vec<Variable>, Expected> {
    let one = |item: &str| {
        let (name, value) = item
            .split_once('=')
            .map_or((item, None), |(name, value)| (name, Some(value.to_owned())));
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let wanted = "names of environment variables, or such as NAME=value, separated by commas";
        if is_name {
            Ok(Variable {
                name: name.to_owned(),
                value,
            })
        } else {
            expected(wanted)
        }
    };
    items(text).map(one).collect()
}

fn id(text: &str) -> Result<Option<RelayId>, Expected> {
    let parse = |text: String| {
        text.parse()
            .map_err(|_| Expected("1 to 128 of A-Z a-z 0-9 - _ . ~, not . or ..".into()))
    };
    some_text(text).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_a_unit_or_seconds() {
        let cases = [
            ("500ms", 500),
            ("20s", 20_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1.5", 1_500),
            ("30", 30_000),
            ("0", 0),
            (" 2 s ", 2_000),
            (".5m", 30_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                span(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for bad in [
            "",
            "s",
            "-1",
            "-1s",
            "1d",
            "1 hour",
            "inf",
            "NaN",
            "1e3",
            "1..2",
            "9000h",
            "99999999999999999999",
        ] {
            assert!(span(bad).is_err(), "{bad}");
        }
        for zero in ["0", "0s", "0.0", "0.0000000001s"] {
            assert_eq!(
                positive_span(zero),
                expected("a duration longer than zero"),
                "{zero}"
            );
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        let cases = [
            ("1", 1),
            ("64KiB", 65_536),
            ("64K", 65_536),
            ("10MiB", 10 << 20),
            ("10M", 10 << 20),
            ("1GiB", 1 << 30),
        ];
        for (text, bytes) in cases {
            assert_eq!((BYTES.parse)(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "KiB",
            "-1",
            "1.5MiB",
            "1KB",
            "1T",
            "99999999999999999999",
            "18446744073709551615KiB",
            "0",
        ] {
            assert!((BYTES.parse)(bad).is_err(), "{bad}");
        }
        assert_eq!((MEMORY_OR_NONE.parse)("0"), Ok(0));
    }

    #[test]
    fn a_command_is_split_as_a_shell_would_and_nothing_is_expanded() {
        assert_eq!(
            command("npx -y 'a b' \"c d\" e\\ f $HOME *"),
            Ok(["npx", "-y", "a b", "c d", "e f", "$HOME", "*"]
                .map(String::from)
                .to_vec())
        );
        assert_eq!(command(" "), Ok(Vec::new()));
        assert!(command("npx 'a").is_err());
    }

    #[test]
    fn a_window_is_what_http2_allows() {
        assert_eq!((WINDOW.parse)("64KiB"), Ok(65_536));
        assert_eq!((WINDOW.parse)("2147483647"), Ok(2_147_483_647));
        assert!((WINDOW.parse)("65535").is_err());
        assert!((WINDOW.parse)("2GiB").is_err());
    }

    #[test]
    fn counts_say_their_smallest() {
        assert_eq!(count("3", 1), Ok(3));
        assert_eq!(count("0", 0), Ok(0));
        assert_eq!(count("0", 1), expected("a whole number, at least 1"));
        for bad in ["", "-1", "1.0", "many"] {
            assert!(count(bad, 0).is_err(), "{bad}");
            assert!(streams(bad).is_err(), "{bad}");
        }
        assert!(streams("2147483648").is_err());
    }

    #[test]
    fn switches_know_four_words_for_each_side() {
        for yes in ["true", "1", "yes", "ON"] {
            assert_eq!(switch(yes), Ok(true), "{yes}");
        }
        for no in ["false", "0", "no", "Off"] {
            assert_eq!(switch(no), Ok(false), "{no}");
        }
        assert!(switch("maybe").is_err());
    }

    #[test]
    fn a_secret_is_what_fits_into_a_header() {
        assert!(secret("open sesame").is_ok());
        for bad in ["", " x", "x\n", "x\u{7f}", "schlüssel"] {
            let Expected(text) = secret(bad).unwrap_err();
            assert!(bad.is_empty() || !text.contains(bad));
        }
    }
}
