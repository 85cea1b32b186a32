//! Client ID metadata documents: a client whose id is the URL of a document about it. Fetching is not
//! here.

use std::time::SystemTime;

use llamapool_wire::controls_display;
use serde::Deserialize;
use serde_json::Value;

use super::registration::acceptable;
use super::{Client, ClientAuthMethod, ClientId, ClientOrigin, shown_name};
use crate::oauth_error::OAuthError;
use crate::redirect::RedirectPolicy;

/// The longest text of a document that is repeated in an error, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// The reasons why a document is not one of its client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no such JSON.
    #[error("the document is not as expected: {0}")]
    Shape(String),
    /// Its `client_id` is not its URL, byte for byte.
    #[error("the document is of another client: its client_id is not its URL")]
    OtherClient,
    /// It has a secret, which everybody could read.
    #[error("the document has a member {0:?}, and is public")]
    Secret(&'static str),
    /// Its client can only authenticate in a way that this server does not support.
    #[error("the document asks for token_endpoint_auth_method {0:?}, expected none")]
    AuthMethod(String),
    /// None of its redirects is acceptable.
    #[error("{0}")]
    Redirects(OAuthError),
}

#[derive(Debug, Deserialize)]
struct Metadata {
    client_id: String,
    client_name: Option<String>,
    redirect_uris: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    client_secret: Option<Value>,
    client_secret_expires_at: Option<Value>,
}

/// Returns the client that a document is about.
///
/// # Errors
///
/// If the document is not one of this client, or has what it must not have.
pub fn client_of_document(
    id: &ClientId,
    document: &[u8],
    policy: &RedirectPolicy,
    now: SystemTime,
) -> Result<Client, DocumentError> {
    let metadata: Metadata = serde_json::from_slice(document)
        .map_err(|error| DocumentError::Shape(shown_error(&error)))?;
    if metadata.client_id != id.as_str() {
        return Err(DocumentError::OtherClient);
    }
    if metadata.client_secret.is_some() {
        return Err(DocumentError::Secret("client_secret"));
    }
    if metadata.client_secret_expires_at.is_some() {
        return Err(DocumentError::Secret("client_secret_expires_at"));
    }
    check_auth_method(&metadata)?;

    let uris = metadata.redirect_uris.unwrap_or_default();
    Ok(Client {
        id: id.clone(),
        origin: ClientOrigin::Document,
        name: shown_name(metadata.client_name.as_deref()),
        redirects: acceptable(&uris, policy).map_err(DocumentError::Redirects)?,
        auth_method: ClientAuthMethod::None,
        secret: None,
        created_at: now,
        granted_at: None,
        blocked_at: None,
    })
}

/// Returns an error as it is shown: it can repeat a text of the document.
fn shown_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let plain = text.chars().filter(|c| !controls_display(*c));
    plain.take(MAX_SHOWN_CHARS).collect()
}

/// Checks that the client may be a public one. One that prefers its own keys falls back to none; one
/// with a shared secret cannot.
fn check_auth_method(metadata: &Metadata) -> Result<(), DocumentError> {
    let none = ClientAuthMethod::None.word();
    let supported = metadata.token_endpoint_auth_methods_supported.as_ref();
    let supports_none = supported.is_none_or(|words| words.iter().any(|word| word == none));
    match metadata.token_endpoint_auth_method.as_deref() {
        None => Ok(()),
        Some(word) if word == none => Ok(()),
        Some("private_key_jwt") if supports_none => Ok(()),
        Some(word) => Err(DocumentError::AuthMethod(
            word.chars().take(MAX_SHOWN_CHARS).collect(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const URL: &str = "https://claude.ai/oauth/mcp-oauth-client-metadata";

    fn client(document: &Value) -> Result<Client, DocumentError> {
        let policy = RedirectPolicy::default();
        let document = document.to_string();
        let now = SystemTime::UNIX_EPOCH;
        client_of_document(&URL.parse().unwrap(), document.as_bytes(), &policy, now)
    }

    #[test]
    fn a_document_is_one_of_its_client_byte_for_byte() {
        let document = |id: &str| {
            json!({
                "client_id": id,
                "client_name": "Claude",
                "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
                "token_endpoint_auth_method": "none",
                "logo_uri": "https://claude.ai/logo.png",
            })
        };

        let found = client(&document(URL)).unwrap();

        assert_eq!(found.origin, ClientOrigin::Document);
        assert_eq!(found.name, "Claude");
        assert_eq!(found.redirects.len(), 1);
        let other = "https://Claude.ai/oauth/mcp-oauth-client-metadata";
        assert_eq!(client(&document(other)), Err(DocumentError::OtherClient));
    }

    #[test]
    fn a_document_may_prefer_keys_and_has_no_secret() {
        let with = |name: &str, value: Value| {
            let mut document = json!({
                "client_id": URL,
                "redirect_uris": ["https://chatgpt.com/connector/oauth/x"],
            });
            document[name] = value;
            client(&document)
        };

        let method = "token_endpoint_auth_method";
        assert!(with(method, json!("private_key_jwt")).is_ok());
        assert!(with(method, json!("client_secret_post")).is_err());
        assert!(with("client_secret", json!("x")).is_err());
        assert!(with("client_secret_expires_at", json!(0)).is_err());
        let none = with("redirect_uris", json!(["data:x"])).unwrap_err();
        assert!(matches!(none, DocumentError::Redirects(_)), "{none}");
        assert!(client(&json!([])).is_err());
    }
}
