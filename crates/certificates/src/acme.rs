//! Certificates from an authority, by ACME (RFC 8555): ordered, kept, and renewed in time.
//!
//! [`plan`] decides what is to be ordered and when, [`order`] does it once, [`keeper`] is the loop
//! around both. The protocol itself is instant-acme's.

mod account;
mod challenge;
mod failure;
mod http_client;
mod keeper;
mod life;
mod name;
mod order;
mod plan;
mod present;
mod renewal;
#[cfg(test)]
mod scripted_authority;
mod storage;

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::LetsEncrypt;
use ring::digest::{SHA256, digest};

pub use challenge::CheckKind;
pub use http_client::CaFileError;
pub use keeper::{Acme, AcmeError};
pub use name::{DomainName, DomainNameError};
pub use storage::StorageError;

/// What is ordered, where, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The names that the server has; at least one, and none twice.
    pub names: Vec<DomainName>,
    /// The address that the authority may write to.
    pub email: Option<String>,
    /// The authority.
    pub directory: AcmeDirectory,
    /// A file with the certificates of a private authority, in PEM, trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// The account elsewhere that the account belongs to, where the authority asks for one.
    pub external_account: Option<ExternalAccount>,
    /// The profile of the certificates; `None`: the authority's default.
    pub profile: Option<String>,
    /// The ways in which the authority may check the names, the preferred one first; at least one.
    pub checks: Vec<CheckKind>,
}

/// An authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcmeDirectory {
    /// Let's Encrypt.
    LetsEncrypt,
    /// Let's Encrypt for tests: no client trusts its certificates, and its limits are wide.
    LetsEncryptStaging,
    /// The authority with this URL, which begins with `https://`.
    Url(String),
}

impl AcmeDirectory {
    /// Returns the URL of the directory.
    pub fn url(&self) -> &str {
        match self {
            Self::LetsEncrypt => LetsEncrypt::Production.url(),
            Self::LetsEncryptStaging => LetsEncrypt::Staging.url(),
            Self::Url(url) => url,
        }
    }

    /// Returns the name of the folder for what comes from this authority: another one for each, so
    /// that no certificate of a test is ever presented in production.
    pub fn folder(&self) -> String {
        match self {
            Self::LetsEncrypt => "letsencrypt".to_owned(),
            Self::LetsEncryptStaging => "letsencrypt-staging".to_owned(),
            Self::Url(url) => {
                let host = url.split('/').nth(2).unwrap_or_default();
                let is_plain = |c: &char| c.is_ascii_alphanumeric() || ".-".contains(*c);
                let host: String = host.chars().filter(is_plain).take(64).collect();
                let digest = digest(&SHA256, url.as_bytes());
                let digest = digest.as_ref().iter().take(4);
                let digest: String = digest.map(|byte| format!("{byte:02x}")).collect();
                format!("{host}-{digest}")
            }
        }
    }
}

/// An account that the operator has with the authority beside ACME (RFC 8555, section 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    id: String,
    key: Vec<u8>,
}

/// The key of an external account is not what an authority gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not in Base64 for URLs, expected the key as the authority shows it")]
pub struct ExternalAccountError;

impl ExternalAccount {
    /// Makes an account from its id and its key, in Base64 for URLs, as authorities give it out.
    ///
    /// # Errors
    ///
    /// If the key is not in Base64, or empty. The error does not quote it.
    pub fn new(id: impl Into<String>, key: &str) -> Result<Self, ExternalAccountError> {
        let key = key.trim().trim_end_matches('=');
        let key = BASE64_URL_SAFE_NO_PAD.decode(key);
        let key = key.ok().filter(|key| !key.is_empty());
        Ok(Self {
            id: id.into(),
            key: key.ok_or(ExternalAccountError)?,
        })
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ExternalAccount");
        shown.field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_authority_has_a_folder_of_its_own() {
        let url = |url: &str| AcmeDirectory::Url(url.to_owned()).folder();

        let one = url("https://acme.example.com:14000/../dir");
        let other = url("https://acme.example.com:14000/other");

        assert_ne!(one, other);
        assert!(one.starts_with("acme.example.com14000-"), "{one}");
        assert!(!one.contains('/'), "{one}");
        assert_eq!(AcmeDirectory::LetsEncrypt.folder(), "letsencrypt");
        let staging = AcmeDirectory::LetsEncryptStaging;
        assert_eq!(staging.folder(), "letsencrypt-staging");
    }

    #[test]
    fn the_key_of_an_external_account_is_never_shown() {
        let account = ExternalAccount::new("kid-1", "c2VjcmV0LXNlY3JldA==").unwrap();
        let shown = format!("{account:?}");
        assert!(shown.contains("kid-1") && !shown.contains("115"), "{shown}");

        let error = ExternalAccount::new("kid-1", "not Base64!").unwrap_err();
        assert!(!error.to_string().contains("not Base64!"));
        assert!(ExternalAccount::new("kid-1", "").is_err());
    }
}
