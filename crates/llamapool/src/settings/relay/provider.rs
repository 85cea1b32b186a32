//! Settings that each provider of a relay can have for itself, in a `[[provider]]` table of the
//! file.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, Uri};
use llamapool_bridge::BridgeConfig;
use llamapool_relay::{HttpConfig, ProviderConfig, ProviderKind};
use llamapool_settings::value::{MEMORY_OR_ZERO, POSITIVE_DURATION, SWITCH};
use llamapool_settings::{
    EntryScope, EntrySources, OwnEntry, Setting, SettingsError, Sources, TypedSetting,
};
use llamapool_wire::{MAX_PROVIDERS, RelayId, Secret};

use super::connection::CONNECT_TIMEOUT;
use super::mcp_servers::{self, ServersFile};
use super::program::{self, PROVIDER_ARGS, PROVIDER_COMMAND};
use crate::settings::error::ConfigError;
use crate::settings::group::{ACCESS, LIMITS, MAIN, TIME};
use crate::settings::headers::HEADERS;
use crate::settings::url;
use crate::settings::value::{ID, SECRET};

pub(super) static PROVIDER_URL: TypedSetting<Uri> = TypedSetting::new(
    "PROVIDER_URL",
    MAIN,
    url::PROVIDER_URL,
    "MCP endpoint of the provider (http or https).",
)
.default("http://127.0.0.1:7777/mcp/")
.entry("provider", "url", EntryScope::PerEntry);
pub(super) static CLIENT_ID: TypedSetting<Option<RelayId>> = TypedSetting::new(
    "CLIENT_ID",
    MAIN,
    ID,
    "Id under which callers reach the provider.",
)
.described_default("assigned by the server")
.entry("provider", "id", EntryScope::PerEntry);
static AUTH_TOKEN: TypedSetting<Secret> = TypedSetting::new(
    "AUTH_TOKEN",
    ACCESS,
    SECRET,
    "Bearer token required of callers; without it, anyone who reaches the server can call.",
)
.entry("provider", "auth_token", EntryScope::Shared);
static PROVIDER_HEADERS: TypedSetting<HeaderMap> = TypedSetting::new(
    "PROVIDER_HEADERS",
    ACCESS,
    HEADERS,
    "Headers added to requests to the provider, one per line; the flag can be repeated.",
)
.entry("provider", "headers", EntryScope::Shared);
static PROVIDER_OAUTH: TypedSetting<bool> = TypedSetting::new(
    "PROVIDER_OAUTH",
    ACCESS,
    SWITCH,
    "Publishes an OAuth authorization server on the provider's own host, as far as its metadata \
     announces it.",
)
.default("false")
.entry("provider", "oauth", EntryScope::Shared);
static REDIRECT_REPLAY_BYTES: TypedSetting<usize> = TypedSetting::new(
    "REDIRECT_REPLAY_BYTES",
    LIMITS,
    MEMORY_OR_ZERO,
    "Part of a request body kept until the provider responds, to send it again after a redirect.",
)
.default("1MiB");
static NO_PROBE: TypedSetting<bool> = TypedSetting::new(
    "NO_PROBE",
    MAIN,
    SWITCH,
    "Leaves out the first exchange with the provider, which asks for its name, version, revision and tools.",
)
.default("false")
.entry("provider", "no_probe", EntryScope::Shared);
static PROBE_INTERVAL: TypedSetting<Duration> = TypedSetting::new(
    "PROBE_INTERVAL",
    TIME,
    POSITIVE_DURATION,
    "Interval between checks that the provider can be reached.",
)
.default("10s");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &PROVIDER_URL.setting,
    &CLIENT_ID.setting,
    &AUTH_TOKEN.setting,
    &PROVIDER_HEADERS.setting,
    &PROVIDER_OAUTH.setting,
    &REDIRECT_REPLAY_BYTES.setting,
    &NO_PROBE.setting,
    &PROBE_INTERVAL.setting,
];

/// The providers of a relay.
pub(super) struct Providers {
    pub(super) configs: Vec<ProviderConfig>,
    /// The file that some of them come from.
    pub(super) servers_file: Option<ServersFile>,
}

/// Returns the configuration of every provider: those of the `[[provider]]` tables and of the file
/// that `MCP_SERVERS` names, or without any the one that the settings themselves describe.
pub(super) fn resolve(sources: &Sources) -> Result<Providers, ConfigError> {
    let mut errors = Vec::new();
    let servers = mcp_servers::resolve(sources, &mut errors);
    let has_servers_file = sources
        .location(&mcp_servers::MCP_SERVERS.setting)
        .is_some();
    let own: Vec<&OwnEntry> = servers
        .iter()
        .flat_map(|servers| &servers.entries)
        .collect();

    let mut entries = if has_servers_file {
        sources.entry_tables("provider")
    } else {
        sources.entries("provider")
    };
    entries.extend(own.into_iter().map(|own| sources.entry(own)));

    let mut providers = Vec::new();
    let mut names = Vec::new();
    for (entry, number) in entries.iter().zip(1..) {
        match provider(sources, entry) {
            Ok(provider) => {
                providers.push(provider);
                names.push(
                    entry
                        .name()
                        .map_or(format!("provider {number}"), str::to_owned),
                );
            }
            Err(error) => errors.extend(error.into_all().into_iter().map(|error| error.at(entry))),
        }
    }
    errors.extend(duplicate_ids(&providers, &names));
    if !errors.is_empty() {
        return Err(ConfigError::one_or_several(errors));
    }
    if providers.len() > MAX_PROVIDERS {
        return Err(ConfigError::TooManyProviders(providers.len()));
    }
    Ok(Providers {
        configs: providers,
        servers_file: servers.map(|servers| servers.file),
    })
}

/// Returns an error for each provider that has the id of an earlier one. `names` are those of the
/// providers for readers.
pub(in crate::settings) fn duplicate_ids(
    providers: &[ProviderConfig],
    names: &[String],
) -> Vec<ConfigError> {
    let mut holders: HashMap<&RelayId, &String> = HashMap::new();
    let mut errors = Vec::new();
    for (provider, name) in providers.iter().zip(names) {
        let Some(id) = &provider.id else { continue };
        if let Some(one) = holders.insert(id, name) {
            errors.push(ConfigError::DuplicateId {
                id: id.to_string(),
                one: one.clone(),
                other: name.clone(),
            });
        }
    }
    errors
}

fn provider(sources: &Sources, entry: &EntrySources<'_>) -> Result<ProviderConfig, ConfigError> {
    // A table without either must not become the provider of the default URL.
    entry.refuse_neither(&PROVIDER_URL.setting, &PROVIDER_COMMAND.setting)?;
    entry.refuse_both(&PROVIDER_URL.setting, &PROVIDER_COMMAND.setting)?;
    entry.refuse_both(&PROVIDER_URL.setting, &PROVIDER_ARGS.setting)?;

    // Read first: a program that is wrong must not hide what else is.
    let id = entry.value(&CLIENT_ID)?;
    let auth_token = entry.explicit(&AUTH_TOKEN)?;
    let kind = match program::resolve(sources, entry)? {
        Some(program) => ProviderKind::Stdio(BridgeConfig {
            asks_for_facts: !entry.value(&NO_PROBE)?,
            ..program
        }),
        None => ProviderKind::Http(http(sources, entry)?),
    };

    let publishes_oauth = matches!(&kind, ProviderKind::Http(config) if config.publishes_oauth);
    if auth_token.is_some() && publishes_oauth {
        return Err(SettingsError::Contradiction {
            setting: PROVIDER_OAUTH.setting.name,
            value: "true".to_owned(),
            expected: format!(
                "false where {} is set, because callers send only one Authorization header",
                AUTH_TOKEN.setting.name
            ),
        }
        .into());
    }

    Ok(ProviderConfig {
        id,
        auth_token,
        kind,
    })
}

fn http(sources: &Sources, entry: &EntrySources<'_>) -> Result<HttpConfig, SettingsError> {
    Ok(HttpConfig {
        url: entry.value(&PROVIDER_URL)?,
        headers: entry.value(&PROVIDER_HEADERS)?,
        publishes_oauth: entry.value(&PROVIDER_OAUTH)?,
        connect_timeout: sources.value(&CONNECT_TIMEOUT)?,
        asks_for_facts: !entry.value(&NO_PROBE)?,
        probe_interval: sources.value(&PROBE_INTERVAL)?,
        redirect_replay_bytes: sources.value(&REDIRECT_REPLAY_BYTES)?,
    })
}
