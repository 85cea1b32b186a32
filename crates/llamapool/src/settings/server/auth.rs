//! Settings of the keys, and of the accepted values of `Origin` and `Host`.
//!
//! A server is open only if `NO_AUTH` is on: a key that is not set is generated.

use llamapool_server::{AuthConfig, Keys};
use llamapool_settings::value::SWITCH;
use llamapool_settings::{Setting, SettingsError, Sources, TypedSetting};
use llamapool_wire::Secret;

use crate::settings::address::{HOSTS, ORIGINS};
use crate::settings::error::ConfigError;
use crate::settings::group::ACCESS;
use crate::settings::value::SECRET;

/// A key that was not set.
#[derive(Debug, Clone)]
pub enum GeneratedKey {
    /// The key of the state API.
    Api(Secret),
    /// The key of the relays.
    Worker(Secret),
}

static API_KEY: TypedSetting<Secret> = TypedSetting::new(
    "API_KEY",
    ACCESS,
    SECRET,
    "Key for the state API, and for the metrics of single ids.",
)
.described_default("generated and logged");
static WORKER_KEY: TypedSetting<Secret> = TypedSetting::new(
    "WORKER_KEY",
    ACCESS,
    SECRET,
    "Key for relays to connect with.",
)
.aliases(&["CLIENT_KEY"])
.described_default("generated and logged");
static SESSION_KEY: TypedSetting<Secret> = TypedSetting::new(
    "SESSION_KEY",
    ACCESS,
    SECRET,
    "Encrypts the session ids of ids that several relays share; use the same key on all replicas.",
)
.described_default("a key in DATA_DIR; without it, random for each run");
static NO_AUTH: TypedSetting<bool> = TypedSetting::new(
    "NO_AUTH",
    ACCESS,
    SWITCH,
    "Runs without keys: anyone who reaches the server can connect relays and read its state.",
)
.default("false");
static ALLOWED_ORIGINS: TypedSetting<Vec<String>> = TypedSetting::new(
    "ALLOWED_ORIGINS",
    ACCESS,
    ORIGINS,
    "Browser origins that can call (CORS), such as https://inspector.example, or * for all.",
);
static ALLOWED_HOSTS: TypedSetting<Vec<String>> = TypedSetting::new(
    "ALLOWED_HOSTS",
    ACCESS,
    HOSTS,
    "Accepted host names of requests (Host header), without port.",
)
.described_default("any; on a loopback address: loopback names");

/// The settings declared here.
pub(super) static SETTINGS: &[&Setting] = &[
    &API_KEY.setting,
    &WORKER_KEY.setting,
    &SESSION_KEY.setting,
    &NO_AUTH.setting,
    &ALLOWED_ORIGINS.setting,
    &ALLOWED_HOSTS.setting,
];

/// Returns the configuration, and adds each generated key to `generated`.
pub(super) fn resolve(
    sources: &Sources,
    generated: &mut Vec<GeneratedKey>,
) -> Result<AuthConfig, ConfigError> {
    let keys = if sources.value(&NO_AUTH)? {
        keys_without_auth(sources)?
    } else {
        keys(sources, generated)?
    };

    Ok(AuthConfig {
        keys,
        allowed_origins: sources.value(&ALLOWED_ORIGINS)?,
        allowed_hosts: sources.value(&ALLOWED_HOSTS)?,
    })
}

fn keys_without_auth(sources: &Sources) -> Result<Keys, ConfigError> {
    for key in [&API_KEY, &WORKER_KEY] {
        if sources.explicit(key)?.is_some() {
            return Err(ConfigError::KeyWithoutAuth(key.setting.name));
        }
    }

    Ok(Keys {
        session: sources.explicit(&SESSION_KEY)?,
        ..Keys::default()
    })
}

fn keys(sources: &Sources, generated: &mut Vec<GeneratedKey>) -> Result<Keys, SettingsError> {
    let mut generate = |kind: fn(Secret) -> GeneratedKey| {
        let secret = Secret::random();
        generated.push(kind(secret.clone()));
        secret
    };

    let api = sources.explicit(&API_KEY)?;
    let api = api.unwrap_or_else(|| generate(GeneratedKey::Api));
    let worker = sources.explicit(&WORKER_KEY)?;
    let worker = worker.unwrap_or_else(|| generate(GeneratedKey::Worker));

    Ok(Keys {
        api: Some(api),
        worker: Some(worker),
        session: sources.explicit(&SESSION_KEY)?,
    })
}
