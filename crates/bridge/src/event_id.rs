//! The ids of events, by which a caller resumes a stream (`Last-Event-ID`).

use std::fmt;
use std::str::FromStr;

/// An event of a stream of a session: `<stream>-<number>`. The numbers count the events of a
/// stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) stream: u64,
    pub(crate) number: u64,
}

/// The text is no id of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EventIdError;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let (stream, number) = text.split_once('-').ok_or(EventIdError)?;
        Ok(Self {
            stream: parse_digits(stream)?,
            number: parse_digits(number)?,
        })
    }
}

/// Parses digits without a sign, which `u64::from_str` would accept.
fn parse_digits(digits: &str) -> Result<u64, EventIdError> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().map_err(|_| EventIdError)
    } else {
        Err(EventIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_is_parsed_from_its_text() {
        let id = EventId {
            stream: 3,
            number: 14,
        };

        assert_eq!(id.to_string(), "3-14");
        assert_eq!("3-14".parse(), Ok(id));

        for bad in [
            "",
            "-",
            "3",
            "3-",
            "-3",
            "3-1-4",
            "+3-1",
            "3- 1",
            "99999999999999999999-1",
        ] {
            assert_eq!(bad.parse::<EventId>(), Err(EventIdError), "{bad}");
        }
    }
}
