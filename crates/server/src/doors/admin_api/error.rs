//! The errors of the API, and their answers.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use llamapool_identity::StoreError;
use llamapool_wire::{Cause, RETRY_AFTER_SECONDS, header as wire};

use crate::auth::AccessError;
use crate::error;
use crate::identity::WriteError;

/// The word for a store that cannot be used now.
const STORE_UNAVAILABLE: &str = "store_unavailable";

/// The reasons for refusing a request to the API.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// `Host` or the number of `Origin`s is refused, or the key.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A page in a browser sends it.
    #[error("the administration API is for programs: it takes no request with an Origin")]
    Page,
    /// The admin key lacks the right, or is not for the address.
    #[error("the admin key may not do this, or not from this address")]
    NotAllowed,
    /// There is no such path.
    #[error("there is no such path below /api/admin; see docs/reference/administration.md")]
    NotFound,
    /// The path takes other methods.
    #[error("expected {0}")]
    Method(&'static str),
    /// The path, the query, a header or the body is not as expected.
    #[error("{0}")]
    Invalid(String),
    /// The body is no JSON.
    #[error("expected Content-Type: application/json, in UTF-8 and without Content-Encoding")]
    MediaType,
    /// The body is too large.
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    /// The body broke off, or came too slowly.
    #[error("the body broke off, or took longer than {0:?}")]
    Broken(Duration),
    /// There is no memory for the body.
    #[error("there is no memory for the request")]
    NoMemory,
    /// There is no such record.
    #[error("there is no {0}")]
    Missing(String),
    /// The record is declared in the settings.
    #[error("{0} is declared in the settings of the server: change it there")]
    Declared(String),
    /// The server has no data directory.
    #[error("this server keeps no keys and no rules, as it has no data directory: set DATA_DIR")]
    NoStore,
    /// As many ids or relays are drained as may be.
    #[error("too many ids or relays are drained; undrain some")]
    TooManyHeld,
    /// The store refuses, or failed.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Write(WriteError::Store(error))
    }
}

impl AdminError {
    /// Returns the error of a request that was not let in. A wrong key is counted.
    pub(super) fn of_access(error: AccessError, count: impl FnOnce() -> Option<Duration>) -> Self {
        match error {
            AccessError::Page => Self::Page,
            AccessError::NotAllowed => Self::NotAllowed,
            AccessError::WrongKey => match count() {
                Some(wait) => Self::Access(AccessError::TooManyWrongKeys(wait)),
                None => Self::Access(error),
            },
            _ => Self::Access(error),
        }
    }

    /// Returns the word for it, for programs.
    pub(super) fn word(&self) -> &'static str {
        self.answer().1
    }

    /// Returns the answer. What has failed inside is for the log alone.
    pub(super) fn into_response(self, req_id: &str) -> Response<Body> {
        match self {
            Self::Access(error) => return error.into_response(req_id),
            Self::NotAllowed => return error::not_allowed(),
            _ => {}
        }
        let (status, word) = self.answer();
        let message = if word == STORE_UNAVAILABLE {
            tracing::error!(req_id, error = %self, "the administration API could not write");
            "the store could not be read or written, or not in time; the log says why".to_owned()
        } else {
            self.to_string()
        };

        let mut response = error::plain(status, word, &message);
        let headers = response.headers_mut();
        headers.insert(wire::ERROR, HeaderValue::from_static(word));
        if let Self::Method(allow) = self {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            // With an answer of its own.
            Self::Access(error) => (StatusCode::UNAUTHORIZED, error.word()),
            Self::Page => (StatusCode::FORBIDDEN, Cause::OriginRefused.word()),
            Self::NotAllowed => (StatusCode::FORBIDDEN, Cause::NotAllowed.word()),
            Self::NotFound | Self::Missing(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Cause::MediaTypeRefused.word(),
            ),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Cause::RequestTooLarge.word()),
            Self::Broken(_) => (StatusCode::BAD_REQUEST, Cause::RequestBroken.word()),
            Self::NoMemory => (StatusCode::SERVICE_UNAVAILABLE, Cause::MemoryFull.word()),
            Self::Declared(_) => (StatusCode::CONFLICT, "declared"),
            Self::TooManyHeld => (StatusCode::CONFLICT, "too_many"),
            Self::NoStore => (StatusCode::NOT_IMPLEMENTED, "no_data_directory"),
            Self::Write(WriteError::Store(error)) => of_store(error),
            Self::Write(WriteError::Audit(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable")
            }
            Self::Write(WriteError::NotApplied) => (StatusCode::SERVICE_UNAVAILABLE, "not_applied"),
            Self::Write(WriteError::TooSlow | WriteError::Closed) => {
                (StatusCode::SERVICE_UNAVAILABLE, STORE_UNAVAILABLE)
            }
        }
    }
}

fn of_store(error: &StoreError) -> (StatusCode, &'static str) {
    use StoreError as E;

    match error {
        E::NoKey(_) | E::NoClient(_) | E::NoGrant(_) | E::NoRule(_) => {
            (StatusCode::NOT_FOUND, "not_found")
        }
        E::NameTaken { .. } | E::ClientNameTaken { .. } => (StatusCode::CONFLICT, "name_taken"),
        E::Revoked(_) => (StatusCode::CONFLICT, "revoked"),
        E::OtherKind(_) => (StatusCode::CONFLICT, "other_kind"),
        E::NotKnown(_) => (StatusCode::CONFLICT, "not_added"),
        E::LastAdmin => (StatusCode::CONFLICT, "last_admin_key"),
        E::TooManyKeys(_)
        | E::TooManySecrets
        | E::TooManyClients
        | E::TooManyGrants
        | E::TooManyGrantsOf(_)
        | E::TooManyRules(_)
        | E::TooManyLoginCodes => (StatusCode::CONFLICT, "too_many"),
        E::Changed => (StatusCode::PRECONDITION_FAILED, "changed"),
        E::MoreRights => (StatusCode::FORBIDDEN, "more_rights"),
        E::Sqlite { .. }
        | E::Damaged { .. }
        | E::Newer { .. }
        | E::Permissions { .. }
        | E::Record { .. }
        | E::OtherEpoch(_) => (StatusCode::SERVICE_UNAVAILABLE, STORE_UNAVAILABLE),
    }
}
