//! The relay's events: one JSON object a line, in the response to the request for
//! [`crate::path::events`].
//!
//! The first line is an offer, and so is every change: an offer is always complete, so none depends
//! on an earlier one. The end of the stream means that the relay leaves. A line with an unknown event
//! is skipped and not refused: newer relays may send more.

use serde::{Deserialize, Serialize};

use crate::DisplayName;
use crate::display::controls_display;
use crate::llm::{CallProgress, CallReport, Load, MAX_MODELS_BYTES, Models, RuntimeInfo};

/// The longest line of the event stream, in bytes. A complete offer has a few hundred.
pub const MAX_EVENT_BYTES: usize = 16 * 1024;
/// The beginning of a report of a call, as [`Event::to_line`] writes it. There is one for each call, and
/// all other events are rare.
const CALL_START: &[u8] = br#"{"event":"call","#;
/// The longest text of the peer that is shown to people, in characters; longer ones are cut.
const MAX_ERROR_CHARS: usize = 512;

/// One line of a relay's event stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The state of the provider from now on.
    Offer(Offer),
    /// The models of an LLM runtime from now on.
    Models(Models),
    /// The load of an LLM runtime from now on.
    Load(Load),
    /// An attempt of a call to an LLM runtime has ended.
    Call(CallReport),
    /// A runtime reads the prompt of an attempt that has no content yet.
    Progress(CallProgress),
    /// An event that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The state of one provider, as its relay reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// True if the relay finishes running calls and takes no new ones.
    pub draining: bool,
    /// True if callers must present the relay's own token.
    pub protected: bool,
    /// Reachability of the provider.
    pub provider: ProviderHealth,
    /// The programs and sessions of a provider that is a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeLoad>,
    /// The runtime of a provider that is an LLM runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm: Option<RuntimeInfo>,
}

/// The programs and sessions of a provider that is a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeLoad {
    /// The number of programs that run now.
    pub children: u64,
    /// The number of sessions that are open now, each with a program of its own.
    pub sessions: u64,
    /// The number of programs that were started.
    pub started_total: u64,
    /// The number of programs that ended by themselves.
    pub crashed_total: u64,
}

/// Reachability of a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ProviderHealth {
    /// It was not probed yet.
    #[default]
    Unknown,
    /// It took the last connection.
    Reachable {
        /// For how long, in milliseconds. A span, not a time: clocks differ between machines.
        for_ms: u64,
    },
    /// It did not take the last connection.
    Unreachable {
        /// For how long, in milliseconds.
        for_ms: u64,
        /// The error of the last attempt.
        error: String,
    },
}

/// A line is not an event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The line exceeds [`MAX_EVENT_BYTES`], or [`MAX_MODELS_BYTES`] if it is a list of models.
    #[error("the event line has {bytes} bytes, expected at most {max}")]
    TooLong {
        /// The length of the line.
        bytes: usize,
        /// The bound that it exceeds.
        max: usize,
    },
    /// The line is not the JSON of an event.
    #[error("the event line is not an event")]
    Json(#[from] serde_json::Error),
}

impl Event {
    /// Returns the event as a line, with its line end.
    pub fn to_line(&self) -> String {
        // Plain structs of texts, numbers and flags always have a JSON form.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Parses a line. Its texts are cut and have no control characters.
    pub fn from_line(line: &[u8]) -> Result<Self, EventError> {
        let bytes = line.len();
        if bytes > MAX_MODELS_BYTES {
            let max = MAX_MODELS_BYTES;
            return Err(EventError::TooLong { bytes, max });
        }

        let mut event = if line.starts_with(CALL_START) {
            // The tag goes before all members, so that they need not be kept until it is found.
            Self::Call(serde_json::from_slice(line)?)
        } else {
            serde_json::from_slice(line)?
        };
        if bytes > MAX_EVENT_BYTES && !matches!(event, Self::Models(_)) {
            let max = MAX_EVENT_BYTES;
            return Err(EventError::TooLong { bytes, max });
        }
        event.sanitize();
        Ok(event)
    }

    /// Cuts the texts of the peer, and removes their control characters.
    fn sanitize(&mut self) {
        match self {
            Self::Offer(offer) => {
                if let ProviderHealth::Unreachable { error, .. } = &mut offer.provider {
                    *error = sanitize(error);
                }
                if let Some(llm) = &mut offer.llm {
                    llm.sanitize();
                }
            }
            Self::Models(models) => models.sanitize(),
            Self::Load(load) => load.sanitize(),
            Self::Call(report) => report.sanitize(),
            Self::Progress(progress) => progress.sanitize(),
            Self::Unknown => {}
        }
    }
}

impl Default for Offer {
    /// The state of a provider before its first offer.
    fn default() -> Self {
        Self {
            draining: false,
            protected: false,
            provider: ProviderHealth::Unknown,
            bridge: None,
            llm: None,
        }
    }
}

/// Returns a text of the peer, cut and without control characters.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars()
        .take(MAX_ERROR_CHARS)
        .map(|c| if controls_display(c) { ' ' } else { c })
        .collect()
}

impl From<&str> for DisplayName {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_offer_has_exactly_these_bytes() {
        let provider = ProviderHealth::Unreachable {
            for_ms: 1500,
            error: "connection refused".into(),
        };
        let event = Event::Offer(Offer {
            draining: false,
            protected: true,
            provider,
            bridge: None,
            llm: None,
        });
        let line = concat!(
            r#"{"event":"offer","draining":false,"protected":true,"#,
            r#""provider":{"status":"unreachable","for_ms":1500,"error":"connection refused"}}"#,
            "\n"
        );

        assert_eq!(event.to_line(), line);
        assert_eq!(Event::from_line(line.as_bytes()).unwrap(), event);
    }

    #[test]
    fn unknown_events_and_members_of_newer_relays_are_skipped() {
        assert_eq!(
            Event::from_line(br#"{"event":"weather","sky":"blue"}"#).unwrap(),
            Event::Unknown
        );

        let longer = br#"{"event":"offer","draining":true,"protected":false,"provider":{"status":"unknown"},"new":1}"#;

        assert_eq!(
            Event::from_line(longer).unwrap(),
            Event::Offer(Offer {
                draining: true,
                ..Offer::default()
            })
        );
    }

    #[test]
    fn a_hostile_error_text_is_cut_and_harmless() {
        let line = format!(
            r#"{{"event":"offer","draining":false,"protected":false,"provider":{{"status":"unreachable","for_ms":0,"error":"\u001b[31m{}"}}}}"#,
            "x".repeat(2000)
        );
        let Ok(Event::Offer(Offer {
            provider: ProviderHealth::Unreachable { error, .. },
            ..
        })) = Event::from_line(line.as_bytes())
        else {
            panic!("an offer")
        };

        assert_eq!(error.chars().count(), MAX_ERROR_CHARS);
        assert!(!error.contains('\u{1b}'));

        let too_long = vec![b' '; MAX_MODELS_BYTES + 1];
        assert!(matches!(
            Event::from_line(&too_long),
            Err(EventError::TooLong { .. })
        ));
    }

    fn health() -> impl Strategy<Value = ProviderHealth> {
        prop_oneof![
            Just(ProviderHealth::Unknown),
            any::<u64>().prop_map(|for_ms| ProviderHealth::Reachable { for_ms }),
            (any::<u64>(), "[ -~]{0,100}")
                .prop_map(|(for_ms, error)| ProviderHealth::Unreachable { for_ms, error }),
        ]
    }

    proptest! {
        #[test]
        fn every_offer_survives_its_line(draining: bool, protected: bool, provider in health()) {
            let event = Event::Offer(Offer { draining, protected, provider, bridge: None, llm: None });
            prop_assert_eq!(Event::from_line(event.to_line().as_bytes()).unwrap(), event);
        }

        #[test]
        fn mutated_lines_never_panic(
            provider in health(),
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut line = Event::Offer(Offer { draining: true, protected: true, provider, bridge: None, llm: None }).to_line().into_bytes();
            for (place, byte) in hits {
                let place = place.index(line.len());
                line[place] = byte;
            }
            let _ = Event::from_line(&line);
        }
    }
}
