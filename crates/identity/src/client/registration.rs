//! The registration of a client by itself (RFC 7591), and the client that it becomes.

use std::time::{SystemTime, UNIX_EPOCH};

use llamapool_wire::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Client, ClientAuthMethod, ClientId, ClientOrigin, MAX_REDIRECTS, new_secret, shown_name,
};
use crate::oauth_error::{OAuthCode, OAuthError};
use crate::redirect::{RedirectError, RedirectPolicy, RedirectUri};

/// The longest registration, in bytes.
pub const MAX_REGISTRATION_BYTES: usize = 8 * 1024;
/// The grant type and the response type without which there is nothing to register for.
const CODE_GRANT: &str = "authorization_code";
const CODE_RESPONSE: &str = "code";

/// A registration that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    name: String,
    redirects: Vec<RedirectUri>,
    auth_method: ClientAuthMethod,
}

/// A client that was just made, with its secret, which is shown once.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// The client.
    pub client: Client,
    /// Its secret, if it is to have one.
    pub secret: Option<Secret>,
}

/// The members that are read. All others are ignored (RFC 7591, 2).
#[derive(Debug, Deserialize)]
struct Metadata {
    redirect_uris: Option<Vec<String>>,
    client_name: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
}

impl Registration {
    /// Reads the body of a registration. Redirects that are not acceptable are left out: some clients
    /// register those of several programs at once.
    ///
    /// # Errors
    ///
    /// If it is too long, is no such JSON, asks for what this server does not do, or has too many
    /// redirects or no acceptable one.
    pub fn parse(body: &[u8], policy: &RedirectPolicy) -> Result<Self, OAuthError> {
        let invalid = |text: String| OAuthError::new(OAuthCode::InvalidClientMetadata, text);
        if body.len() > MAX_REGISTRATION_BYTES {
            let message = format!("the registration has more than {MAX_REGISTRATION_BYTES} bytes");
            return Err(invalid(message));
        }
        let metadata: Metadata = serde_json::from_slice(body)
            .map_err(|error| invalid(format!("the registration is not as expected: {error}")))?;

        for (name, words, needed) in [
            ("grant_types", &metadata.grant_types, CODE_GRANT),
            ("response_types", &metadata.response_types, CODE_RESPONSE),
        ] {
            let lacks = |words: &Vec<String>| !words.iter().any(|word| word == needed);
            if words.as_ref().is_some_and(lacks) {
                return Err(invalid(format!("{name} lacks {needed}")));
            }
        }
        let auth_method = match metadata.token_endpoint_auth_method {
            None => ClientAuthMethod::None,
            Some(word) => word
                .parse()
                .map_err(|error| invalid(format!("token_endpoint_auth_method: {error}")))?,
        };
        Ok(Self {
            name: shown_name(metadata.client_name.as_deref()),
            redirects: acceptable(&metadata.redirect_uris.unwrap_or_default(), policy)?,
            auth_method,
        })
    }

    /// Returns the client that it becomes.
    pub fn into_client(self, now: SystemTime) -> NewClient {
        let Self {
            name,
            redirects,
            auth_method,
        } = self;
        NewClient::new(ClientOrigin::Registered, &name, redirects, auth_method, now)
    }
}

impl NewClient {
    pub(super) fn new(
        origin: ClientOrigin,
        name: &str,
        redirects: Vec<RedirectUri>,
        auth_method: ClientAuthMethod,
        now: SystemTime,
    ) -> Self {
        let secret = match auth_method {
            ClientAuthMethod::None => None,
            ClientAuthMethod::Post | ClientAuthMethod::Basic => Some(new_secret()),
        };
        let (secret, digest) = secret.unzip();
        let client = Client {
            id: ClientId::random(),
            origin,
            name: shown_name(Some(name)),
            redirects,
            auth_method,
            secret: digest,
            created_at: now,
            granted_at: None,
            blocked_at: None,
        };
        Self { client, secret }
    }

    /// Returns the answer to its registration (RFC 7591, 3.2.1).
    pub fn to_json(&self) -> Value {
        let Self { client, secret } = self;
        let issued_at = client.created_at.duration_since(UNIX_EPOCH);
        let redirects: Vec<_> = client.redirects.iter().map(RedirectUri::as_str).collect();
        let mut answer = json!({
            "client_id": client.id.as_str(),
            "client_id_issued_at": issued_at.map_or(0, |since| since.as_secs()),
            "client_name": client.name,
            "redirect_uris": redirects,
            "grant_types": [CODE_GRANT, "refresh_token"],
            "response_types": [CODE_RESPONSE],
            "token_endpoint_auth_method": client.auth_method.word(),
        });
        if let Some(secret) = secret {
            answer["client_secret"] = json!(secret.expose());
            // Zero: it does not expire by itself.
            answer["client_secret_expires_at"] = json!(0);
        }
        answer
    }
}

/// Returns the redirects that may be registered.
pub(super) fn acceptable(
    uris: &[String],
    policy: &RedirectPolicy,
) -> Result<Vec<RedirectUri>, OAuthError> {
    let refused = |text: String| OAuthError::new(OAuthCode::InvalidRedirectUri, text);
    if uris.len() > MAX_REDIRECTS {
        let found = uris.len();
        return Err(refused(format!(
            "there are {found} redirect URIs, expected {MAX_REDIRECTS} at most"
        )));
    }

    let mut redirects: Vec<RedirectUri> = Vec::new();
    let mut last: Option<RedirectError> = None;
    for uri in uris {
        match policy.parse(uri) {
            Ok(redirect) if redirects.contains(&redirect) => {}
            Ok(redirect) => redirects.push(redirect),
            Err(error) => last = Some(error),
        }
    }
    if redirects.is_empty() {
        return Err(refused(match last {
            Some(error) => format!("no redirect URI is acceptable: {error}"),
            None => "redirect_uris is missing or empty".to_owned(),
        }));
    }
    Ok(redirects)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<Registration, OAuthError> {
        Registration::parse(body.as_bytes(), &RedirectPolicy::default())
    }

    fn redirects(client: &Client) -> Vec<&str> {
        client.redirects.iter().map(RedirectUri::as_str).collect()
    }

    #[test]
    fn a_public_client_registers_without_a_secret() {
        let body = r#"{"redirect_uris":["http://localhost:1234/cb"],"client_name":"Codex",
            "application_type":"native","grant_types":["authorization_code","refresh_token"],
            "response_types":["code"],"scope":"mcp openid","contacts":[1],"jwks":{}}"#;

        let new = parse(body).unwrap().into_client(SystemTime::UNIX_EPOCH);

        assert_eq!(new.client.origin, ClientOrigin::Registered);
        assert_eq!(new.client.name, "Codex");
        assert_eq!(redirects(&new.client), ["http://localhost:1234/cb"]);
        assert!(new.secret.is_none() && new.client.secret.is_none());
        let answer = new.to_json();
        assert_eq!(answer["client_id"], new.client.id.as_str());
        assert_eq!(answer["token_endpoint_auth_method"], "none");
        assert!(answer.get("client_secret").is_none(), "{answer}");
    }

    #[test]
    fn a_secret_is_given_once_and_kept_as_its_hash() {
        for method in ["client_secret_post", "client_secret_basic"] {
            let body = format!(
                r#"{{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"{method}"}}"#
            );

            let new = parse(&body).unwrap().into_client(SystemTime::UNIX_EPOCH);

            let answer = new.to_json();
            let secret = answer["client_secret"].as_str().unwrap();
            assert!(secret.starts_with("llps_") && secret.len() > 50);
            assert_eq!(answer["client_secret_expires_at"], 0);
            let digest = crate::key::digest_of(secret.as_bytes());
            assert_eq!(new.client.secret, Some(digest));
            assert!(!format!("{new:?}").contains(secret), "{new:?}");
        }
    }

    #[test]
    fn acceptable_redirects_are_kept_and_the_others_left_out() {
        let body = r#"{"redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback","http://localhost:8787/callback",
            "http://intranet.example/cb","javascript:alert(1)","http://localhost:8787/callback"],
            "application_type":"web"}"#;

        let new = parse(body).unwrap().into_client(SystemTime::UNIX_EPOCH);

        assert_eq!(
            redirects(&new.client),
            [
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback",
                "http://localhost:8787/callback",
            ]
        );
    }

    #[test]
    fn a_registration_that_cannot_be_used_is_refused() {
        let many: Vec<_> = (0..11).map(|n| format!("https://a.example/{n}")).collect();
        let many = json!({ "redirect_uris": many }).to_string();
        let long = json!({
            "redirect_uris": ["https://a.example/cb"],
            "client_name": "x".repeat(9 * 1024),
        });
        let long = long.to_string();
        for (body, code) in [
            (
                r#"{"redirect_uris":["javascript:alert(1)"]}"#,
                "invalid_redirect_uri",
            ),
            (r#"{"redirect_uris":[]}"#, "invalid_redirect_uri"),
            ("{}", "invalid_redirect_uri"),
            (&many, "invalid_redirect_uri"),
            (&long, "invalid_client_metadata"),
            ("", "invalid_client_metadata"),
            ("[]", "invalid_client_metadata"),
            (
                r#"{"redirect_uris":"https://a.example/cb"}"#,
                "invalid_client_metadata",
            ),
            (r#"{"redirect_uris":[1]}"#, "invalid_client_metadata"),
            (
                r#"{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}"#,
                "invalid_client_metadata",
            ),
            (
                r#"{"redirect_uris":["https://a.example/cb"],"grant_types":["client_credentials"]}"#,
                "invalid_client_metadata",
            ),
            (
                r#"{"redirect_uris":["https://a.example/cb"],"response_types":["token"]}"#,
                "invalid_client_metadata",
            ),
        ] {
            let error = parse(body).unwrap_err();
            assert_eq!(error.code.word(), code, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_registration_is_read_without_a_panic(uri in "\\PC{0,40}", name in "\\PC{0,200}") {
            let body = json!({"redirect_uris": [uri, "https://a.example/cb"], "client_name": name});
            let registration = parse(&body.to_string()).unwrap();
            let client = registration.into_client(SystemTime::UNIX_EPOCH).client;
            prop_assert!(client.name.chars().count() <= 80 && !client.name.is_empty());
            prop_assert!(!client.name.chars().any(llamapool_wire::controls_display));
        }
    }
}
