//! The account at an authority: made at the first order, and kept.

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::http_client::AuthorityClient;
use super::storage::Storage;
use super::{AcmeConfig, ExternalAccount};

/// The account as it is stored, with the settings that it was made with.
#[derive(Serialize, Deserialize)]
struct StoredAccount {
    email: Option<String>,
    external_account: Option<String>,
    credentials: AccountCredentials,
}

/// Returns the account, which is made if there is none. The stored one is used as long as its settings
/// are those of today.
pub(super) async fn account(
    config: &AcmeConfig,
    client: &AuthorityClient,
    storage: &Storage,
) -> Result<Account, Failure> {
    let external_id = config.external_account.as_ref().map(|it| it.id.clone());
    let stored: Option<StoredAccount> = storage.account().map_err(Failure::of)?;
    let stored = stored.filter(|stored| stored.external_account == external_id);
    let Some(mut stored) = stored else {
        return create(config, client, storage).await;
    };

    let builder = Account::builder_with_http(Box::new(client.clone()));
    let credentials = copy(&stored.credentials)?;
    let restored = builder.from_credentials(credentials).await;
    let account = restored.map_err(|error| Failure::at("the authority's directory", &error))?;

    if stored.email != config.email {
        let contact = contact(config);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let updated = account.update_contacts(&contact).await;
        updated.map_err(|error| Failure::at("the account's e-mail address", &error))?;
        stored.email.clone_from(&config.email);
        storage.write_account(&stored).await.map_err(Failure::of)?;
    }
    Ok(account)
}

async fn create(
    config: &AcmeConfig,
    client: &AuthorityClient,
    storage: &Storage,
) -> Result<Account, Failure> {
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let contact = contact(config);
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let external_account = config.external_account.as_ref();
    let key = external_account.map(ExternalAccount::key);

    let url = config.directory.url().to_owned();
    let created = builder.create(&new, url, key.as_ref()).await;
    let (account, credentials) = created.map_err(|error| Failure::at("the account", &error))?;
    let stored = StoredAccount {
        email: config.email.clone(),
        external_account: external_account.map(|it| it.id.clone()),
        credentials,
    };
    storage.write_account(&stored).await.map_err(Failure::of)?;
    tracing::info!(directory = config.directory.url(), "the account was made");
    Ok(account)
}

fn contact(config: &AcmeConfig) -> Vec<String> {
    let email = config.email.iter();
    email.map(|email| format!("mailto:{email}")).collect()
}

/// Copies what has no copy of its own.
fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, Failure> {
    let text = serde_json::to_value(credentials).map_err(Failure::of)?;
    serde_json::from_value(text).map_err(Failure::of)
}

impl ExternalAccount {
    fn key(&self) -> ExternalAccountKey {
        ExternalAccountKey::new(self.id.clone(), &self.key)
    }
}
