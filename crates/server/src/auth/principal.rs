//! The identities of requests. Only `auth` makes them.

use axum::http::HeaderValue;

use crate::listen::Peer;

/// The party that a request acts for, as proved by what it presented.
///
/// It goes as an argument from `auth` to admission, to the running call, its log line and its
/// statistics. A further kind of proof is a further variant here, with the identity of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Presented nothing that this server checks.
    Anonymous,
    /// Presented the API key.
    ApiKey,
}

/// A caller of providers that the origin policy admits.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The party that it acts for.
    pub(crate) principal: Principal,
    /// The origin of the page, if a browser calls.
    pub(crate) origin: Option<AllowedOrigin>,
    /// The address that it calls from.
    pub(crate) peer: Peer,
}

/// An `Origin` that the origin policy admits.
#[derive(Debug, Clone)]
pub(crate) struct AllowedOrigin(HeaderValue);

/// A party that may read the state.
#[derive(Debug)]
pub(crate) struct Operator(Principal);

impl Principal {
    /// Returns the word for it in the log. `None` for an anonymous one, of which there is nothing
    /// to log.
    pub(crate) fn label(&self) -> Option<&'static str> {
        match self {
            Self::Anonymous => None,
            Self::ApiKey => Some("api_key"),
        }
    }
}

impl AllowedOrigin {
    pub(super) fn new(origin: HeaderValue) -> Self {
        Self(origin)
    }

    /// Returns the origin as the browser sent it.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl Operator {
    pub(super) fn new(principal: Principal) -> Self {
        Self(principal)
    }

    /// Returns the party that it acts for.
    pub(crate) fn principal(&self) -> &Principal {
        &self.0
    }
}
