//! The reasons why the store cannot be opened, read or written.

use std::path::PathBuf;

use llamapool_wire::RelayId;

use super::clients::MAX_CLIENTS;
use super::grants::{MAX_GRANTS, MAX_GRANTS_OF_APPROVER};
use super::keys::MAX_SECRETS;
use super::login_codes::MAX_LOGIN_CODES;
use crate::approver::Approver;
use crate::client::ClientId;
use crate::grant::{GrantError, GrantId};
use crate::key::KeyId;
use crate::login_code::LoginCodeError;
use crate::pattern::Pattern;

/// The reasons why the store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("{}: {error}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The error.
        #[source]
        error: rusqlite::Error,
    },
    /// The file has pages that do not fit together.
    #[error(
        "{}: the file is damaged ({found}); restore a backup, or move it away to begin without keys",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the check found.
        found: String,
    },
    /// A later version has written it.
    #[error(
        "{}: the file has version {found}, expected {expected} at most; it is of a newer llamapool",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version of this program.
        expected: i64,
    },
    /// Others than its user may read it.
    #[error("{}: others can read or write the file (mode {mode:o}), expected 600", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A record of the file is not one of this version.
    #[error("{}: a record is not as expected: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such key.
    #[error("there is no key {0}; `llamapool key list` shows all")]
    NoKey(KeyId),
    /// A key of the kind has the name already.
    #[error("a {kind} key named {name:?} exists: {id}")]
    NameTaken {
        /// The kind of both.
        kind: crate::key::KeyKind,
        /// The name of both.
        name: String,
        /// The id of the other one.
        id: KeyId,
    },
    /// The key was revoked.
    #[error("the key {0} was revoked")]
    Revoked(KeyId),
    /// The rights are those of another kind of key.
    #[error("the key {0} is of another kind")]
    OtherKind(KeyId),
    /// There are as many as may be.
    #[error("there are {0} keys, which is the most; revoke some")]
    TooManyKeys(i64),
    /// The key has as many valid secrets as may be.
    #[error("the key has {MAX_SECRETS} secrets that are still valid; wait until one has expired")]
    TooManySecrets,
    /// The record is not as it was when it was read.
    #[error("it was changed since it was read; read it again, and decide anew")]
    Changed,
    /// The key that is made or changed has more rights, or lives longer, than the admin key that does it.
    #[error(
        "the admin key may neither give rights that it has not, nor change an admin key that has more, \
         nor one that ends later"
    )]
    MoreRights,
    /// No admin key would be left that can change keys.
    #[error("no admin key would be left that may change keys; the owner of the server may do this")]
    LastAdmin,
    /// There is no such rule.
    #[error("there is no rule for {0}; `llamapool access list` shows all")]
    NoRule(Pattern),
    /// There are as many rules as may be.
    #[error("there are {0} rules of access, which is the most; remove some")]
    TooManyRules(i64),
    /// A client that the operator added has the name already.
    #[error("a client named {name:?} was added before: {id}")]
    ClientNameTaken {
        /// The name of both.
        name: String,
        /// The id of the other one.
        id: ClientId,
    },
    /// The client was not added by the operator.
    #[error("the client {0} was not added here; block it instead")]
    NotKnown(ClientId),
    /// There is no such client.
    #[error("there is no client {0}; `llamapool client list` shows all")]
    NoClient(ClientId),
    /// There are as many clients as may be.
    #[error("there are {MAX_CLIENTS} clients, which is the most; block some that are not needed")]
    TooManyClients,
    /// There is no such grant.
    #[error("there is no grant {0}; `llamapool grant list` shows all")]
    NoGrant(GrantId),
    /// There are as many grants as may be.
    #[error("there are {MAX_GRANTS} grants, which is the most; revoke some")]
    TooManyGrants,
    /// The approver has as many grants as may be.
    #[error("{0} has {MAX_GRANTS_OF_APPROVER} grants, which is the most; revoke some")]
    TooManyGrantsOf(Approver),
    /// The id passed to other relays while its grant was allowed.
    #[error("the id {0} belongs to other relays now")]
    OtherEpoch(RelayId),
    /// There are as many one-time codes as may be.
    #[error(
        "{MAX_LOGIN_CODES} one-time codes are valid, which is the most; wait until one has expired"
    )]
    TooManyLoginCodes,
}

/// The reasons for refusing a step of a grant.
#[derive(Debug, thiserror::Error)]
pub enum GrantStepError {
    /// What was presented does not fit.
    #[error(transparent)]
    Refused(#[from] GrantError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reasons for refusing a one-time code that was presented.
#[derive(Debug, thiserror::Error)]
pub enum LoginStepError {
    /// It is not valid.
    #[error(transparent)]
    Refused(#[from] LoginCodeError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
