//! The refusal of a relay: an ordinary HTTP response before the upgrade, with the reason as JSON.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::event::sanitize;

/// The reason for the refusal of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The worker key is missing or wrong.
    WrongKey,
    /// The worker key is wrong, as too many were that came from the address.
    TooManyWrongKeys,
    /// The worker key has expired or was revoked.
    KeyEnded,
    /// The worker key does not cover the wanted id, this kind of relay or as many ids.
    IdNotAllowed,
    /// The wanted id, the name or the instance id is not valid.
    InvalidHeader,
    /// Another relay holds the id and is alive.
    IdTaken,
    /// The id was held with a secret, and is kept for relays with that secret.
    IdKept,
    /// The request is no WebSocket upgrade with a sub-protocol that the server has.
    Version,
    /// The server is draining.
    Draining,
    /// The server has as many relays as it may.
    TooManyRelays,
}

/// The body of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalBody {
    /// The reason, for programs.
    pub error: Refusal,
    /// The wrong value and the expected one, for people.
    pub message: String,
}

impl Refusal {
    /// Returns the status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::WrongKey | Self::KeyEnded => StatusCode::UNAUTHORIZED,
            Self::TooManyWrongKeys => StatusCode::TOO_MANY_REQUESTS,
            Self::IdNotAllowed => StatusCode::FORBIDDEN,
            Self::InvalidHeader => StatusCode::BAD_REQUEST,
            Self::IdTaken | Self::IdKept => StatusCode::CONFLICT,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Draining | Self::TooManyRelays => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the word for the reason in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::WrongKey => "wrong_key",
            Self::TooManyWrongKeys => "too_many_wrong_keys",
            Self::KeyEnded => "key_ended",
            Self::IdNotAllowed => "id_not_allowed",
            Self::InvalidHeader => "invalid_header",
            Self::IdTaken => "id_taken",
            Self::IdKept => "id_kept",
            Self::Version => "version",
            Self::Draining => "draining",
            Self::TooManyRelays => "too_many_relays",
        }
    }
}

impl RefusalBody {
    /// Returns the message for people, cut and without control characters.
    pub fn display_message(&self) -> String {
        sanitize(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_and_controls_no_terminal() {
        let shown = |message: String| {
            RefusalBody {
                error: Refusal::IdTaken,
                message,
            }
            .display_message()
        };

        assert_eq!(shown("x".repeat(512)).chars().count(), 512);
        assert_eq!(shown("é".repeat(513)).chars().count(), 512);
        assert_eq!(shown("a\n\u{1b}[31mb".to_owned()), "a  [31mb");
    }

    #[test]
    fn a_refusal_has_exactly_these_bytes() {
        let body = RefusalBody {
            error: Refusal::IdTaken,
            message: "mcp-1234 is held".into(),
        };
        let json = r#"{"error":"id_taken","message":"mcp-1234 is held"}"#;

        assert_eq!(serde_json::to_string(&body).unwrap(), json);
        assert_eq!(serde_json::from_str::<RefusalBody>(json).unwrap(), body);
    }
}
