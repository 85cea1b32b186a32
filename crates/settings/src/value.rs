//! Forms of values, and parsers from text to a typed value.
//!
//! A parser's error contains only the expected form, never the text itself, which may be a secret.

use std::path::PathBuf;
use std::time::Duration;

/// Longest duration that can be set, a year: far from the overflow of any clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The form of a value: which sources can write it how, and its placeholder in the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// `500ms`, `20s`, `5m`, `1h`, or seconds.
    Duration,
    /// Bytes, or `64KiB`, `10MiB`, `1GiB`.
    Size,
    /// A whole number.
    Count,
    /// A port, alone or with an address.
    Port,
    /// An IP address, alone or with a port.
    Address,
    /// On or off; the flag needs no value.
    Switch,
    /// Words separated by commas.
    List,
    /// Names of environment variables, or `NAME=value`, separated by commas where one text holds
    /// several. Secret.
    Variables,
    /// A program and its arguments, split as a shell does. Secret.
    Command,
    /// Arguments of the command in the same entry table, beside which a command in one text is the
    /// program alone. Secret.
    Arguments,
    /// Any text.
    Text,
    /// One of these words, separated by `|`.
    Choice(&'static str),
    /// A URL, which may contain a password.
    Url,
    /// The path of a file or directory.
    Path,
    /// A key, token or password. Secret.
    Secret,
    /// `Name: value` lines. Secret.
    Headers,
}

impl Syntax {
    /// Returns the placeholder of the value in the help.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Count => "count",
            Self::Port => "port",
            Self::Address => "address",
            Self::Switch => "true|false",
            Self::List => "list",
            Self::Variables => "NAME,NAME=value",
            Self::Command => "command",
            Self::Arguments => "arguments",
            Self::Text => "text",
            Self::Choice(words) => words,
            Self::Url => "url",
            Self::Path => "file",
            Self::Secret => "secret",
            Self::Headers => "Name: value",
        }
    }

    /// Returns whether a flag of this form can be repeated, and a file has arrays of it.
    pub fn is_repeatable(self) -> bool {
        matches!(self, Self::List | Self::Variables | Self::Headers)
    }

    /// Returns several values of this form as one text. The parser finds the same values in it.
    pub fn join(self, items: &[&str]) -> String {
        match self {
            Self::List => items.join(","),
            Self::Headers => items.join("\n"),
            // An end behind each item, also a single one: a comma in it is a part of the value.
            Self::Variables => items
                .iter()
                .flat_map(|item| [*item, VARIABLE_END])
                .collect(),
            _ => items.concat(),
        }
    }

    /// Returns whether a value can also be the content of a file, so that neither the command line
    /// nor the environment shows it.
    pub fn can_be_in_a_file(self) -> bool {
        matches!(self, Self::Secret | Self::Headers)
    }

    /// Returns whether its values must never be shown.
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Secret | Self::Headers | Self::Variables | Self::Command | Self::Arguments
        )
    }
}

/// The end of an item where [`Syntax::join`] put several variables in one text. No argument and no
/// variable of the environment can contain it.
const VARIABLE_END: &str = "\0";

/// A text that is not a value. The error contains the expected form, and nothing of the text that
/// may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ValueError {
    /// The expected form, to follow the word `expected`.
    pub expected: String,
}

/// Returns the error for a text of another form than the expected one.
pub fn expected<T>(expected: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError {
        expected: expected.into(),
    })
}

/// The form of a value, and its parser.
pub struct ValueType<T> {
    /// The form.
    pub syntax: Syntax,
    /// Parses a text of this form.
    pub parse: fn(&str) -> Result<T, ValueError>,
}

/// A duration, which may be zero.
pub const DURATION: ValueType<Duration> = ValueType {
    syntax: Syntax::Duration,
    parse: duration,
};
/// A duration longer than zero.
pub const POSITIVE_DURATION: ValueType<Duration> = ValueType {
    syntax: Syntax::Duration,
    parse: positive_duration,
};
/// Bytes, at least one.
pub const BYTES: ValueType<u64> = ValueType {
    syntax: Syntax::Size,
    parse: |text| size_within(text, 1, u64::MAX),
};
/// Bytes that fit into memory, at least one.
pub const MEMORY: ValueType<usize> = ValueType {
    syntax: Syntax::Size,
    parse: |text| memory_size(text, 1),
};
/// Bytes that fit into memory, or zero.
pub const MEMORY_OR_ZERO: ValueType<usize> = ValueType {
    syntax: Syntax::Size,
    parse: |text| memory_size(text, 0),
};
/// A whole number, at least one.
pub const COUNT: ValueType<usize> = ValueType {
    syntax: Syntax::Count,
    parse: |text| count(text, 1),
};
/// A whole number, which may be zero.
pub const COUNT_OR_ZERO: ValueType<usize> = ValueType {
    syntax: Syntax::Count,
    parse: |text| count(text, 0),
};
/// On or off.
pub const SWITCH: ValueType<bool> = ValueType {
    syntax: Syntax::Switch,
    parse: switch,
};
/// The words of a command; none if the text is blank.
pub const COMMAND: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::Command,
    parse: command,
};
/// The arguments of a command.
pub const ARGUMENTS: ValueType<Vec<String>> = ValueType {
    syntax: Syntax::Arguments,
    parse: command,
};
/// Environment variables.
pub const VARIABLES: ValueType<Vec<Variable>> = ValueType {
    syntax: Syntax::Variables,
    parse: variables,
};
/// A path, `None` if the text is blank.
pub const PATH: ValueType<Option<PathBuf>> = ValueType {
    syntax: Syntax::Path,
    parse: |text| Ok(path(text)),
};
/// Any text, `None` if it is blank.
pub const TEXT: ValueType<Option<String>> = ValueType {
    syntax: Syntax::Text,
    parse: |text| Ok(non_blank(text)),
};

/// An environment variable to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, `None` if it is to be inherited.
    pub value: Option<String>,
}

/// Returns the text without surrounding whitespace, `None` if nothing is left.
pub fn non_blank(text: &str) -> Option<String> {
    Some(text.trim())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// Returns the items of a list, without surrounding whitespace and without empty ones.
pub fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Returns the path that a text is, `None` if it is blank.
pub fn path(text: &str) -> Option<PathBuf> {
    non_blank(text).map(PathBuf::from)
}

/// Parses a number with an optional unit.
///
/// `humantime::parse_duration` is no substitute: it rejects `.5m`, `1.3333h` and a number without
/// unit, which are accepted here.
fn duration(text: &str) -> Result<Duration, ValueError> {
    let wrong = || ValueError {
        expected: "a duration such as 500ms, 20s, 5m or 1h, or seconds, at most a year".into(),
    };

    let (number, unit) = split_unit(text);
    let unit_seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;

    Duration::try_from_secs_f64(number * unit_seconds)
        .ok()
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(wrong)
}

fn positive_duration(text: &str) -> Result<Duration, ValueError> {
    match duration(text)? {
        Duration::ZERO => expected("a duration longer than zero"),
        duration => Ok(duration),
    }
}

/// Parses a number of bytes with an optional unit, and checks its bounds.
///
/// Units are powers of 1024, the short ones too: for the crate `bytesize`, `64K` is 64 000.
///
/// # Errors
///
/// If the text is no size, or not within `min` and `max`, both included.
pub fn size_within(text: &str, min: u64, max: u64) -> Result<u64, ValueError> {
    let wrong = || ValueError {
        expected: "a size such as 512KiB, 64MiB or 1GiB, or bytes".into(),
    };

    let (number, unit) = split_unit(text);
    let unit_bytes: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;

    match number.checked_mul(unit_bytes) {
        Some(size) if size < min => expected(format!("a size of at least {min} bytes")),
        Some(size) if size <= max => Ok(size),
        _ => expected(format!("a size of at most {max} bytes")),
    }
}

fn memory_size(text: &str, min: u64) -> Result<usize, ValueError> {
    let size = size_within(text, min, isize::MAX as u64)?;
    usize::try_from(size).or_else(|_| expected("a size that fits into memory"))
}

/// Splits `20s` into `20` and `s`.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());

    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

fn count(text: &str, min: usize) -> Result<usize, ValueError> {
    match text.trim().parse::<usize>() {
        Ok(count) if count >= min => Ok(count),
        _ => expected(format!("a whole number, at least {min}")),
    }
}

fn switch(text: &str) -> Result<bool, ValueError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => expected("true or false (or 1, 0, yes, no, on, off)"),
    }
}

/// Checks a key, token or password, which must fit into an HTTP header, and returns it unchanged.
///
/// # Errors
///
/// If it is empty, has spaces around it, or a character that is not printable ASCII.
pub fn secret_text(text: &str) -> Result<&str, ValueError> {
    if text.is_empty() {
        return expected("at least one character (leave the setting out for none)");
    }

    let is_printable = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    if is_printable && text.trim() == text {
        Ok(text)
    } else {
        expected("printable ASCII characters without spaces or line ends around them")
    }
}

/// Splits a command into words. No shell is involved: quotes and backslashes hold words together,
/// and no other character is special.
fn command(text: &str) -> Result<Vec<String>, ValueError> {
    shlex::split(text).ok_or_else(|| ValueError {
        expected: "a program and its arguments, with every quote closed".into(),
    })
}

fn variables(text: &str) -> Result<Vec<Variable>, ValueError> {
    if text.contains(VARIABLE_END) {
        let items = text.split_terminator(VARIABLE_END);
        let items = items
            .map(variables_of_item)
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(items.concat());
    }
    items(text).map(variable).collect()
}

/// Parses one flag or one element of an array. Names without a value can stand before the last
/// comma in front of the first `=`; everything behind that is one value.
fn variables_of_item(item: &str) -> Result<Vec<Variable>, ValueError> {
    let names = item.split('=').next().unwrap_or_default();
    let last = match names.rfind(',') {
        Some(comma) if names.len() < item.len() => comma + 1,
        None if names.len() < item.len() => 0,
        _ => item.len(),
    };

    let (names, last) = item.split_at(last);
    let last = Some(last.trim_start()).filter(|last| !last.is_empty());
    items(names).chain(last).map(variable).collect()
}

fn variable(item: &str) -> Result<Variable, ValueError> {
    let (name, value) = match item.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (item, None),
    };

    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return expected("environment variables, as NAME or NAME=value, separated by commas");
    }

    Ok(Variable {
        name: name.to_owned(),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_a_unit_or_seconds() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("20s", 20_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1.5", 1_500),
            ("30", 30_000),
            ("0", 0),
            (" 2 s ", 2_000),
            (".5m", 30_000),
            ("5.m", 300_000),
            ("1.3333h", 4_799_880),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_no_durations() {
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
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_positive_duration_is_longer_than_zero() {
        for zero in ["0", "0s", "0.0", "0.0000000001s"] {
            assert_eq!(
                positive_duration(zero),
                expected("a duration longer than zero"),
                "{zero}"
            );
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [
            ("1", 1),
            ("64KiB", 65_536),
            ("64K", 65_536),
            ("10MiB", 10 << 20),
            ("10M", 10 << 20),
            ("1GiB", 1 << 30),
        ] {
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

        assert_eq!((MEMORY_OR_ZERO.parse)("0"), Ok(0));
    }

    #[test]
    fn counts_have_a_least_value() {
        assert_eq!(count("3", 1), Ok(3));
        assert_eq!(count("0", 0), Ok(0));
        assert_eq!(count("0", 1), expected("a whole number, at least 1"));

        for bad in ["", "-1", "1.0", "many"] {
            assert!(count(bad, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn switches_have_four_words_for_each_side() {
        for on in ["true", "1", "yes", "ON"] {
            assert_eq!(switch(on), Ok(true), "{on}");
        }
        for off in ["false", "0", "no", "Off"] {
            assert_eq!(switch(off), Ok(false), "{off}");
        }
        assert!(switch("maybe").is_err());
    }

    #[test]
    fn a_command_is_split_like_in_a_shell_without_expansion() {
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
    fn variables_are_names_with_or_without_a_value() {
        let variables = variables("A, B=x=y,").unwrap();

        assert_eq!(variables.len(), 2);
        assert_eq!(variables[0].value, None);
        assert_eq!(variables[1].name, "B");
        assert_eq!(variables[1].value.as_deref(), Some("x=y"));
        assert!(variable("1A").is_err());
    }

    #[test]
    fn a_value_of_an_item_of_its_own_can_contain_commas() {
        let parsed = |items: &[&str]| {
            let variables = variables(&Syntax::Variables.join(items)).unwrap();
            let shown = |it: &Variable| (it.name.clone(), it.value.clone());
            variables.iter().map(shown).collect::<Vec<_>>()
        };
        let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));

        assert_eq!(parsed(&["DB=a,b=c "]), [pair("DB", Some("a,b=c "))]);
        assert_eq!(
            parsed(&["A, B", "C,D=x,y", "E=", ""]),
            [
                pair("A", None),
                pair("B", None),
                pair("C", None),
                pair("D", Some("x,y")),
                pair("E", Some("")),
            ]
        );
        assert!(variables(&Syntax::Variables.join(&["a b=c"])).is_err());
    }

    #[test]
    fn a_secret_fits_into_a_header() {
        assert!(secret_text("open sesame").is_ok());

        for bad in ["", " x", "x\n", "x\u{7f}", "schlüssel"] {
            let ValueError { expected } = secret_text(bad).unwrap_err();
            assert!(bad.is_empty() || !expected.contains(bad));
        }
    }
}
