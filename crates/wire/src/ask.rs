//! A question about ids that claims nothing: what the server would answer to a relay that wants them.
//!
//! It is sent like the upgrade of a relay, with another sub-protocol, so that a server that does not
//! know the question refuses it before it looks at the ids.

use serde::{Deserialize, Serialize};

use crate::event::sanitize;

/// The sub-protocol that stands for the question in place of [`SUBPROTOCOL`](crate::SUBPROTOCOL).
pub const ASK_PROTOCOL: &str = "llamapool.ask.v1";

/// What would become of a claim of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdStanding {
    /// No relay has it.
    Free,
    /// Relays have it with which the asking one may share it.
    Shared,
    /// Another relay has it.
    Taken,
    /// It is kept for relays with another secret.
    Kept,
}

/// An id, and what would become of a claim of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdAnswer {
    /// The id; `None` where the server would assign one.
    pub id: Option<String>,
    /// What would become of a claim.
    pub standing: IdStanding,
    /// The name of the relay that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

/// The answer to the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskAnswer {
    /// The version of the server.
    pub version: String,
    /// The public URL of the server, where it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// The ids, in the order in which they were asked about.
    pub ids: Vec<IdAnswer>,
}

impl IdAnswer {
    /// Returns the name of the relay that has the id, cut and without control characters.
    pub fn display_holder(&self) -> Option<String> {
        self.holder.as_deref().map(sanitize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_exactly_these_bytes() {
        let answer = AskAnswer {
            version: "0.1.0".into(),
            public_url: None,
            ids: vec![IdAnswer {
                id: Some("notes".into()),
                standing: IdStanding::Taken,
                holder: Some("Alpha".into()),
            }],
        };
        let json =
            r#"{"version":"0.1.0","ids":[{"id":"notes","standing":"taken","holder":"Alpha"}]}"#;

        assert_eq!(serde_json::to_string(&answer).unwrap(), json);
        assert_eq!(serde_json::from_str::<AskAnswer>(json).unwrap(), answer);
    }
}
