//! The authorization endpoint: checks the request of a client, and shows the page on which a person
//! allows it.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use llamapool_identity::{
    AuthorizationError, AuthorizationQuery, AuthorizationRequest, ClientOrigin, OAuthCode,
    OAuthError, PageError, RedirectTarget, RedirectUri, ReturnedError, Scope,
};
use llamapool_limits::Owner;
use llamapool_wire::path;

use super::asking::{AskingClient, AskingError};
use super::pages::{
    self, ClientSource, ConsentPage, Destination, LifeChoice, ProblemPage, Service,
};
use super::{CONSENT, OAuthDoor};
use crate::listen::{Peer, RequestId};
use crate::sign_in::ClientDocumentError;

/// What a page says beside the form: what was typed before, and what was wrong with it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Retry<'a> {
    /// The id that was typed.
    pub(super) id: &'a str,
    /// The life that was chosen.
    pub(super) life: &'a str,
    /// Whether *read only* was chosen.
    pub(super) is_read_only: bool,
    pub(super) problem: Option<&'a str>,
}

/// The choices of how long a client may do it.
pub(super) const LIVES: [(&str, &str); 3] = [
    ("8h", "8 hours"),
    ("30d", "30 days"),
    (
        "unlimited",
        "until someone ends it, or 30 days pass without use",
    ),
];
/// The choice that is made unless the person makes another.
const DEFAULT_LIFE: &str = "unlimited";

/// Any request to the authorization endpoint.
pub(super) async fn authorize(
    State(door): State<Arc<OAuthDoor>>,
    Extension(req_id): Extension<RequestId>,
    request: Request,
) -> Response<Body> {
    let peer = Peer::of(request.extensions());
    let caller = door
        .auth
        .public_reader(request.headers(), request.uri(), peer);
    let caller = match caller {
        Ok(caller) => caller,
        Err(failure) => {
            door.refused(failure.cause.word(), req_id.as_str(), &failure.message);
            let problem = &failure.message;
            return page_of(StatusCode::FORBIDDEN, problem, START_AGAIN, &req_id);
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let problem = "This page is opened by an app, with GET.";
        return page_of(
            StatusCode::METHOD_NOT_ALLOWED,
            problem,
            START_AGAIN,
            &req_id,
        );
    }

    let query = request.uri().query().unwrap_or_default();
    let [_, address] = caller.owners.claims();
    match door.checked(query, address.owner).await {
        Ok((client, request)) => door.consent_page(&client, &request, Retry::default()),
        Err(CheckError::Authorization(AuthorizationError::Page(error))) => {
            door.refused("authorize", req_id.as_str(), &error);
            problem_page(&error, &req_id)
        }
        Err(CheckError::Authorization(AuthorizationError::Returned(returned))) => {
            door.refused(returned.error.code.word(), req_id.as_str(), &returned.error);
            door.return_error(&returned)
        }
        Err(CheckError::Asking(error)) => door.asking_refused(&error, &req_id),
    }
}

/// The reasons for refusing an authorization request.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    /// The request is refused.
    #[error(transparent)]
    Authorization(#[from] AuthorizationError),
    /// Its client cannot ask.
    #[error(transparent)]
    Asking(#[from] AskingError),
}

impl From<PageError> for CheckError {
    fn from(error: PageError) -> Self {
        Self::Authorization(error.into())
    }
}

/// What helps with most problems.
pub(super) const START_AGAIN: &str =
    "Go back to the app and connect again. If that does not help, show this page to its maker.";
/// What helps where the document of the app cannot be used.
const NO_DOCUMENT: &str = "The app says who it is by a document on its own web site. Try again in a minute. If \
     that does not help, show this page to the operator of this server: it may not reach the \
     internet, or the document is not as it should be.";
/// What helps where the app has a login that this server does not have.
const FORGOTTEN: &str = "Remove the saved login in the app and connect again: the app then registers \
     itself anew. With mcp-remote that is the folder .mcp-auth in your home directory.";

impl OAuthDoor {
    /// Checks an authorization request.
    async fn checked(
        &self,
        query: &str,
        caller: Owner,
    ) -> Result<(AskingClient, AuthorizationRequest), CheckError> {
        let query = AuthorizationQuery::parse(query)?;
        let id = query.client_id()?;
        let asking = self.asking_client(&id, caller).await?;
        let resources = self.sign_in.issuer.resources();
        let request = query.check(&asking.client, resources, &self.sign_in.config.redirects)?;
        Ok((asking, request))
    }

    /// Returns the page of a client that cannot ask.
    pub(super) fn asking_refused(&self, error: &AskingError, req_id: &RequestId) -> Response<Body> {
        match error {
            AskingError::Unknown(unknown) => {
                self.refused("authorize", req_id.as_str(), unknown);
                problem_page(unknown, req_id)
            }
            AskingError::Document { id, failure } => {
                self.refused("document", req_id.as_str(), error);
                let status = match **failure {
                    ClientDocumentError::Limit(_) => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::BAD_REQUEST,
                };
                let reason = failure.for_person();
                let problem = format!("the document {id} of the app cannot be used: {reason}");
                page_of(status, &problem, NO_DOCUMENT, req_id)
            }
        }
    }

    /// Returns the page on which a person allows a client.
    pub(super) fn consent_page(
        &self,
        asking: &AskingClient,
        request: &AuthorizationRequest,
        retry: Retry<'_>,
    ) -> Response<Body> {
        let Some(sealed) = self.sign_in.seal.seal_request(request, self.identity.now()) else {
            let error = OAuthError::new(OAuthCode::ServerError, "the request cannot be sealed");
            return self.return_error(&ReturnedError {
                redirect: request.redirect.clone(),
                state: request.state.clone(),
                error,
            });
        };

        let client = &asking.client;
        let document_host = client.id.document_host().unwrap_or_default();
        let outdated = asking.outdated.map(age);
        let issuer = &self.sign_in.issuer;
        let id = request.resource.as_ref().map(ToString::to_string);
        let below = id.as_deref().unwrap_or("…");
        let chosen = LIVES.iter().any(|(value, _)| *value == retry.life);
        let chosen = if chosen { retry.life } else { DEFAULT_LIFE };
        let lives = LIVES.map(|(value, text)| LifeChoice {
            value,
            text,
            is_checked: value == chosen,
        });
        let asks_to_read = request.scope == Scope::Read;
        let page = ConsentPage {
            style: ConsentPage::STYLE,
            action: &issuer.path(CONSENT),
            request: &sealed,
            client: &client.name,
            source: match client.origin {
                ClientOrigin::Known => ClientSource::Known,
                ClientOrigin::Registered => ClientSource::Registered,
                ClientOrigin::Document => ClientSource::Document {
                    host: &document_host,
                    outdated: outdated.as_deref(),
                },
            },
            service_url: &issuer.url(&format!("{}{below}", path::MCP_BY_ID)),
            service: match &id {
                Some(id) => Service::Named(id),
                None => Service::Asked(retry.id),
            },
            destination: destination_of(&request.redirect),
            lives: &lives,
            is_read_only: asks_to_read || retry.is_read_only,
            asks_to_read,
            problem: retry.problem,
        };
        let status = match retry.problem {
            None => StatusCode::OK,
            Some(_) => StatusCode::FORBIDDEN,
        };
        pages::answer(status, &page)
    }

    /// Leads back to the client with an error.
    pub(super) fn return_error(&self, returned: &ReturnedError) -> Response<Body> {
        let error = &returned.error;
        let parameters = [
            ("error", error.code.word()),
            ("error_description", error.description.as_str()),
        ];
        self.return_to(&returned.redirect, returned.state.as_deref(), &parameters)
    }

    /// Leads back to the client, with its state and this issuer (RFC 9207, 2).
    pub(super) fn return_to(
        &self,
        redirect: &RedirectUri,
        state: Option<&str>,
        parameters: &[(&str, &str)],
    ) -> Response<Body> {
        let issuer = self.sign_in.issuer.identifier();
        let mut parameters = parameters.to_vec();
        parameters.extend(state.map(|state| ("state", state)));
        parameters.push(("iss", &issuer));
        let location = redirect.with_parameters(&parameters);

        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SEE_OTHER;
        pages::protect(answer.headers_mut());
        // A redirect that was checked has no character that a header cannot have.
        let location = HeaderValue::from_str(&location);
        let location = location.ok().map(|location| (header::LOCATION, location));
        answer.headers_mut().extend(location);
        answer
    }
}

/// Returns an age as people say it.
fn age(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match minutes {
        0..=1 => "a minute".to_owned(),
        2..=119 => format!("{minutes} minutes"),
        _ => format!("{} hours", minutes / 60),
    }
}

fn destination_of(redirect: &RedirectUri) -> Destination<'_> {
    match redirect.target() {
        RedirectTarget::Web(host) => Destination::Web(host),
        RedirectTarget::Loopback => Destination::Loopback,
        RedirectTarget::Program(scheme) => Destination::Program(scheme),
    }
}

/// Returns the page of an error that must not be sent to the client: nothing proves where it is.
fn problem_page(error: &PageError, req_id: &RequestId) -> Response<Body> {
    let advice = match error {
        PageError::UnknownClient(_) | PageError::OtherRedirect | PageError::ClientId(_) => {
            FORGOTTEN
        }
        PageError::BlockedClient(_) => "Ask the operator of this server.",
        PageError::Redirect(_) => {
            "Ask the operator of this server: REDIRECT_HOSTS and REDIRECT_SCHEMES say where a sign-in may lead."
        }
        PageError::TooLong | PageError::NotOnce(_) => START_AGAIN,
    };
    page_of(StatusCode::BAD_REQUEST, &error.to_string(), advice, req_id)
}

/// Returns the page that says why a sign-in cannot go on.
pub(super) fn page_of(
    status: StatusCode,
    problem: &str,
    advice: &str,
    req_id: &RequestId,
) -> Response<Body> {
    pages::answer(status, &ProblemPage::new(problem, advice, req_id.as_str()))
}
