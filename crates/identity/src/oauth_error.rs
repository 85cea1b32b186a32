//! The errors of OAuth: a code for the client's program, and a description for its developer.

use std::fmt;

/// The code of an error (RFC 6749, 4.1.2.1 and 5.2; RFC 7591, 3.2.2; RFC 8707, 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// There is no such client, or it did not authenticate as it registered.
    InvalidClient,
    /// The code or the refresh token is not valid, or not for this client.
    InvalidGrant,
    /// The grant type is another one than `authorization_code` and `refresh_token`.
    UnsupportedGrantType,
    /// The response type is another one than `code`.
    UnsupportedResponseType,
    /// More was asked for than was granted.
    InvalidScope,
    /// The resource is no id of this server, or another one than was granted.
    InvalidTarget,
    /// The person refused.
    AccessDenied,
    /// No redirect of a registration is acceptable.
    InvalidRedirectUri,
    /// Another member of a registration is not acceptable.
    InvalidClientMetadata,
    /// The server cannot write its store.
    ServerError,
    /// There are as many records as may be.
    TemporarilyUnavailable,
}

/// An error of an OAuth endpoint. Its text contains nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{description}")]
pub struct OAuthError {
    /// For the client's program.
    pub code: OAuthCode,
    /// For the client's developer.
    pub description: String,
}

impl OAuthError {
    /// Returns an error.
    pub fn new(code: OAuthCode, description: impl Into<String>) -> Self {
        Self {
            code,
            description: description.into(),
        }
    }
}

impl OAuthCode {
    /// Returns the code as OAuth spells it.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

impl fmt::Display for OAuthCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
