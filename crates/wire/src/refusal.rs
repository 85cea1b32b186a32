//! Why the server does not take a relay: an ordinary HTTP answer before the upgrade, with a JSON body that says why.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::event::sanitize;

/// Why a relay's upgrade was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The worker key is missing or wrong.
    WrongKey,
    /// The wanted id, the name or the instance id is not one.
    InvalidHeader,
    /// Another relay holds the id and is alive.
    IdTaken,
    /// Not a WebSocket upgrade with a sub-protocol that the server speaks.
    Version,
    /// The server is draining.
    Draining,
    /// The server holds as many relays as it may.
    TooManyRelays,
}

/// The body of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalBody {
    /// Which refusal, for programs.
    pub error: Refusal,
    /// What was wrong and what was expected, for people.
    pub message: String,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::WrongKey => StatusCode::UNAUTHORIZED,
            Self::InvalidHeader => StatusCode::BAD_REQUEST,
            Self::IdTaken => StatusCode::CONFLICT,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Draining | Self::TooManyRelays => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word for it in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::WrongKey => "wrong_key",
            Self::InvalidHeader => "invalid_header",
            Self::IdTaken => "id_taken",
            Self::Version => "version",
            Self::Draining => "draining",
            Self::TooManyRelays => "too_many_relays",
        }
    }
}

impl RefusalBody {
    /// The message for people, cut and without control characters.
    pub fn display_message(&self) -> String {
        sanitize(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_and_contains_no_control_characters() {
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
