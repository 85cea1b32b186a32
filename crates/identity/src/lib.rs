//! Who may do what: keys, their rights, the access of ids, OAuth clients and grants, and the store
//! that remembers them.
//!
//! A key is the account: there are no users. A grant is a child of a key. This crate decides with
//! values. It has no HTTP, no tunnel, no clock (the time is an argument) and no task; its store is
//! synchronous, so that the command line uses it as the server does.

mod access;
mod approver;
mod audit;
mod authorization;
mod base32;
mod challenge;
mod client;
mod epoch;
mod grant;
mod key;
mod limits;
mod login_code;
mod networks;
mod oauth_error;
mod pattern;
mod policy;
mod rate;
mod reading;
mod redirect;
mod resource;
mod scope;
mod seal;
mod shown;
mod snapshot;
mod store;
mod token;
mod token_request;
mod uri;
mod usage;

pub use access::{Access, AccessMode, AccessRule};
pub use approver::{Approver, ApproverError};
pub use audit::{
    AUDIT_FOLDER, AddressForm, AuditEvent, AuditFile, AuditLine, ChainKey, ChainVerifier,
    Checkpoint, CheckpointError, EventKind, EventKindError, Finding, LineError, LineReader, Link,
    LinkError, LogError, MAX_LINE_BYTES, RawLine, Verified, audit_files, verify_folder,
};
pub use authorization::{
    AuthorizationError, AuthorizationQuery, AuthorizationRequest, MAX_QUERY_BYTES, PageError,
    ReturnedError,
};
pub use challenge::{Challenge, ChallengeError};
pub use client::{
    Client, ClientAuthError, ClientAuthMethod, ClientCredentials, ClientId, ClientIdError,
    ClientOrigin, ClientWordError, DocumentError, MAX_REGISTRATION_BYTES, NewClient, Registration,
    client_of_document,
};
pub use epoch::Epoch;
pub use grant::{
    Approval, Approved, CODE_LIFE, CodeRedemption, EndReason, EndReasonError, Grant, GrantError,
    GrantId, GrantIdError, GrantState, Granted, IDLE_LIFE, Refresh, ReusePolicy, Turns,
};
pub use key::{
    AdminRight, AdminRightError, AdminRights, CallerRights, Class, DeclaredTwiceError, Key,
    KeyDigest, KeyId, KeyIdError, KeyKind, KeyNameError, KeyOrigin, KeySecret, KeyText,
    KeyTextError, LlmLimits, RecordTag, RecordTagError, Rights, RightsError, WorkerIds, WorkerKind,
    WorkerRights, check_key_name, digest_of,
};
pub use limits::{AccessLimits, Limits, Quotas};
pub use login_code::{LOGIN_CODE_LIFE, LoginCode, LoginCodeError};
pub use networks::{Networks, NetworksError};
pub use oauth_error::{OAuthCode, OAuthError};
pub use pattern::{Pattern, PatternError, best_match};
pub use policy::{
    MessagePolicy, MethodList, MethodListError, NamePattern, NamePatternError, NameRules, RuleKind,
};
pub use rate::{Rate, RateCell, RateError, RateLimit};
pub use reading::{
    Denial, MessageHeaders, MessageRules, ReadingError, RefusedMessageError, RuleSource,
};
pub use redirect::{
    RedirectError, RedirectPolicy, RedirectSchemeError, RedirectTarget, RedirectUri,
};
pub use resource::{ResourceError, ResourceServer};
pub use scope::{Scope, ScopeError};
pub use seal::Seal;
pub use shown::shown_time;
pub use snapshot::{
    AuthenticatedToken, GrantOverError, KeyError, Records, ServeError, Snapshot, TokenError,
};
pub use store::{
    Acknowledgement, ActingKey, Change, ChangedRecord, GrantStepError, GrantUse, KeyCondition,
    KeyEdit, LoginStepError, NewKey, Reload, RuleCondition, Store, StoreError, StoredEvent,
    Subject,
};
pub use token::{AccessToken, FORM_LIFE, IssuedTokens, RefreshToken, TokenSeal};
pub use token_request::{MAX_TOKEN_REQUEST_BYTES, TokenAsked, TokenRequest, TokenStep};
pub use uri::UriError;
pub use usage::{Counted, Day, QuotaError, Usage, UsageLedger};
