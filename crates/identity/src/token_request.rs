//! The token request (RFC 6749, 4.1.3 and 6): one value of each parameter, from a form.

use llamapool_wire::{RelayId, Secret};

use crate::authorization::resource_of;
use crate::client::{ClientCredentials, ClientId};
use crate::grant::{CodeRedemption, GrantError, Refresh};
use crate::key::digest_of;
use crate::oauth_error::{OAuthCode, OAuthError};
use crate::resource::ResourceServer;
use crate::scope::Scope;
use crate::token::TokenSeal;

/// The longest body of a token request, in bytes.
pub const MAX_TOKEN_REQUEST_BYTES: usize = 16 * 1024;
/// The parameters that are read.
const KNOWN: [&str; 9] = [
    "grant_type",
    "code",
    "redirect_uri",
    "code_verifier",
    "client_id",
    "client_secret",
    "refresh_token",
    "resource",
    "scope",
];

/// A token request. Its client has not authenticated yet.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// What the client presents of itself.
    pub credentials: ClientCredentials,
    /// What it asks for.
    pub asked: TokenAsked,
    /// The id of `resource`.
    pub resource: Option<RelayId>,
}

/// What a token request asks for.
#[derive(Debug, Clone)]
pub enum TokenAsked {
    /// The first tokens of a grant (`authorization_code`).
    Code {
        /// The code.
        code: Secret,
        /// `redirect_uri`.
        redirect: Option<String>,
        /// `code_verifier`.
        verifier: Secret,
    },
    /// The next tokens of a grant (`refresh_token`).
    Refresh {
        /// The refresh token.
        token: Secret,
        /// How much is asked for; `None`: all of the grant.
        scope: Option<Scope>,
    },
}

/// What an authenticated client asks of the store.
#[derive(Debug, Clone)]
pub enum TokenStep {
    /// Redeems a code.
    Redeem(CodeRedemption),
    /// Takes a turn.
    Refresh(Refresh),
}

impl TokenRequest {
    /// Reads the body of a token request.
    ///
    /// # Errors
    ///
    /// If it is too long, a parameter is repeated or missing, or the resource is none of this server.
    pub fn parse(body: &[u8], server: &ResourceServer) -> Result<Self, OAuthError> {
        let mut form = Form::read(body)?;
        let credentials =
            ClientCredentials::of_form(form.take("client_id"), form.take("client_secret"));
        let resource = resource_of(&form.resources(), server)?;
        let asked = match form.needed("grant_type")?.as_str() {
            "authorization_code" => TokenAsked::Code {
                code: Secret::new(form.needed("code")?),
                redirect: form.take("redirect_uri"),
                verifier: Secret::new(form.needed("code_verifier")?),
            },
            "refresh_token" => TokenAsked::Refresh {
                token: Secret::new(form.needed("refresh_token")?),
                scope: Scope::named(form.take("scope").as_deref()),
            },
            _ => {
                let message = "grant_type: expected authorization_code or refresh_token";
                return Err(OAuthError::new(OAuthCode::UnsupportedGrantType, message));
            }
        };
        Ok(Self {
            credentials,
            asked,
            resource,
        })
    }

    /// Opens what an authenticated client presents.
    ///
    /// # Errors
    ///
    /// If this issuer did not make it.
    pub fn open(self, client: &ClientId, seal: &TokenSeal) -> Result<TokenStep, GrantError> {
        let client = client.clone();
        let resource = self.resource;
        match self.asked {
            TokenAsked::Code {
                code,
                redirect,
                verifier,
            } => {
                let grant = seal.open_code(code.expose()).ok_or(GrantError::Unknown)?;
                Ok(TokenStep::Redeem(CodeRedemption {
                    grant,
                    code: digest_of(code.expose().as_bytes()),
                    client,
                    redirect,
                    verifier: verifier.expose().to_owned(),
                    resource,
                }))
            }
            TokenAsked::Refresh { token, scope } => {
                let token = seal.open_refresh(token.expose());
                let token = token.ok_or(GrantError::Unknown)?;
                Ok(TokenStep::Refresh(Refresh {
                    grant: token.grant,
                    turn: token.turn,
                    client,
                    resource,
                    scope,
                }))
            }
        }
    }
}

/// The known parameters of a form.
struct Form(Vec<(&'static str, String)>);

impl Form {
    fn read(body: &[u8]) -> Result<Self, OAuthError> {
        let invalid = |text: String| OAuthError::new(OAuthCode::InvalidRequest, text);
        if body.len() > MAX_TOKEN_REQUEST_BYTES {
            let message = format!("the request has more than {MAX_TOKEN_REQUEST_BYTES} bytes");
            return Err(invalid(message));
        }
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            let Some(name) = KNOWN.into_iter().find(|known| *known == name) else {
                continue;
            };
            let is_there = pairs.iter().any(|(other, _)| *other == name);
            // Several resources are another error.
            if is_there && name != "resource" {
                return Err(invalid(format!("{name} is repeated")));
            }
            pairs.push((name, value.into_owned()));
        }
        Ok(Self(pairs))
    }

    fn resources(&self) -> Vec<&str> {
        let resources = self.0.iter().filter(|(name, _)| *name == "resource");
        resources.map(|(_, value)| value.as_str()).collect()
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(own, _)| *own == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn needed(&mut self, name: &'static str) -> Result<String, OAuthError> {
        let missing = || OAuthError::new(OAuthCode::InvalidRequest, format!("{name} is missing"));
        self.take(name).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ResourceServer {
        ResourceServer::new("https://pool.example").unwrap()
    }

    fn parse(body: &str) -> Result<TokenRequest, OAuthError> {
        TokenRequest::parse(body.as_bytes(), &server())
    }

    const CODE: &str = "grant_type=authorization_code&code=c&code_verifier=v&client_id=app";

    #[test]
    fn a_request_is_read_as_it_was_sent() {
        let resource = "resource=https%3A%2F%2Fpool.example%2Fapi%2Fmcp%2Fid%2Fnotes";
        let request = parse(&format!(
            "{CODE}&redirect_uri=http://localhost/cb&{resource}"
        ));

        let request = request.unwrap();

        assert_eq!(request.credentials.client_id().unwrap().as_str(), "app");
        assert_eq!(request.resource.unwrap().as_str(), "notes");
        let TokenAsked::Code { redirect, .. } = request.asked else {
            panic!("{:?}", request.asked);
        };
        assert_eq!(redirect.as_deref(), Some("http://localhost/cb"));

        let refresh = "grant_type=refresh_token&refresh_token=r&client_id=app&scope=mcp:read";
        let TokenAsked::Refresh { scope, .. } = parse(refresh).unwrap().asked else {
            panic!("a refresh");
        };
        assert_eq!(scope, Some(Scope::Read));
    }

    #[test]
    fn a_request_that_lacks_or_repeats_something_is_refused() {
        let repeated = |name: &str| format!("{CODE}&{name}=x&{name}=x");
        for (body, code) in [
            (String::new(), "invalid_request"),
            (
                "grant_type=password&client_id=a".to_owned(),
                "unsupported_grant_type",
            ),
            (
                "grant_type=authorization_code&code_verifier=v".to_owned(),
                "invalid_request",
            ),
            (
                "grant_type=authorization_code&code=c".to_owned(),
                "invalid_request",
            ),
            ("grant_type=refresh_token".to_owned(), "invalid_request"),
            (repeated("code"), "invalid_request"),
            (repeated("client_id"), "invalid_request"),
            (repeated("resource"), "invalid_target"),
            (
                format!("{CODE}&resource=https://evil.example/"),
                "invalid_target",
            ),
            (
                format!("{CODE}&x={}", "x".repeat(17_000)),
                "invalid_request",
            ),
        ] {
            let error = parse(&body).unwrap_err();
            assert_eq!(error.code.word(), code, "{body:.80}");
        }
    }

    #[test]
    fn only_what_this_issuer_made_is_opened() {
        let seal = TokenSeal::new(&Secret::new("key"), &server().issuer());
        let grant = crate::grant::GrantId::random();
        let client = "app".parse().unwrap();
        let refresh = seal.refresh(grant, 3).unwrap();
        let body = |token: &str| format!("grant_type=refresh_token&refresh_token={token}");

        let step = parse(&body(refresh.expose())).unwrap().open(&client, &seal);

        let TokenStep::Refresh(refresh) = step.unwrap() else {
            panic!("a refresh");
        };
        assert_eq!((refresh.grant, refresh.turn), (grant, 3));
        let made_up = parse(&body("llpr_x")).unwrap().open(&client, &seal);
        assert!(matches!(made_up, Err(GrantError::Unknown)));
        let made_up = parse(CODE).unwrap().open(&client, &seal);
        assert!(matches!(made_up, Err(GrantError::Unknown)));
    }
}
