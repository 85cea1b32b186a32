//! A grant: what an approver lets one client do at one id, until it ends.
//!
//! It begins as a code, which is redeemed once; then it is active, and its refresh tokens rotate; then
//! it has ended, for a reason. The decisions are here, as values; that each is taken once is the
//! store's part.

mod rules;
mod turn;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use llamapool_wire::{RelayId, Secret};

use crate::approver::Approver;
use crate::authorization::AuthorizationRequest;
use crate::base32::base32;
use crate::challenge::Challenge;
use crate::client::ClientId;
use crate::epoch::Epoch;
use crate::key::{KeyDigest, digest_of};
use crate::oauth_error::{OAuthCode, OAuthError};
use crate::scope::Scope;
use crate::token::TokenSeal;

pub(crate) use turn::Turning;
pub use turn::{ReusePolicy, Turns};

/// How long a code can be redeemed.
pub const CODE_LIFE: Duration = Duration::from_secs(60);
/// How long a grant lives without use.
pub const IDLE_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The id of a grant. It is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId([u8; 16]);

/// What an approver lets a client do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its public id.
    pub id: GrantId,
    /// The client that has it.
    pub client: ClientId,
    /// Who allowed it.
    pub approver: Approver,
    /// The id that may be called by it.
    pub resource: RelayId,
    /// The epoch of that id when it was allowed: later ones belong to other relays.
    pub epoch: i64,
    /// How much it gives.
    pub scope: Scope,
    /// Where the answer went, as the client spelled it.
    pub redirect: String,
    /// What proves the client when it redeems the code.
    pub challenge: Challenge,
    /// The SHA-256 of its code.
    pub code: KeyDigest,
    /// Whether its code is redeemed, and whether it has ended.
    pub state: GrantState,
    /// Until when the code can be redeemed.
    pub code_until: SystemTime,
    /// The rotation of its refresh tokens.
    pub turns: Turns,
    /// When it was allowed.
    pub created_at: SystemTime,
    /// When it ends unless it is used.
    pub idle_until: SystemTime,
    /// When it ends in any case; `None`: when it is revoked.
    pub ends_at: Option<SystemTime>,
    /// When it was last used; `None`: never, or unknown.
    pub last_used_at: Option<SystemTime>,
}

/// The life of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// Its code is not redeemed yet.
    Code,
    /// It has tokens.
    Active,
    /// It is over.
    Ended(EndReason),
}

/// Why a grant has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The operator, the approver or the client revoked it.
    Revoked,
    /// Its code was presented twice.
    CodeReuse,
    /// A refresh token was presented that was replaced long ago.
    RefreshReuse,
    /// The key of its approver was revoked.
    KeyRevoked,
    /// Its client was blocked.
    ClientBlocked,
    /// Its id belongs to other relays now.
    Epoch,
    /// Its code was not redeemed, it was not used, or its time was over.
    Expired,
}

/// What an approver decides on the consent page.
#[derive(Debug, Clone)]
pub struct Approval {
    /// Who decides.
    pub approver: Approver,
    /// The id: that of the request, or the one that was chosen.
    pub resource: RelayId,
    /// The present epoch of the id.
    pub epoch: Epoch,
    /// The most that is given; never more than was asked for.
    pub scope: Scope,
    /// When the grant ends in any case.
    pub ends_at: Option<SystemTime>,
}

/// A grant that was just allowed, with its code.
#[derive(Debug, Clone)]
pub struct Approved {
    /// To be stored, before the code leaves.
    pub grant: Grant,
    /// The epoch of its id, to be stored with it.
    pub epoch: Epoch,
    /// What the client redeems.
    pub code: Secret,
}

/// A code that a client presents.
#[derive(Debug, Clone)]
pub struct CodeRedemption {
    /// The grant that the code opens to.
    pub grant: GrantId,
    /// The SHA-256 of the code.
    pub code: KeyDigest,
    /// The client that presents it, authenticated.
    pub client: ClientId,
    /// `redirect_uri`; OAuth 2.1 leaves it out.
    pub redirect: Option<String>,
    /// `code_verifier`.
    pub verifier: String,
    /// The id of `resource`.
    pub resource: Option<RelayId>,
}

/// A refresh token that a client presents.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The grant that the token opens to.
    pub grant: GrantId,
    /// The turn that it opens to.
    pub turn: u32,
    /// The client that presents it, authenticated.
    pub client: ClientId,
    /// The id of `resource`.
    pub resource: Option<RelayId>,
    /// `scope`: what the access token is to have, at most that of the grant.
    pub scope: Option<Scope>,
}

/// A step of a grant that was taken: what tokens are issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The grant after it.
    pub grant: Grant,
    /// The turn of the tokens.
    pub turn: u32,
    /// How much the access token gives.
    pub scope: Scope,
    /// The number of the change; `None`: nothing has changed, an answer is repeated.
    pub sequence: Option<i64>,
}

/// The reasons for refusing a code or a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// There is no such grant, or the code is not the one of it.
    #[error("the code or refresh token is not valid")]
    Unknown,
    /// It was given to another client.
    #[error("the code or refresh token is of another client")]
    OtherClient,
    /// The resource is another one than was granted.
    #[error("the resource is not the one that was granted")]
    OtherResource,
    /// The redirect is another one than that of the authorization request.
    #[error("redirect_uri is not the one of the authorization request")]
    OtherRedirect,
    /// The verifier does not fit the challenge.
    #[error("code_verifier does not fit the code_challenge")]
    Verifier,
    /// The code is older than [`CODE_LIFE`].
    #[error("the code has expired")]
    CodeExpired,
    /// The code was redeemed before. The grant has ended for that.
    #[error("the code was redeemed before")]
    CodeReuse,
    /// The refresh token was replaced. If so set, the grant has ended for that.
    #[error("the refresh token was replaced")]
    RefreshReuse,
    /// More is asked for than was granted.
    #[error("the scope is wider than what was granted")]
    WiderScope,
    /// The grant has ended.
    #[error("the grant has ended")]
    Ended,
}

impl Approved {
    /// Returns the grant of a request that was approved.
    ///
    /// # Errors
    ///
    /// If the code cannot be sealed.
    pub fn new(
        request: &AuthorizationRequest,
        approval: Approval,
        seal: &TokenSeal,
        now: SystemTime,
    ) -> Result<Self, OAuthError> {
        let id = GrantId::random();
        let code = seal
            .code(id)
            .ok_or_else(|| OAuthError::new(OAuthCode::ServerError, "the code cannot be sealed"))?;
        let grant = Grant {
            id,
            client: request.client.clone(),
            approver: approval.approver,
            resource: approval.resource,
            epoch: approval.epoch.number,
            scope: request.scope.min(approval.scope),
            redirect: request.redirect.as_str().to_owned(),
            challenge: request.challenge,
            code: digest_of(code.expose().as_bytes()),
            state: GrantState::Code,
            code_until: now + CODE_LIFE,
            turns: Turns::new(now),
            created_at: now,
            idle_until: now + IDLE_LIFE,
            ends_at: approval.ends_at,
            last_used_at: None,
        };
        Ok(Self {
            grant,
            epoch: approval.epoch,
            code,
        })
    }
}

impl GrantError {
    /// Returns its code of OAuth.
    pub fn code(self) -> OAuthCode {
        match self {
            Self::OtherResource => OAuthCode::InvalidTarget,
            Self::WiderScope => OAuthCode::InvalidScope,
            _ => OAuthCode::InvalidGrant,
        }
    }
}

impl From<GrantError> for OAuthError {
    fn from(error: GrantError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl GrantId {
    /// Returns a new id.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Returns its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the id of some bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// A text that is no id of a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a grant, expected 26 of a-z and 2-7")]
pub struct GrantIdError(String);

impl FromStr for GrantId {
    type Err = GrantIdError;

    fn from_str(text: &str) -> Result<Self, GrantIdError> {
        let bytes = base32().decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let wrong = || GrantIdError(text.chars().take(80).collect());
        bytes.map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32().encode(&self.0))
    }
}

impl EndReason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Revoked,
        Self::CodeReuse,
        Self::RefreshReuse,
        Self::KeyRevoked,
        Self::ClientBlocked,
        Self::Epoch,
        Self::Expired,
    ];

    /// Returns the word for it in commands and the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::CodeReuse => "code_reuse",
            Self::RefreshReuse => "refresh_reuse",
            Self::KeyRevoked => "key_revoked",
            Self::ClientBlocked => "client_blocked",
            Self::Epoch => "epoch",
            Self::Expired => "expired",
        }
    }
}

/// A word that is no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no reason for the end of a grant")]
pub struct EndReasonError(String);

impl FromStr for EndReason {
    type Err = EndReasonError;

    fn from_str(word: &str) -> Result<Self, EndReasonError> {
        let found = Self::ALL.into_iter().find(|reason| reason.word() == word);
        found.ok_or_else(|| EndReasonError(word.to_owned()))
    }
}
