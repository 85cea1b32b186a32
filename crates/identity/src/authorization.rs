//! The authorization request (RFC 6749, 4.1.1), checked in the order that decides where an error
//! goes: until client and redirect are proven, it is a page, and never a redirect.

mod query;

use llamapool_wire::RelayId;

use crate::challenge::Challenge;
use crate::client::{Client, ClientId, ClientIdError};
use crate::oauth_error::{OAuthCode, OAuthError};
use crate::redirect::{RedirectError, RedirectPolicy, RedirectUri};
use crate::resource::ResourceServer;
use crate::scope::Scope;

pub use query::{AuthorizationQuery, MAX_QUERY_BYTES};

/// An authorization request that was checked. It travels sealed in the consent form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// The client that asks.
    pub client: ClientId,
    /// Where the answer goes.
    pub redirect: RedirectUri,
    /// What the client gets back with the answer.
    pub state: Option<String>,
    /// What proves the client when it redeems the code.
    pub challenge: Challenge,
    /// The id that it asks for; `None`: the person chooses one.
    pub resource: Option<RelayId>,
    /// How much it asks for.
    pub scope: Scope,
}

/// An error that is answered with a page: the redirect is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The query is too long.
    #[error("the request has more than {MAX_QUERY_BYTES} bytes")]
    TooLong,
    /// A parameter is missing, or there several times.
    #[error("{0} is missing or repeated")]
    NotOnce(&'static str),
    /// The client's id is none.
    #[error("client_id: {0}")]
    ClientId(#[from] ClientIdError),
    /// There is no such client, or no longer.
    #[error("the client {0} is not known; remove the saved login in it and connect again")]
    UnknownClient(ClientId),
    /// The operator has blocked the client.
    #[error("the client {0} is blocked")]
    BlockedClient(ClientId),
    /// The redirect is not acceptable.
    #[error("redirect_uri: {0}")]
    Redirect(#[from] RedirectError),
    /// The client has not registered the redirect.
    #[error("the client has not registered this redirect_uri")]
    OtherRedirect,
}

/// An error that is answered with a redirect to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ReturnedError {
    /// Where it goes.
    pub redirect: RedirectUri,
    /// What the client gets back with it.
    pub state: Option<String>,
    /// The error.
    pub error: OAuthError,
}

/// The reasons for refusing an authorization request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// It is answered with a page.
    #[error(transparent)]
    Page(#[from] PageError),
    /// It is answered with a redirect.
    #[error(transparent)]
    Returned(Box<ReturnedError>),
}

impl AuthorizationQuery {
    /// Checks the request of a client.
    ///
    /// # Errors
    ///
    /// A page until client and redirect are proven, and then a redirect.
    pub fn check(
        &self,
        client: &Client,
        server: &ResourceServer,
        policy: &RedirectPolicy,
    ) -> Result<AuthorizationRequest, AuthorizationError> {
        let redirect = self.proven_redirect(client, policy)?;
        self.checked(client, server, redirect.clone())
            .map_err(|error| {
                let state = self.once("state").ok().map(str::to_owned);
                AuthorizationError::Returned(Box::new(ReturnedError {
                    redirect,
                    state,
                    error,
                }))
            })
    }

    fn proven_redirect(
        &self,
        client: &Client,
        policy: &RedirectPolicy,
    ) -> Result<RedirectUri, PageError> {
        let id = self.client_id()?;
        if id != client.id {
            return Err(PageError::UnknownClient(id));
        }
        if client.blocked_at.is_some() {
            return Err(PageError::BlockedClient(id));
        }
        let asked = self.once("redirect_uri").map_err(PageError::NotOnce)?;
        let asked = policy.parse(asked)?;
        if !client.admits(&asked) {
            return Err(PageError::OtherRedirect);
        }
        Ok(asked)
    }

    fn checked(
        &self,
        client: &Client,
        server: &ResourceServer,
        redirect: RedirectUri,
    ) -> Result<AuthorizationRequest, OAuthError> {
        let invalid = |text: &str| OAuthError::new(OAuthCode::InvalidRequest, text);
        if let Some(name) = self.repeated() {
            return Err(invalid(&format!("{name} is repeated")));
        }
        let once = |name: &'static str| {
            let missing = |name| invalid(&format!("{name} is missing"));
            self.once(name).map_err(missing)
        };

        let response_type = once("response_type")?;
        if response_type != "code" {
            let message = "response_type: expected code";
            return Err(OAuthError::new(OAuthCode::UnsupportedResponseType, message));
        }
        if self.once("response_mode").is_ok_and(|mode| mode != "query") {
            return Err(invalid("response_mode: expected query"));
        }
        let challenge = once("code_challenge")?;
        if self.once("code_challenge_method") != Ok("S256") {
            return Err(invalid("code_challenge_method: expected S256"));
        }
        let challenge = challenge.parse();
        let challenge = challenge
            .map_err(|error: crate::challenge::ChallengeError| invalid(&error.to_string()))?;

        let resources: Vec<_> = self.all("resource").collect();
        Ok(AuthorizationRequest {
            client: client.id.clone(),
            redirect,
            state: self.once("state").ok().map(str::to_owned),
            challenge,
            resource: resource_of(&resources, server)?,
            scope: Scope::asked(self.once("scope").ok()),
        })
    }
}

/// Returns the id that at most one `resource` parameter names.
pub(crate) fn resource_of(
    resources: &[&str],
    server: &ResourceServer,
) -> Result<Option<RelayId>, OAuthError> {
    let invalid = |text: String| OAuthError::new(OAuthCode::InvalidTarget, text);
    match resources {
        [] => Ok(None),
        [resource] => {
            let id = server.id_of(resource);
            id.map(Some).map_err(|error| invalid(error.to_string()))
        }
        _ => Err(invalid("there are several resource parameters".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::client::ClientAuthMethod;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const REDIRECT: &str = "http://localhost:8787/callback";

    fn client() -> Client {
        let redirect = RedirectPolicy::default().parse("http://localhost/callback");
        let now = SystemTime::UNIX_EPOCH;
        Client::known("app", vec![redirect.unwrap()], ClientAuthMethod::None, now).client
    }

    /// The parameters of a good request, with some of them changed; `None` leaves one out.
    fn query(client: &Client, changes: &[(&str, Option<&str>)]) -> String {
        let mut pairs = vec![
            ("client_id", client.id.as_str()),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", "https://pool.example/api/mcp/id/notes"),
            ("scope", "mcp:read"),
            ("state", "a b&c"),
        ];
        for (name, value) in changes {
            pairs.retain(|(other, _)| other != name);
            pairs.extend(value.map(|value| (*name, value)));
        }
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(pairs).finish()
    }

    fn check(client: &Client, query: &str) -> Result<AuthorizationRequest, AuthorizationError> {
        let server = ResourceServer::new("https://pool.example").unwrap();
        let policy = RedirectPolicy::default();
        AuthorizationQuery::parse(query)?.check(client, &server, &policy)
    }

    fn returned(client: &Client, query: &str) -> ReturnedError {
        match check(client, query) {
            Err(AuthorizationError::Returned(error)) => *error,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn a_good_request_is_read_as_it_was_sent() {
        let client = client();

        let request = check(&client, &query(&client, &[("unknown", Some("x"))])).unwrap();

        assert_eq!(request.client, client.id);
        assert_eq!(request.redirect.as_str(), REDIRECT);
        assert_eq!(request.state.as_deref(), Some("a b&c"));
        assert_eq!(request.challenge.text(), CHALLENGE);
        assert_eq!(request.resource.unwrap().as_str(), "notes");
        assert_eq!(request.scope, Scope::Read);
        let none = [("resource", None), ("scope", None), ("state", None)];
        let request = check(&client, &query(&client, &none)).unwrap();
        assert_eq!((request.resource, request.state), (None, None));
        assert_eq!(request.scope, Scope::All);
    }

    #[test]
    fn until_the_redirect_is_proven_an_error_is_a_page() {
        let client = client();
        let mut blocked = client.clone();
        blocked.blocked_at = Some(SystemTime::UNIX_EPOCH);
        let twice = |name: &str| format!("{}&{name}=x", query(&client, &[]));
        // Errors that would be returned later do not come first.
        let broken = [("response_type", None), ("code_challenge", None)];
        let with = |name, value| query(&client, &[broken[0], broken[1], (name, value)]);

        for (client, query) in [
            (&client, String::new()),
            (&client, "x".repeat(MAX_QUERY_BYTES + 1)),
            (&client, with("client_id", None)),
            (&client, with("client_id", Some("other"))),
            (
                &client,
                with("client_id", Some("<script>alert(1)</script> ")),
            ),
            (&client, twice("client_id")),
            (&blocked, query(&client, &[])),
            (&client, with("redirect_uri", None)),
            (&client, with("redirect_uri", Some("javascript:alert(1)"))),
            (
                &client,
                with("redirect_uri", Some("https://evil.example/callback")),
            ),
            (
                &client,
                with("redirect_uri", Some("http://localhost:1/other")),
            ),
            (&client, twice("redirect_uri")),
        ] {
            let error = check(client, &query).unwrap_err();
            assert!(
                matches!(error, AuthorizationError::Page(_)),
                "{query}: {error:?}"
            );
        }
    }

    #[test]
    fn later_errors_go_back_with_the_state() {
        let client = client();
        let cases = [
            ("response_type", None, "invalid_request"),
            ("response_type", Some("token"), "unsupported_response_type"),
            ("response_mode", Some("fragment"), "invalid_request"),
            ("code_challenge", None, "invalid_request"),
            ("code_challenge", Some("short"), "invalid_request"),
            ("code_challenge_method", None, "invalid_request"),
            ("code_challenge_method", Some("plain"), "invalid_request"),
            ("resource", Some("https://evil.example/"), "invalid_target"),
            ("resource", Some("https://pool.example/"), "invalid_target"),
        ];
        for (name, value, code) in cases {
            let error = returned(&client, &query(&client, &[(name, value)]));
            assert_eq!(error.error.code.word(), code, "{name} {value:?}");
            assert_eq!(error.state.as_deref(), Some("a b&c"));
            assert_eq!(error.redirect.as_str(), REDIRECT);
        }
    }

    #[test]
    fn a_repeated_parameter_is_an_error() {
        let client = client();
        for (name, code) in [
            ("resource", "invalid_target"),
            ("scope", "invalid_request"),
            ("code_challenge", "invalid_request"),
            ("response_type", "invalid_request"),
            ("state", "invalid_request"),
        ] {
            let twice = format!("{}&{name}=x", query(&client, &[]));
            let error = returned(&client, &twice);
            assert_eq!(error.error.code.word(), code, "{name}");
            assert_eq!(error.state.is_none(), name == "state", "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(name in "[a-z_]{0,20}", text in "\\PC{0,60}") {
            let client = client();
            let _ = check(&client, &text);
            let _ = check(&client, &format!("{}&{name}={text}", query(&client, &[])));
        }
    }
}
