//! The settings that each provider of a relay can have for itself, in a table of the file, and the way from what was
//! given to the configurations of all providers.
//!
//! What is the same for all providers is in `relay`. The one rule: an entry here that says how it stands in a provider's
//! table does so once; keys, documents and parsing follow from it.

use std::collections::HashMap;

use http::{HeaderMap, Uri};
use llamapool_relay::{HttpConfig, ProviderConfig, ProviderKind};
use llamapool_wire::{MAX_PROVIDERS, RelayId, Secret};

use super::address::{HEADERS, PROVIDER_URL as PROVIDER_KIND};
use super::error::SettingsError;
use super::given::{Given, OfProvider};
use super::kind::{ID, SECRET, SWITCH};
use super::program::{self, PROVIDER_COMMAND};
use super::relay::{CONNECT_TIMEOUT, PROBE_INTERVAL, REDIRECT_REPLAY_BYTES, TABLE};
use super::setting::{Group, Reach, Setting, Typed};

pub(super) static PROVIDER_URL: Typed<Uri> = Typed::new(
    "PROVIDER_URL",
    Group::Main,
    PROVIDER_KIND,
    "The MCP endpoint that becomes reachable: http or https.",
)
.default("http://127.0.0.1:7777/mcp/")
.per_provider("url", Reach::Own);
pub(super) static CLIENT_ID: Typed<Option<RelayId>> = Typed::new(
    "CLIENT_ID",
    Group::Main,
    ID,
    "The id under which callers reach the provider.",
)
.otherwise("assigned by the server")
.per_provider("id", Reach::Own);
pub(super) static AUTH_TOKEN: Typed<Secret> = Typed::new(
    "AUTH_TOKEN",
    Group::Access,
    SECRET,
    "The token that callers must present; without one, whoever reaches the server may call.",
)
.per_provider("auth_token", Reach::All);
pub(super) static PROVIDER_HEADERS: Typed<HeaderMap> = Typed::new(
    "PROVIDER_HEADERS",
    Group::Access,
    HEADERS,
    "Headers that are added for the provider, one a line; the flag may be repeated.",
)
.per_provider("headers", Reach::All);
pub(super) static PROVIDER_OAUTH: Typed<bool> = Typed::new(
    "PROVIDER_OAUTH",
    Group::Access,
    SWITCH,
    "Makes an OAuth authorization server on the provider's own host reachable, as far as its metadata announce it.",
)
.default("false")
.per_provider("oauth", Reach::All);

/// The providers as they were given: those of the file's tables, or without any table the one that the settings
/// themselves describe.
pub(super) fn resolve(given: &Given) -> Result<Vec<ProviderConfig>, SettingsError> {
    let providers: Result<Vec<_>, _> = given
        .providers()
        .into_iter()
        .map(|of| provider(given, &of))
        .collect();
    let providers = providers?;
    if providers.len() > MAX_PROVIDERS {
        return Err(SettingsError::TooManyProviders(providers.len()));
    }
    let mut places: HashMap<&RelayId, usize> = HashMap::new();
    for (id, place) in providers
        .iter()
        .map(|provider| provider.id.as_ref())
        .zip(1..)
    {
        let Some(id) = id else { continue };
        if let Some(one) = places.insert(id, place) {
            return Err(SettingsError::SameId {
                id: id.to_string(),
                one,
                other: place,
            });
        }
    }
    Ok(providers)
}

fn provider(given: &Given, of: &OfProvider<'_>) -> Result<ProviderConfig, SettingsError> {
    // One of several that is forgotten must not become the default.
    of.must_have(&PROVIDER_URL.setting, &PROVIDER_COMMAND.setting)?;
    of.only_one(&PROVIDER_URL.setting, &PROVIDER_COMMAND.setting)?;
    let secrets: Vec<&Setting> = TABLE
        .iter()
        .copied()
        .filter(|setting| setting.form.is_secret())
        .collect();
    let kind = match program::resolve(given, of, &secrets)? {
        Some(program) => ProviderKind::Stdio(program),
        None => ProviderKind::Http(HttpConfig {
            url: of.value(&PROVIDER_URL)?,
            headers: of.value(&PROVIDER_HEADERS)?,
            publishes_oauth: of.value(&PROVIDER_OAUTH)?,
            connect_timeout: given.value(&CONNECT_TIMEOUT)?,
            probe_interval: given.value(&PROBE_INTERVAL)?,
            redirect_replay_bytes: given.value(&REDIRECT_REPLAY_BYTES)?,
        }),
    };
    let auth_token = of.asked(&AUTH_TOKEN)?;
    if auth_token.is_some() && matches!(&kind, ProviderKind::Http(http) if http.publishes_oauth) {
        return Err(SettingsError::Contradiction {
            setting: PROVIDER_OAUTH.setting.name,
            value: "true".to_owned(),
            expected: format!(
                "false where {} is set: callers have one Authorization header",
                AUTH_TOKEN.setting.name
            ),
        });
    }
    Ok(ProviderConfig {
        id: of.value(&CLIENT_ID)?,
        auth_token,
        kind,
    })
}
