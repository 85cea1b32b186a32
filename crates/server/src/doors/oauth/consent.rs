//! The consent endpoint: who presents a caller key or a one-time code is who allows the client, in the
//! one request that does it. There is no session and no cookie, so there is nothing to forge across
//! sites, to plant in another browser, or to remember.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use llamapool_identity::{
    AccessMode, Approval, Approved, Approver, AuthorizationRequest, Client, EventKind, Grant,
    GrantOverError, KeyError, KeyKind, KeyText, LoginCode, LoginStepError, OAuthCode, OAuthError,
    ReturnedError, Scope,
};
use llamapool_wire::{Mark, RelayId, people_line};

use super::OAuthDoor;
use super::asking::AskingClient;
use super::authorize::{LIVES, Retry, START_AGAIN, page_of};
use super::intake::ApiRequest;
use super::parameters::{MAX_FORM_BYTES, Parameters};
use super::token::not_written;
use crate::audit::ConsentStep;
use crate::identity::WriteError;
use crate::listen::{Peer, RequestId};

/// What helps where the server has a fault.
const LATER: &str =
    "Try again in a minute. If that does not help, ask the operator of this server.";
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The reasons why a form does not allow the client. All but the last show the page again.
#[derive(Debug, thiserror::Error)]
enum ConsentError {
    /// There is no such key or code: a guess, or a typing error.
    #[error("{0}")]
    Guess(String),
    /// The key or the code proves nothing.
    #[error("{0}")]
    Credential(String),
    /// The service cannot be used in this way.
    #[error("{0}")]
    Service(String),
    /// The grant cannot be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The code cannot be sealed.
    #[error(transparent)]
    OAuth(#[from] OAuthError),
}

/// Any request to the consent endpoint.
pub(super) async fn consent(
    State(door): State<Arc<OAuthDoor>>,
    Extension(req_id): Extension<RequestId>,
    request: Request,
) -> Response<Body> {
    if *request.method() != Method::POST {
        let problem = "This page is sent by the form before it.";
        return page_of(
            StatusCode::METHOD_NOT_ALLOWED,
            problem,
            START_AGAIN,
            &req_id,
        );
    }
    if !door.is_of_own_page(request.headers()) {
        let problem = "The form was sent by a page of another site.";
        door.refused("cross_site", req_id.as_str(), &problem);
        return page_of(StatusCode::FORBIDDEN, problem, START_AGAIN, &req_id);
    }

    if let Err(error) = door.auth.audit().check() {
        door.refused("audit", req_id.as_str(), &error);
        let problem = "This server cannot write its audit log now, so nobody can sign in.";
        return page_of(StatusCode::SERVICE_UNAVAILABLE, problem, LATER, &req_id);
    }
    let peer = Peer::of(request.extensions());
    let address = door.auth.audited_address(request.headers(), peer);

    let sent = door.with_body(request, MAX_FORM_BYTES).await;
    let form = sent.and_then(|request| {
        request.check_form()?;
        let form = Form::read(&Parameters::parse(&request.body)?)?;
        Ok((Form { address, ..form }, request))
    });
    match form {
        Ok((form, request)) => door.decide(&form, &request, &req_id).await,
        Err(failure) => {
            door.refused(failure.code.word(), req_id.as_str(), &failure);
            let problem = failure.to_string();
            page_of(StatusCode::BAD_REQUEST, &problem, START_AGAIN, &req_id)
        }
    }
}

/// The form as it was sent.
struct Form {
    request: String,
    is_allowed: bool,
    /// The id, where the client has named none.
    id: String,
    life: String,
    is_read_only: bool,
    credential: String,
    /// Where it came from, for the audit log.
    address: Option<IpAddr>,
}

impl Form {
    fn read(parameters: &Parameters) -> Result<Self, OAuthError> {
        let text = |name| {
            parameters
                .one(name)
                .map(|value| value.unwrap_or_default().to_owned())
        };
        let is_allowed = match parameters.needed("decision")? {
            "allow" => true,
            "deny" => false,
            _ => {
                let message = "decision: expected allow or deny";
                return Err(OAuthError::new(OAuthCode::InvalidRequest, message));
            }
        };
        let life = text("life")?;
        if !life.is_empty() && !LIVES.iter().any(|(value, _)| *value == life) {
            let message = "life: expected one of the choices of the page";
            return Err(OAuthError::new(OAuthCode::InvalidRequest, message));
        }
        let is_read_only = match text("read_only")?.as_str() {
            "" => false,
            "on" => true,
            _ => {
                let message = "read_only: expected on, or nothing";
                return Err(OAuthError::new(OAuthCode::InvalidRequest, message));
            }
        };
        Ok(Self {
            request: parameters.needed("request")?.to_owned(),
            is_allowed,
            id: text("id")?.trim().to_owned(),
            life,
            is_read_only,
            credential: text("credential")?.trim().to_owned(),
            address: None,
        })
    }

    /// Returns the most that the person allows.
    fn scope(&self) -> Scope {
        if self.is_read_only {
            Scope::Read
        } else {
            Scope::All
        }
    }

    /// Returns when the grant ends in any case.
    fn ends_at(&self, now: SystemTime) -> Option<SystemTime> {
        match self.life.as_str() {
            "8h" => Some(now + 8 * HOUR),
            "30d" => Some(now + 30 * 24 * HOUR),
            _ => None,
        }
    }
}

impl OAuthDoor {
    /// Returns whether a form comes from a page of this server, or from a program. Browsers send an
    /// `Origin` with every form, and newer ones where it comes from.
    fn is_of_own_page(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(header::ORIGIN);
        let is_own = |origin| self.sign_in.issuer.is_own_origin(origin);
        let mut sites = headers.get_all("sec-fetch-site").into_iter();
        origin.is_none_or(is_own) && sites.all(|site| site == "same-origin")
    }

    /// Returns the client as it is now, or the page that says why it may not ask any more.
    async fn still_asking(
        &self,
        request: &AuthorizationRequest,
        sent: &ApiRequest,
        req_id: &RequestId,
    ) -> Result<AskingClient, Response<Body>> {
        let [_, caller] = sent.caller.owners.claims();
        let asking = self.asking_client(&request.client, caller.owner).await;
        let asking = asking.map_err(|error| self.asking_refused(&error, req_id))?;
        let client = &asking.client;
        if client.blocked_at.is_some() || !client.admits(&request.redirect) {
            let problem = "The app is blocked, or has changed since the page was shown.";
            self.refused("client", req_id.as_str(), &problem);
            let page = page_of(StatusCode::FORBIDDEN, problem, START_AGAIN, req_id);
            return Err(page);
        }
        Ok(asking)
    }

    /// Does what the person decided.
    async fn decide(&self, form: &Form, sent: &ApiRequest, req_id: &RequestId) -> Response<Body> {
        let now = self.identity.now();
        let Some(request) = self.sign_in.seal.open_request(&form.request, now) else {
            let problem = "This page is too old, or was not made by this server.";
            self.refused("stale_form", req_id.as_str(), &problem);
            return page_of(StatusCode::BAD_REQUEST, problem, START_AGAIN, req_id);
        };
        let asking = match self.still_asking(&request, sent, req_id).await {
            Ok(asking) => asking,
            Err(page) => return page,
        };
        let client = &asking.client;
        let step = ConsentStep {
            client,
            id: request.resource.as_ref(),
            address: form.address,
            req_id: req_id.as_str(),
        };
        if !form.is_allowed {
            step.write(self.auth.audit(), EventKind::ConsentDenied);
            return self.return_failure(&request, OAuthCode::AccessDenied, "the person refused");
        }

        match self.allow(&request, client, form, now).await {
            Ok((code, grant)) => {
                step.write_allowed(self.auth.audit(), &grant);
                let state = request.state.as_deref();
                self.return_to(&request.redirect, state, &[("code", code.expose())])
            }
            Err(
                error @ (ConsentError::Guess(_)
                | ConsentError::Credential(_)
                | ConsentError::Service(_)),
            ) => {
                let slowed = match error {
                    ConsentError::Guess(_) => {
                        self.auth.count_wrong_key(&sent.headers, sent.caller.peer)
                    }
                    _ => None,
                };
                let problem = slowed.map_or_else(|| error.to_string(), too_many);
                self.refused("credential", req_id.as_str(), &problem);
                step.write(self.auth.audit(), EventKind::SignInFailed);
                let retry = Retry {
                    id: &form.id,
                    life: &form.life,
                    is_read_only: form.is_read_only,
                    problem: Some(&problem),
                };
                let page = self.consent_page(&asking, &request, retry);
                retried_after(page, slowed)
            }
            Err(ConsentError::Write(error)) => {
                let failure = not_written(&error);
                self.return_failure(&request, failure.code, &failure.description)
            }
            Err(ConsentError::OAuth(failure)) => {
                self.return_failure(&request, failure.code, &failure.description)
            }
        }
    }

    /// Makes and stores the grant. Returns its code and the grant.
    async fn allow(
        &self,
        request: &AuthorizationRequest,
        client: &Client,
        form: &Form,
        now: SystemTime,
    ) -> Result<(llamapool_wire::Secret, Grant), ConsentError> {
        let resource: RelayId = match &request.resource {
            Some(id) => id.clone(),
            None => form.id.parse().map_err(|_| {
                ConsentError::Service(
                    "Type the id of the service: the last part of its URL.".into(),
                )
            })?,
        };
        let approver = self.approver(&form.credential, now).await?;

        let published = self.identity.published();
        let may = published.snapshot.check_approver(&approver, &resource, now);
        let key = may.map_err(|error| {
            ConsentError::Credential(match error {
                GrantOverError::NotCovered => {
                    format!("This key is not for the service {resource}.")
                }
                _ => NOT_VALID.to_owned(),
            })
        })?;
        if published.snapshot.access().mode(resource.as_str()) != AccessMode::SignIn {
            let problem = format!("The service {resource} takes no sign-in.");
            return Err(ConsentError::Service(problem));
        }

        let approval = Approval {
            approver,
            epoch: published.snapshot.epoch(&resource, now),
            resource,
            // The client is told what it has: no more than the key gives now.
            scope: key
                .map_or(Scope::All, |key| key.rights.scope())
                .min(form.scope()),
            ends_at: form.ends_at(now),
        };
        let approved = Approved::new(request, approval, &self.sign_in.seal, now)?;
        let code = approved.code.clone();
        let grant = approved.grant.clone();
        let of = Client::clone(client);
        let stored = self
            .writer
            .write(move |store| store.create_grant(&approved, &of, now));
        stored.await?.map_err(WriteError::Store)?;
        tracing::info!(
            id = %grant.resource,
            grant = %grant.id,
            client = %client.id,
            name = client.name,
            approver = %grant.approver,
            people = %people_line(
                Mark::Note,
                "sign-in",
                format_args!("{} was allowed for {}", client.name, grant.resource),
            ),
            "an app was allowed"
        );
        Ok((code, grant))
    }

    /// Returns who a key or a one-time code proves to be there.
    async fn approver(&self, credential: &str, now: SystemTime) -> Result<Approver, ConsentError> {
        if credential.starts_with(KEY_PREFIX) {
            // A typing error is told from a key that is not valid.
            let text = KeyText::parse(credential);
            let text = text.map_err(|error| ConsentError::Guess(sentence(&error)))?;
            let key = self
                .identity
                .authenticate(text.expose().as_bytes(), KeyKind::Caller);
            let key = key.map_err(|error| match error {
                KeyError::Unknown => ConsentError::Guess(NOT_VALID.to_owned()),
                // The right secret of a key that has ended, or is none of a caller: no guess.
                _ => ConsentError::Credential(NOT_VALID.to_owned()),
            })?;
            return Ok(Approver::Key(key.key.id.clone()));
        }
        // Declared keys may have any text.
        if let Ok(key) = self
            .identity
            .authenticate(credential.as_bytes(), KeyKind::Caller)
        {
            return Ok(Approver::Key(key.key.id.clone()));
        }
        let code = LoginCode::parse(credential);
        let code = code.map_err(|_| ConsentError::Guess(NOT_VALID.to_owned()))?;
        let approver = self
            .writer
            .write(move |store| store.use_login_code(&code, now));
        approver.await?.map_err(|error| match error {
            LoginStepError::Refused(error) => ConsentError::Guess(sentence(&error)),
            LoginStepError::Store(error) => WriteError::Store(error).into(),
        })
    }

    fn return_failure(
        &self,
        request: &AuthorizationRequest,
        code: OAuthCode,
        description: &str,
    ) -> Response<Body> {
        self.return_error(&ReturnedError {
            redirect: request.redirect.clone(),
            state: request.state.clone(),
            error: OAuthError::new(code, description),
        })
    }
}

/// Says in the headers of a page when to try again, if one has to wait.
fn retried_after(mut page: Response<Body>, wait: Option<Duration>) -> Response<Body> {
    if let Some(wait) = wait {
        *page.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let wait = whole_seconds(wait).into();
        page.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    page
}

/// Returns the text for a credential after too many wrong ones from its address. A right one is never
/// answered so.
fn too_many(wait: Duration) -> String {
    let seconds = whole_seconds(wait);
    format!("Too many wrong keys came from this address. Try again in {seconds} seconds.")
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(1)
}

/// The beginning of every key that this server makes.
const KEY_PREFIX: &str = "llp_";
/// The text for a key or code that proves nothing, the same for all reasons.
const NOT_VALID: &str =
    "This is no valid caller key, and no valid one-time code. Keys begin with llp_c_.";

/// Returns an error as a sentence.
fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}
