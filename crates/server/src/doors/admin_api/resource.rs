//! The resources of the API, by path.

use axum::http::Method;
use llamapool_identity::{AdminRight, ClientId, GrantId, KeyId, KeyText, KeyTextError, Pattern};
use percent_encoding::percent_decode_str;

use super::PATH;
use super::error::AdminError;
use super::relays::RelayAction;
use crate::directory::HoldTarget;

/// A resource of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// `keys`.
    Keys,
    /// `keys/<id>`.
    Key(KeyId),
    /// `keys/<id>/rotate`.
    Rotation(KeyId),
    /// `access`.
    Rules,
    /// `access/<pattern>`.
    Rule(Pattern),
    /// `grants`.
    Grants,
    /// `grants/<id>`.
    Grant(GrantId),
    /// `clients`.
    Clients,
    /// `clients/<id>`; the id of a document is a URL, percent-encoded.
    Client(ClientId),
    /// `clients/<id>/block`.
    Block(ClientId),
    /// `usage`.
    Usage,
    /// `ids/<id>`, or `relays/<relay>`.
    Relays(HoldTarget),
    /// `ids/<id>/drain`, and what else is done to ids and relays.
    RelayAction(HoldTarget, RelayAction),
}

impl Resource {
    /// Returns the resource of a path.
    pub(super) fn of(path: &str) -> Result<Self, AdminError> {
        let rest = path.strip_prefix(PATH).unwrap_or_default();
        let mut segments = Vec::new();
        for segment in rest.trim_start_matches('/').split('/') {
            let text = percent_decode_str(segment).decode_utf8();
            segments.push(text.map_err(|_| AdminError::NotFound)?);
        }
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        Ok(match segments[..] {
            ["keys"] => Self::Keys,
            ["keys", id] => Self::Key(key_id(id)?),
            ["keys", id, "rotate"] => Self::Rotation(key_id(id)?),
            ["access"] => Self::Rules,
            ["access", pattern] => Self::Rule(parsed(pattern)?),
            ["grants"] => Self::Grants,
            ["grants", id] => Self::Grant(parsed(id)?),
            ["clients"] => Self::Clients,
            ["clients", id] => Self::Client(parsed(id)?),
            ["clients", id, "block"] => Self::Block(parsed(id)?),
            ["usage"] => Self::Usage,
            ["ids", id] => Self::Relays(HoldTarget::Id(parsed(id)?)),
            ["relays", relay] => Self::Relays(HoldTarget::Relay(parsed(relay)?)),
            ["ids", id, action] => {
                Self::RelayAction(HoldTarget::Id(parsed(id)?), action_of(action)?)
            }
            ["relays", relay, action] => {
                Self::RelayAction(HoldTarget::Relay(parsed(relay)?), action_of(action)?)
            }
            _ => return Err(AdminError::NotFound),
        })
    }

    /// Returns what an admin key must be allowed to do.
    pub(super) fn right(&self) -> AdminRight {
        match self {
            Self::Rules | Self::Rule(_) => AdminRight::Policy,
            Self::Relays(_) | Self::RelayAction(..) => AdminRight::Relays,
            _ => AdminRight::Keys,
        }
    }

    /// Checks the method of a request.
    pub(super) fn check_method(&self, method: &Method) -> Result<(), AdminError> {
        let allow = match self {
            Self::Keys | Self::Clients => "GET, HEAD, POST",
            Self::Key(_) => "GET, HEAD, PATCH, DELETE",
            Self::Rotation(_) | Self::RelayAction(..) => "POST",
            Self::Rule(_) => "GET, HEAD, PUT, DELETE",
            Self::Grant(_) | Self::Client(_) => "GET, HEAD, DELETE",
            Self::Block(_) => "PUT, DELETE",
            Self::Rules | Self::Grants | Self::Usage | Self::Relays(_) => "GET, HEAD",
        };
        if allow.split(", ").any(|allowed| allowed == method.as_str()) {
            return Ok(());
        }
        Err(AdminError::Method(allow))
    }
}

fn action_of(word: &str) -> Result<RelayAction, AdminError> {
    RelayAction::of(word).ok_or(AdminError::NotFound)
}

/// Returns the key that a path names, also by its text, which is what people have at hand. What begins as
/// a key is in no error.
fn key_id(text: &str) -> Result<KeyId, AdminError> {
    match KeyText::parse(text) {
        Ok(key) => Ok(key.id().clone()),
        Err(KeyTextError::Prefix) => parsed(text),
        Err(error) => Err(AdminError::Invalid(error.to_string())),
    }
}

/// Parses the id in a path. A text that can be no id names nothing.
fn parsed<T>(text: &str) -> Result<T, AdminError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let value = text.parse();
    value.map_err(|error: T::Err| AdminError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_resource() {
        let of = |path: &str| Resource::of(path).unwrap();

        assert_eq!(of("/api/admin/keys"), Resource::Keys);
        let key = Resource::Key("7k3xq2mbdrta".parse().unwrap());
        assert_eq!(of("/api/admin/keys/7k3xq2mbdrta"), key);
        let rule = Resource::Rule("team-*".parse().unwrap());
        assert_eq!(of("/api/admin/access/team-*"), rule);
        assert_eq!(of("/api/admin/access/team-%2a"), rule);
        let url = "https://app.example/client.json";
        let client = Resource::Client(url.parse().unwrap());
        let path = "/api/admin/clients/https%3A%2F%2Fapp.example%2Fclient.json";
        assert_eq!(of(path), client);

        for unknown in [
            "/api/admin",
            "/api/admin/",
            "/api/admin/key",
            "/api/admin/keys/",
            "/api/admin/keys/a/b",
            "/api/admin/keys/%ff",
            "/api/admin/grants/no-id",
            "/api/admin/access/a*b",
        ] {
            assert!(Resource::of(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn another_method_is_refused_with_those_that_are_not() {
        let error = Resource::Keys.check_method(&Method::PUT).unwrap_err();

        assert!(matches!(error, AdminError::Method("GET, HEAD, POST")));
        assert!(Resource::Keys.check_method(&Method::HEAD).is_ok());
        assert!(Resource::Usage.check_method(&Method::POST).is_err());
    }
}
