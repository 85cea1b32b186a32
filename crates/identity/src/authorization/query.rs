//! The parameters of an authorization request as they were sent: each one at most once.

use super::PageError;
use crate::client::ClientId;

/// The longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;
/// The parameters that are read. `resource` may be repeated (RFC 8707, 2), and is refused then.
const KNOWN: [&str; 9] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "code_challenge",
    "code_challenge_method",
    "resource",
    "scope",
    "state",
];

/// The parameters of an authorization request. Unknown ones are left out.
#[derive(Debug, Clone)]
pub struct AuthorizationQuery(Vec<(&'static str, String)>);

impl AuthorizationQuery {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// If it is too long.
    pub fn parse(query: &str) -> Result<Self, PageError> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(PageError::TooLong);
        }
        let pairs = form_urlencoded::parse(query.as_bytes());
        let known = pairs.filter_map(|(name, value)| {
            let name = KNOWN.into_iter().find(|known| *known == name)?;
            Some((name, value.into_owned()))
        });
        Ok(Self(known.collect()))
    }

    /// Returns the id of the client that asks.
    ///
    /// # Errors
    ///
    /// If it is not there once, or is none.
    pub fn client_id(&self) -> Result<ClientId, PageError> {
        let id = self.once("client_id").map_err(PageError::NotOnce)?;
        Ok(id.parse()?)
    }

    /// Returns the values of a parameter.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(own, _)| *own == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Returns the value of a parameter that is there once; otherwise its name.
    pub(super) fn once(&self, name: &'static str) -> Result<&str, &'static str> {
        let mut values = self.all(name);
        let value = values.next().ok_or(name)?;
        if values.next().is_some() {
            return Err(name);
        }
        Ok(value)
    }

    /// Returns the name of a parameter that is there several times and may not be.
    pub(super) fn repeated(&self) -> Option<&'static str> {
        let may_not = KNOWN.into_iter().filter(|name| *name != "resource");
        let mut repeated = may_not.filter(|name| self.all(name).nth(1).is_some());
        repeated.next()
    }
}
