//! The identity of a relay that connects, read from the headers of its upgrade.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use llamapool_limits::Network;
use llamapool_wire::{DisplayName, InstanceId, Refusal, RelayId, Secret, header as wire, read_ids};

use crate::identity::KeyUse;

/// The kind of a relay, fixed by the path that it dialled. All holders of an id have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayKind {
    /// Its providers are MCP servers.
    Mcp,
    /// Its providers are LLM runtimes.
    Worker,
}

/// A relay that presented the worker key, and what it asks for.
#[derive(Debug)]
pub(crate) struct RelayIdentity {
    pub(crate) kind: RelayKind,
    /// The ids that it wants, one for each of its providers; `None` where the server assigns it.
    pub(crate) ids: Vec<Option<RelayId>>,
    pub(crate) name: DisplayName,
    pub(crate) version: DisplayName,
    /// The commit of its program; empty if it does not report one.
    pub(crate) build_sha: DisplayName,
    /// The date of that commit; empty if it does not report one.
    pub(crate) build_date: DisplayName,
    pub(crate) instance: InstanceId,
    pub(crate) secret: Option<Secret>,
    /// The network that it connects from.
    pub(crate) network: Network,
    /// The worker key that it presented; `None` for the bootstrap key.
    pub(crate) key: Option<KeyUse>,
}

/// The refusal of a relay, with what was wrong and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RelayRefusedError {
    /// The kind of refusal.
    pub(crate) refusal: Refusal,
    /// The sentence for people.
    pub(crate) message: String,
}

impl RelayIdentity {
    /// Reads the identity of a relay that has presented the worker key.
    pub(super) fn read(
        headers: &HeaderMap,
        kind: RelayKind,
        network: Network,
    ) -> Result<Self, RelayRefusedError> {
        let instance = text(headers, wire::INSTANCE)?
            .ok_or_else(|| invalid(format!("the {} header is missing", wire::INSTANCE)))?;
        let ids = read_ids(headers).map_err(invalid)?;
        let name = display_name(headers, wire::NAME)?;
        let version = display_name(headers, wire::VERSION)?;
        let build = text(headers, wire::BUILD)?.unwrap_or_default();
        let (sha, date) = build.split_once(' ').unwrap_or((build, ""));

        Ok(Self {
            kind,
            ids,
            name,
            version,
            build_sha: DisplayName::decode(sha).map_err(invalid)?,
            build_date: DisplayName::decode(date).map_err(invalid)?,
            instance: instance.parse().map_err(invalid)?,
            secret: text(headers, wire::SECRET)?
                .filter(|secret| !secret.is_empty())
                .map(Secret::new),
            network,
            key: None,
        })
    }
}

impl RelayRefusedError {
    /// Returns a refusal with its sentence.
    pub(crate) fn new(refusal: Refusal, message: impl Into<String>) -> Self {
        Self {
            refusal,
            message: message.into(),
        }
    }

    /// Returns the refusal of a relay without the worker key.
    pub(super) fn wrong_key() -> Self {
        let expected =
            "the worker key is missing or wrong, expected Authorization: Bearer <WORKER_KEY>";
        Self::new(Refusal::WrongKey, expected)
    }

    /// Returns the refusal of a relay that presents the key of the state API.
    pub(super) fn api_key() -> Self {
        let expected = "this is the API key; relays need the worker key, WORKER_KEY of the server";
        Self::new(Refusal::WrongKey, expected)
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, RelayRefusedError> {
    headers
        .get(&name)
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_| invalid(format!("the {name} header is not ASCII text")))
}

fn display_name(headers: &HeaderMap, name: HeaderName) -> Result<DisplayName, RelayRefusedError> {
    let encoded = text(headers, name)?.unwrap_or_default();
    DisplayName::decode(encoded).map_err(invalid)
}

fn invalid(error: impl ToString) -> RelayRefusedError {
    RelayRefusedError::new(Refusal::InvalidHeader, error.to_string())
}
