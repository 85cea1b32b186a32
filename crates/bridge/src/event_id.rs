//! The ids of events: what a caller names to go on behind an event (`Last-Event-ID`).

use std::fmt;
use std::str::FromStr;

/// Which event of which stream of its session: `<stream>-<number>`; numbers count through a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) stream: u64,
    pub(crate) number: u64,
}

/// What a caller names is not the id of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAnEventId;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

impl FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        let (stream, number) = text.split_once('-').ok_or(NotAnEventId)?;
        let parse = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map_err(|_| NotAnEventId),
            false => Err(NotAnEventId),
        };
        Ok(Self {
            stream: parse(stream)?,
            number: parse(number)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_nothing_else_is_one() {
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
            assert_eq!(bad.parse::<EventId>(), Err(NotAnEventId), "{bad}");
        }
    }
}
