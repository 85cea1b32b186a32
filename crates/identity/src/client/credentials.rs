//! What a client presents of itself at the token endpoint.

use data_encoding::BASE64;
use llamapool_wire::Secret;

use super::{Client, ClientId};
use crate::key::digest_of;
use crate::oauth_error::{OAuthCode, OAuthError};

/// The id and the secret that a client presents, in the form or in `Authorization: Basic`.
#[derive(Debug, Clone, Default)]
pub struct ClientCredentials {
    id: Option<String>,
    secret: Option<Secret>,
}

/// The reasons for refusing the credentials of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientAuthError {
    /// It has a secret and presents none.
    #[error("the client registered with a secret, and none was presented")]
    MissingSecret,
    /// It presents another secret than its own.
    #[error("the secret is not that of the client")]
    WrongSecret,
    /// It presents a secret and has none.
    #[error("the client registered without a secret, and one was presented")]
    UnexpectedSecret,
    /// It is blocked.
    #[error("the client is blocked")]
    Blocked,
}

impl ClientCredentials {
    /// Returns the credentials of a form. An empty secret is none: some clients send it so.
    pub fn of_form(id: Option<String>, secret: Option<String>) -> Self {
        let secret = secret.filter(|secret| !secret.is_empty());
        Self {
            id,
            secret: secret.map(Secret::new),
        }
    }

    /// Returns the credentials with those of an `Authorization` header (RFC 6749, 2.3.1).
    ///
    /// # Errors
    ///
    /// If the header is not `Basic`, or differs from the form.
    pub fn with_basic(self, header: &str) -> Result<Self, OAuthError> {
        let invalid = || {
            let message = "expected Authorization: Basic with the client's id and secret, once";
            OAuthError::new(OAuthCode::InvalidClient, message)
        };
        let (scheme, encoded) = header.split_once(' ').ok_or_else(invalid)?;
        if !scheme.eq_ignore_ascii_case("basic") || self.secret.is_some() {
            return Err(invalid());
        }

        let text = BASE64.decode(encoded.trim().as_bytes());
        let text = text.map_err(|_| invalid())?;
        let at = text.iter().position(|byte| *byte == b':');
        let at = at.ok_or_else(invalid)?;
        let id = decoded(text.get(..at).unwrap_or_default());
        let secret = decoded(text.get(at + 1..).unwrap_or_default());
        if self.id.as_ref().is_some_and(|own| *own != id) {
            return Err(invalid());
        }
        Ok(Self::of_form(Some(id), Some(secret)))
    }

    /// Returns the id that is presented.
    ///
    /// # Errors
    ///
    /// If there is none, or it is no id of a client.
    pub fn client_id(&self) -> Result<ClientId, OAuthError> {
        let missing = || OAuthError::new(OAuthCode::InvalidRequest, "client_id is missing");
        let id = self.id.as_deref().ok_or_else(missing)?;
        let id: Result<ClientId, _> = id.parse();
        id.map_err(|error| OAuthError::new(OAuthCode::InvalidClient, error.to_string()))
    }
}

impl Client {
    /// Checks that credentials are those of this client. A secret is taken in the form and in the
    /// header, whichever the client registered: libraries mix them up.
    ///
    /// # Errors
    ///
    /// If they are not, or the client is blocked.
    pub fn authenticate(&self, credentials: &ClientCredentials) -> Result<(), ClientAuthError> {
        if self.blocked_at.is_some() {
            return Err(ClientAuthError::Blocked);
        }
        match (&self.secret, &credentials.secret) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(ClientAuthError::MissingSecret),
            (None, Some(_)) => Err(ClientAuthError::UnexpectedSecret),
            // Of digests: the time depends on nothing that a caller can use.
            (Some(own), Some(secret)) if *own == digest_of(secret.expose().as_bytes()) => Ok(()),
            (Some(_), Some(_)) => Err(ClientAuthError::WrongSecret),
        }
    }
}

/// Decodes one half of the credentials, which are encoded as in a form.
fn decoded(half: &[u8]) -> String {
    // A name with a value: the half cannot contain an `=` or `&` that is not encoded.
    let text = form_urlencoded::parse(half).next();
    text.map_or_else(String::new, |(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::client::ClientAuthMethod;
    use crate::client::NewClient;

    fn client(method: ClientAuthMethod) -> NewClient {
        Client::known("app", Vec::new(), method, SystemTime::UNIX_EPOCH)
    }

    fn form(id: &str, secret: Option<&str>) -> ClientCredentials {
        ClientCredentials::of_form(Some(id.to_owned()), secret.map(str::to_owned))
    }

    fn basic(id: &str, secret: &str) -> String {
        format!(
            "Basic {}",
            BASE64.encode(format!("{id}:{secret}").as_bytes())
        )
    }

    #[test]
    fn a_secret_is_taken_in_the_form_and_in_the_header() {
        let new = client(ClientAuthMethod::Basic);
        let id = new.client.id.as_str();
        let secret = new.secret.as_ref().unwrap().expose();

        let in_form = form(id, Some(secret));
        let header = ClientCredentials::default().with_basic(&basic(id, secret));
        let header = header.unwrap();

        for credentials in [&in_form, &header] {
            assert_eq!(credentials.client_id().unwrap(), new.client.id);
            assert_eq!(new.client.authenticate(credentials), Ok(()));
        }
        let wrong = new.client.authenticate(&form(id, Some("llps_wrong")));
        assert_eq!(wrong, Err(ClientAuthError::WrongSecret));
        let missing = new.client.authenticate(&form(id, None));
        assert_eq!(missing, Err(ClientAuthError::MissingSecret));
    }

    #[test]
    fn a_public_client_has_no_secret_and_a_blocked_one_nothing() {
        let mut public = client(ClientAuthMethod::None).client;
        let id = public.id.to_string();

        assert_eq!(public.authenticate(&form(&id, None)), Ok(()));
        assert_eq!(public.authenticate(&form(&id, Some(""))), Ok(()));
        let unexpected = public.authenticate(&form(&id, Some("x")));
        assert_eq!(unexpected, Err(ClientAuthError::UnexpectedSecret));
        public.blocked_at = Some(SystemTime::UNIX_EPOCH);
        let blocked = public.authenticate(&form(&id, None));
        assert_eq!(blocked, Err(ClientAuthError::Blocked));
    }

    #[test]
    fn credentials_are_presented_once() {
        let header = |text: &str, form: ClientCredentials| form.with_basic(text);

        assert!(header(&basic("a", "b"), form("a", None)).is_ok());
        assert!(header(&basic("a", "b"), form("other", None)).is_err());
        assert!(header(&basic("a", "b"), form("a", Some("b"))).is_err());
        for wrong in ["", "Basic", "Basic !", "Basic YQ==", "Bearer YTpi"] {
            assert!(
                header(wrong, ClientCredentials::default()).is_err(),
                "{wrong}"
            );
        }
        let encoded = header(&basic("a%20b", "c+d%2B"), ClientCredentials::default());
        let encoded = encoded.unwrap();
        assert_eq!(encoded.id.as_deref(), Some("a b"));
        assert_eq!(encoded.secret.unwrap().expose(), "c d+");
        let none = ClientCredentials::default().client_id().unwrap_err();
        assert_eq!(none.code, OAuthCode::InvalidRequest);
    }
}
