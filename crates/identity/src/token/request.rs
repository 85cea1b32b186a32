//! The authorization request as it travels in the consent form: the server keeps nothing of a visitor
//! that nobody has vouched for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Purpose, TokenSeal};
use crate::authorization::AuthorizationRequest;
use crate::redirect::RedirectUri;

/// How long a consent page can be sent.
pub const FORM_LIFE: Duration = Duration::from_secs(60 * 60);

/// The sealed content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    client: String,
    redirect: String,
    state: Option<String>,
    challenge: String,
    resource: Option<llamapool_wire::RelayId>,
    scope: String,
    /// In seconds since the epoch.
    until: u64,
}

impl TokenSeal {
    /// Returns a request as text for the form. `None` if it cannot be sealed.
    pub fn seal_request(&self, request: &AuthorizationRequest, now: SystemTime) -> Option<String> {
        let until = (now + FORM_LIFE).duration_since(UNIX_EPOCH).ok()?;
        let form = Form {
            client: request.client.to_string(),
            redirect: request.redirect.to_string(),
            state: request.state.clone(),
            challenge: request.challenge.text(),
            resource: request.resource.clone(),
            scope: request.scope.word().to_owned(),
            until: until.as_secs(),
        };
        self.seal(Purpose::Request, serde_json::to_vec(&form).ok()?)
    }

    /// Opens a request of a form. `None` if this issuer did not seal it, or too long ago.
    pub fn open_request(&self, text: &str, now: SystemTime) -> Option<AuthorizationRequest> {
        let content = self.open(Purpose::Request, text)?;
        let form: Form = serde_json::from_slice(&content).ok()?;
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(form.until))?;
        if now >= until {
            return None;
        }
        Some(AuthorizationRequest {
            client: form.client.parse().ok()?,
            redirect: RedirectUri::read(&form.redirect).ok()?,
            state: form.state,
            challenge: form.challenge.parse().ok()?,
            resource: form.resource,
            scope: form.scope.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use llamapool_wire::Secret;

    use super::*;
    use crate::redirect::RedirectPolicy;
    use crate::scope::Scope;

    #[test]
    fn a_request_travels_sealed_for_an_hour() {
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let redirect = RedirectPolicy::default().parse("cursor://a.b/cb");
        let request = AuthorizationRequest {
            client: "client_a".parse().unwrap(),
            redirect: redirect.unwrap(),
            state: Some("s".repeat(8000)),
            challenge: challenge.parse().unwrap(),
            resource: Some("notes".parse().unwrap()),
            scope: Scope::Read,
        };
        let seal = TokenSeal::new(&Secret::new("key"), "https://pool.example/oauth");

        let text = seal.seal_request(&request, UNIX_EPOCH).unwrap();

        let opened = |now| seal.open_request(&text, UNIX_EPOCH + now);
        assert_eq!(opened(FORM_LIFE - Duration::from_secs(1)), Some(request));
        assert_eq!(opened(FORM_LIFE), None);
        assert!(!text.contains("client_a"));
        assert_eq!(seal.open_code(&text), None);
    }
}
